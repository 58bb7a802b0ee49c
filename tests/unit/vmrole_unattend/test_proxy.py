"""A proxy for packages: what the disc says of it, and the script, as a real shell runs it and a real apt reads it."""

from __future__ import annotations

import dataclasses
import email
import subprocess
from pathlib import Path

import pytest
from vmrole_unattend import nocloud
from vmrole_unattend.errors import AnswersInvalid

URL = "http://proxy.example:3128"
ANSWERS = nocloud.Answers(
    instance_id="7c4d9c1e",
    hostname="db-0",
    service="shop",
    instance="db-0.shop",
    generation=1,
    mac="52:54:00:12:34:56",
)


def hooks(answers: nocloud.Answers) -> dict[str, str]:
    """The boot hooks by name."""
    message = email.message_from_bytes(nocloud.files(answers)["user-data"])
    return {
        str(part.get_filename()): part.get_payload(decode=True).decode()  # type: ignore[union-attr]
        for part in message.walk()
        if part.get_content_type() == "text/cloud-boothook"
    }


def run(root: Path) -> None:
    """The script with the guest's paths below a directory."""
    script = hooks(dataclasses.replace(ANSWERS, proxy=URL))["vmrole-proxy"].replace("/etc/", f"{root}/etc/")
    subprocess.run(["/bin/sh", "-c", script], check=True, capture_output=True, timeout=30)


def test_nothing_is_said_of_none() -> None:
    """The disc is what it was."""
    assert list(hooks(ANSWERS)) == ["vmrole-setup-begin"]


@pytest.mark.parametrize(
    "proxy", ["proxy", "http://", "http://a'; reboot '", "http://a:b@c", "http://a|b", "http://a\n"]
)
def test_no_url_breaks_out_of_the_script(proxy: str) -> None:
    """Nor has a password in it."""
    with pytest.raises(AnswersInvalid):
        dataclasses.replace(ANSWERS, proxy=proxy)


def test_apt_asks_it(tmp_path: Path) -> None:
    """Until the user's own configuration says something else, which is read later."""
    place = tmp_path / "etc/apt/apt.conf.d"
    place.mkdir(parents=True)

    def asked() -> str:
        argv = ["apt-config", "-o", f"Dir::Etc::parts={place}", "shell", "found", "Acquire::http::Proxy"]
        # What the machine's own files say is read first, ours behind it.
        environment = {"PATH": "/usr/bin:/bin", "APT_CONFIG": str(tmp_path / "apt.conf")}
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30, env=environment).stdout

    (tmp_path / "apt.conf").write_text(f'Dir::Etc::parts "{place}";\n')
    for _ in range(2):
        run(tmp_path)
        assert URL in asked()
    (place / "90cloud-init-aptproxy").write_text('Acquire::http::Proxy "http://other.example";\n')
    assert "http://other.example" in asked()


@pytest.mark.parametrize("path", ["etc/dnf/dnf.conf", "etc/yum.conf"])
def test_dnf_asks_it(tmp_path: Path, path: str) -> None:
    """Once, in its main section; one that has a proxy already keeps that."""
    conf = tmp_path / path
    conf.parent.mkdir(parents=True)
    conf.write_text("[main]\ngpgcheck=1\n[other]\n")
    for _ in range(2):
        run(tmp_path)
        assert conf.read_text() == f"[main]\nproxy={URL}\ngpgcheck=1\n[other]\n"
    conf.write_text("[main]\nproxy=http://other.example\n")
    run(tmp_path)
    assert conf.read_text() == "[main]\nproxy=http://other.example\n"
