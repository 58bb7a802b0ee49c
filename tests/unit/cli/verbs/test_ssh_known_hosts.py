"""`vmrole ssh-known-hosts`, and what `vmrole ssh` makes of it: public host keys by the routes of the API."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.client.client import Client
from orchestrator.drivers.fake.parts import ed25519_key
from orchestrator.errors import Conflict, RequestError
from tests.world.api_daemon import Daemon
from tests.world.command_line import VMROLE
from tests.world.living import inside, serving
from tests.world.waiting import until

FILE = "/etc/ssh/ssh_host_ed25519_key.pub"
KEY = ed25519_key("guest")
LINE = KEY.decode().rpartition(" ")[0]
KEEPS = """service: keeps
vip: 203.0.113.20
roles:
  web:
    image: micro
    instances: 1
    size: {vcpus: 1, memory: 128 MiB}
    identity: {sshHostKeys: keep}
    endpoints: {ssh: {type: instance, ports: 10022-10031, target: 22}}
"""
Write = Callable[[bytes], None]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """`shop`, whose guest has the keys that a test gives it, and `keeps`, which keeps its own."""
    with serving(tmp_path_factory.mktemp("daemon")) as running:
        running.client().apply(KEEPS)
        until(lambda: running.client().instance("web-0.keeps")["phase"] == "serving", 60.0, what="the second service")
        yield running


@pytest.fixture
def given(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the public key's file of the guest of `shop`."""
    monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
    of = daemon.control.instance("web-0.shop")
    inside(daemon)._files.pop(of.vm_uuid, None)
    return lambda text: inside(daemon).write(of, FILE, 0, text)


def vmrole(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line as a program."""
    return subprocess.run([*VMROLE, *words], capture_output=True, text=True, check=False)


def test_the_file_is_read_by_ssh_itself(given: Write, tmp_path: Path) -> None:
    """An instance is found in it by name, by address, and by the VIP's port that leads to its port 22."""
    given(KEY)
    done = vmrole("ssh-known-hosts")
    assert (done.returncode, done.stderr) == (0, "")
    shop, keeps = sorted(done.stdout.splitlines(), reverse=True)
    assert shop == f"web-0.shop,10.90.0.10 {LINE}"
    assert keeps.startswith("web-0.keeps,10.90.1.10,[203.0.113.20]:10022 ssh-ed25519 ")
    file = tmp_path / "known_hosts"
    file.write_text(done.stdout)
    for host in ("web-0.shop", "10.90.0.10", "web-0.keeps", "[203.0.113.20]:10022"):
        found = subprocess.run(["ssh-keygen", "-F", host, "-f", str(file)], capture_output=True, check=False)
        assert found.returncode == 0, host
    assert vmrole("ssh-known-hosts", "shop").stdout == f"{shop}\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "web-0.shop has no SSH host keys"),
        (b"root:x:0:0::/root:/bin/sh\n", "web-0.shop shows no SSH host key, but something else"),
        (KEY + b"bank.example " + KEY, "web-0.shop shows no SSH host key, but something else"),
        (b"* " + KEY, "web-0.shop shows no SSH host key, but something else"),
        (KEY.replace(b" root", b" \x1b[31m" + b"x" * 9000), "web-0.shop shows no SSH host key, but something else"),
    ],
)
def test_whose_keys_cannot_be_had_is_told_and_the_others_are_printed(
    given: Write, text: bytes | None, reason: str
) -> None:
    """With the reason, on standard error, and in the exit status; nothing of a hostile text gets through."""
    if text is not None:
        given(text)
    done = vmrole("ssh-known-hosts")
    assert done.returncode == 1
    name, _, words = reason.partition(" ")
    assert f"{name}: {words}" in done.stderr  # whose they are is said once
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["web-0.keeps"]


def test_keys_that_are_kept_need_no_guest(daemon: Daemon) -> None:
    """The instance's own are the same whatever its guest shows, and while it is stopped."""
    daemon_of, name = daemon.client(), "web-0.keeps"
    first = daemon_of.host_keys(name)
    assert first["kept"]
    inside(daemon).write(daemon.control.instance(name), FILE, 0, KEY)
    assert daemon_of.host_keys(name) == first
    daemon_of.act("stop", name)
    until(lambda: daemon_of.instance(name)["phase"] == "stopped", 60.0, what="its stop")
    assert daemon_of.host_keys(name) == first
    daemon_of.act("start", name)
    until(lambda: daemon_of.instance(name)["phase"] == "serving", 60.0, what="its start")


def test_a_guest_that_is_being_set_up_or_is_off_is_not_asked(daemon: Daemon, given: Write) -> None:
    """What it shows then may still be its image's, which all who have the image know."""
    given(KEY)
    instance = daemon.control.instance("web-0.shop")
    from orchestrator.control import host_keys

    new = dataclasses.replace(instance, set_up=False)
    with pytest.raises(Conflict, match="is being set up"):
        host_keys.asked(new, None, lambda _: {}, inside(daemon))


def test_ssh_is_told_the_keys_and_asks_nobody(daemon: Daemon, given: Write, tmp_path: Path) -> None:
    """ssh itself reads its options so; where the keys cannot be had, it is said, and ssh goes as it always did."""
    stand_in = tmp_path / "ssh"
    stand_in.write_text('#!/bin/sh\nexec /usr/bin/ssh -G -F none "$@"\n')
    stand_in.chmod(0o755)
    environment = os.environ | {"VMROLE_SOCKET": str(daemon.socket), "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def ssh() -> tuple[set[str], str]:
        done = subprocess.run(
            [*VMROLE, "ssh", "web-0.shop"], env=environment, capture_output=True, text=True, check=True
        )
        return set(done.stdout.splitlines()), done.stderr

    given(KEY)
    options, said = ssh()
    assert "host key" not in said
    assert {"stricthostkeychecking true", "userknownhostsfile /dev/null", "hostkeyalias web-0.shop"} <= options
    (command,) = (line for line in options if line.startswith("knownhostscommand "))
    _, program, form, quoted = command.split(" ", 3)
    assert (Path(program).name, form, quoted) == ("printf", "%%s\\n", f'"web-0.shop {LINE}"')

    given(b"garbage")
    options, said = ssh()
    assert "its host key cannot be had" in said
    assert "stricthostkeychecking ask" in options


@pytest.mark.parametrize(
    "answer",
    [
        {"hosts": ["web-0.shop"], "keys": ['ssh-ed25519 AAAAAAAAAAAAAAAAAAAA" $(reboot)']},
        {"hosts": ["web-0.shop"], "keys": ["@cert-authority AAAAAAAAAAAAAAAAAAAA"]},
        {"hosts": ["*"], "keys": [LINE]},
        {"hosts": ["a b"], "keys": [LINE]},
        {"hosts": [], "keys": [LINE]},
        {"hosts": ["web-0.shop"], "keys": []},
    ],
)
def test_a_daemon_that_means_no_good_writes_no_line(answer: dict[str, list[str]]) -> None:
    """What becomes a line that is trusted, or a word of ssh's configuration, has the form of one."""
    from orchestrator.cli.verbs.ssh_known_hosts import trusted

    class Other(Client):
        def host_keys(self, name: str):  # type: ignore[no-untyped-def] # noqa: ANN202
            return {"name": name, "kept": False, **answer}

    with pytest.raises(RequestError):
        trusted(Other("/nowhere"), "web-0.shop")
