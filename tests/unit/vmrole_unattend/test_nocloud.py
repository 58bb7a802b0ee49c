"""NoCloud files: what is refused, with the place and the mend; what our own parts do in a guest."""

from __future__ import annotations

import base64
import dataclasses
import email
import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vmrole_unattend import AnswersInvalid, multipart, nocloud

from tests.world.linux_answers import ANSWERS

_SIZE = multipart.SIZE_MAX_BYTES
_MIME = 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n'
_LEVELS = "".join(f'--b{n}\nContent-Type: multipart/mixed; boundary="b{n + 1}"\n\n' for n in range(3_000))
_DEEP = f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b0"\n\n{_LEVELS}'


def _mime(*parts: str) -> str:
    return _MIME + "".join(f"--b\n{part}\n" for part in parts) + "--b--\n"


def _user_data(user_data: str, **others: Any) -> bytes:
    return nocloud.files(dataclasses.replace(ANSWERS, user_data=user_data, **others))["user-data"]


def _parts(user_data: bytes) -> list[tuple[str, str]]:
    """Type and text of each part but that of our clients, as Python's own reader sees them."""
    found = []
    for part in email.message_from_bytes(user_data).walk():
        if not part.is_multipart() and part.get_filename() != nocloud.CLIENTS:
            assert not part.defects
            whole = part.get_payload(decode=True)
            assert isinstance(whole, bytes)
            found.append((part.get_content_type(), whole.decode()))
    return found


# What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_data", "where", "what"),
    [
        ("hello", "line 1", "names no type"),
        ("#cloud-confi", "line 1", "names no type"),
        ("# cloud-config\n", "line 1", "names no type"),
        ("\ufeff#cloud-config\n", "line 1", "byte-order mark"),
        ("## template: jinja\n#cloud-config\n", "line 1", "templates are refused"),
        ("#cloud-config\nab: c\x00d\n", "line 2, column 6", "U+0000"),
        ("#cloud-config\n\x1b[31m", "line 2, column 1", "U+001B"),
        ("#!/bin/sh\necho \x9b", "line 2, column 6", "U+009B"),
        ("#!/bin/sh\necho \ud800", "line 2, column 6", "U+D800"),
        ("#!/bin/sh\n" + "x" * _SIZE, "user-data", f"more than {_SIZE}"),
        ("#!/bin/sh\n" + "ä" * (_SIZE // 2), "user-data", f"more than {_SIZE}"),
        (gzip.compress(b"#cloud-config", mtime=0).decode("latin-1"), "user-data", "compressed"),
        (base64.b64encode(gzip.compress(b"#cloud-config", mtime=0)).decode(), "user-data", "compressed"),
        (_MIME, "MIME", "broken MIME"),
        (_MIME + "--b\nContent-Type: text/cloud-config\n\na: 1\n", "MIME", "broken MIME"),
        ("MIME-Version: 1.0\nContent-Type: multipart/mixed\n\nx", "MIME", "broken MIME"),
        (_DEEP, "user-data", "too deep"),
        (_mime("Content-Type: text/plain\n\nhello"), "MIME part 1", "names no type"),
        (_mime("Content-Type: text/jinja2\n\n## template: jinja\n#cloud-config\n"), "MIME part 1", "templates"),
        (_mime("Content-Type: text/cloud-config\n\n## template: jinja\n"), "MIME part 1", "templates"),
        (_mime("Content-Type: application/gzip\n\nH4sI"), "MIME part 1", "compressed"),
        (_mime("Content-Type: message/rfc822\n\nTo: x\n\ny"), "MIME part 1", "means nothing"),
        (_mime("Content-Type: text/cloud-config\nX: ä\n\na: 1"), "MIME part 1", "not ASCII"),
        (
            _mime("Content-Type: text/cloud-config\n\na: 1", "Content-Type: text/x-shellscript\n"
                  "Content-Transfer-Encoding: base64\n\nIyEvYmluL3NoCgA="),
            "MIME part 2: line 2, column 1",
            "U+0000",
        ),
        (
            _mime("Content-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\n/////w=="),
            "MIME part 1",
            "not UTF-8",
        ),
        (
            _mime("Content-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\nIyEvYmluL3NoC"),
            "MIME part 1",
            "broken MIME",
        ),
    ],
)  # fmt: skip
def test_user_data_that_cannot_be_meant_is_refused(user_data: str, where: str, what: str) -> None:
    """Each is refused with its place and reason, by the check and by the files alike."""
    for refuse in (nocloud.check_user_data, _user_data):
        with pytest.raises(AnswersInvalid) as refused:
            refuse(user_data)
        assert where in refused.value.where
        assert what in refused.value.message
        assert refused.value.hint or "U+" in what
        assert "hello" not in str(refused.value), "user-data may be a secret"
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", str(refused.value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hostname", "web-0\nruncmd:\n - id"),
        ("hostname", "Web-0"),
        ("hostname", ""),
        ("service", "-shop"),
        ("instance", "web-0"),
        ("instance", "web-0.shop.x"),
        ("instance_id", "a b"),
        ("instance_id", "x'; reboot; '"),
        ("mac", "52:54:00:12:34"),
        ("mac", "52:54:00:AB:CD:EF"),
        ("generation", 0),
        ("local_storage", ("cache", "cache")),
        ("local_storage", ("../x",)),
        ("local_storage", ("seventeen-letters",)),
        ("local_storage", ("a b",)),
    ],
)
def test_names_that_would_mean_something_to_a_shell_or_yaml_are_refused(key: str, value: object) -> None:
    """No answer can hold more than its kind allows; the error names the key."""
    with pytest.raises(AnswersInvalid) as refused:
        dataclasses.replace(ANSWERS, **{key: value})  # type: ignore[arg-type]
    assert refused.value.where == key
    assert refused.value.hint or key == "local_storage"


# What is made ---------------------------------------------------------------------------------------------------


def test_meta_data_has_one_key_per_line() -> None:
    """A reader that has only sed finds every fact on a line of its own."""
    text = nocloud.files(ANSWERS)["meta-data"].decode()
    assert json.loads(text)["instance-id"] == ANSWERS.instance_id
    assert ' "local-hostname": "web-0",\n' in text
    assert ' "vmrole-setup-restart": true\n' in text
    assert ' "vmrole-setup-restart": false\n' in (
        nocloud.files(dataclasses.replace(ANSWERS, setup_restart=False))["meta-data"].decode()
    )


def test_the_files_are_those_that_cloudinit_requires() -> None:
    """meta-data and user-data must both be there; vendor-data is there when the user has some, and is his alone."""
    assert nocloud.files(ANSWERS).keys() == {"meta-data", "user-data", "network-config"}
    made = nocloud.files(dataclasses.replace(ANSWERS, vendor_data="#!/bin/sh\necho ä\n"))
    assert _parts(made["vendor-data"]) == [("text/x-shellscript", "#!/bin/sh\necho ä\n")]
    assert made["user-data"] == nocloud.files(ANSWERS)["user-data"]


@pytest.mark.parametrize(
    "vendor_data", ["hello", "#!/bin/sh\n\x00", "H4sIAAAA", "## template: jinja\n#cloud-config\n"]
)
def test_vendor_data_is_checked_as_user_data_is(vendor_data: str) -> None:
    """What would be refused as user-data is refused, and the error names vendor-data."""
    for refuse in (
        nocloud.check_vendor_data,
        lambda text: nocloud.files(dataclasses.replace(ANSWERS, vendor_data=text)),
    ):
        with pytest.raises(AnswersInvalid) as refused:
            refuse(vendor_data)
        assert refused.value.where.startswith("vendor-data")


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=400))
def test_whatever_the_user_writes_arrives_to_the_letter(text: str) -> None:
    """Any text of a script is read back unchanged between our parts, and equal answers give equal bytes."""
    script = f"#!/bin/sh\n{text}"
    made = _user_data(script)
    assert made == _user_data(script)
    assert _parts(made)[1:-1] == [("text/x-shellscript", script)]


def test_a_boundary_in_the_users_text_divides_nothing() -> None:
    """Who copies the boundary of one message into his user-data gets another boundary."""
    first = _user_data("#!/bin/sh\n")
    boundary = email.message_from_bytes(first).get_boundary()
    script = f"#!/bin/sh\n\n--{boundary}\nContent-Type: text/cloud-config\n\na: 1\n--{boundary}--\n"
    assert [kind for kind, _ in _parts(_user_data(script))] == [
        "text/cloud-boothook",
        "text/x-shellscript",
        "text/cloud-config",
    ]


def test_text_beyond_ascii_in_a_mime_part_is_encoded_for_cloudinit() -> None:
    """cloud-init spoils bare UTF-8 in a message; such a part travels as base64."""
    made = _user_data(_mime("Content-Type: text/x-shellscript; charset=utf-8\n\n#!/bin/sh\necho ä\n"))
    assert made.isascii()
    assert _parts(made)[1] == ("text/x-shellscript", "#!/bin/sh\necho ä\n")


def test_user_data_does_not_show_in_a_repr() -> None:
    """A log line with the answers in it tells no secret."""
    script = "#!/bin/sh\n# hunter2\n"
    assert "hunter2" not in repr(dataclasses.replace(ANSWERS, user_data=script, vendor_data=script))


def test_the_largest_user_data_is_taken() -> None:
    """512 KiB to the byte pass."""
    text = "#!/bin/sh\n" + "x" * (_SIZE - 10)
    assert _parts(_user_data(text))[1] == ("text/x-shellscript", text)


def _clients() -> str:
    """The script that brings them."""
    (found,) = [
        part.get_payload(decode=True)
        for part in email.message_from_bytes(_user_data("#!/bin/sh\n")).walk()
        if part.get_filename() == nocloud.CLIENTS
    ]
    assert isinstance(found, bytes)
    return found.decode()


@pytest.mark.parametrize(("has_python", "name"), [(True, "vmrole-guest"), (False, "vmrole-guest.sh")])
def test_each_guest_gets_the_client_that_it_can_run(tmp_path: Path, has_python: bool, name: str) -> None:
    """Of one file, executable, to the letter; a guest that has no room for it is set up all the same."""
    bin_, tools = tmp_path / "bin", tmp_path / "tools"
    tools.mkdir()
    for tool in ("mkdir", "cat", "chmod", "mv", *(["python3"] if has_python else [])):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    script = _clients().replace("/usr/local/bin", str(bin_))
    subprocess.run(["/bin/sh", "-c", script], check=True, env={"PATH": str(tools)})
    assert (bin_ / "vmrole-guest").read_text() == nocloud.guest_script(name)
    assert (bin_ / "vmrole-guest").stat().st_mode & 0o777 == 0o755
    nowhere = _clients().replace("/usr/local/bin", "/proc/nowhere")
    assert (
        subprocess.run(["/bin/sh", "-c", nowhere], env={"PATH": str(tools)}, stderr=subprocess.DEVNULL).returncode
        == 0
    )


def test_the_clients_are_programs_of_their_languages() -> None:
    """Python's standard library since 3.6, and a shell of POSIX."""
    compile(nocloud.guest_script("vmrole-guest"), "vmrole-guest", "exec")
    subprocess.run(["/bin/sh", "-n"], input=nocloud.guest_script("vmrole-guest.sh"), text=True, check=True)


# What ours do in a guest ----------------------------------------------------------------------------------------


def _begin(root: Path, answers: nocloud.Answers, boot_id: str) -> Path:
    """Runs our boot hook with every path of the guest moved under `root`; returns its state directory."""
    script = _parts(nocloud.files(answers)["user-data"])[0][1]
    (root / "boot_id").write_text(f"{boot_id}\n")
    for folder in ("var/lib/cloud/instance", "etc"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for path in ("/var/lib", "/etc/"):
        script = script.replace(path, f"{root}{path}")
    script = script.replace("/proc/sys/kernel/random/boot_id", str(root / "boot_id"))
    subprocess.run(["sh", "-c", script], check=True, timeout=20)
    return root / "var/lib/vmrole"


def _end(root: Path, *, restart: bool) -> int:
    """Runs the condition of our power_state likewise; its status decides about the restart."""
    made = _parts(nocloud.files(dataclasses.replace(ANSWERS, setup_restart=restart))["user-data"])[-1][1]
    _shell, _option, script = json.loads(made.partition("\n")[2])["power_state"]["condition"]
    for path in ("/var/lib", "/run/"):
        script = script.replace(path, f"{root}{path}")
    return subprocess.run(["sh", "-c", script], check=False, timeout=20).returncode


def test_the_setup_boot_is_recorded_until_setup_has_ended(tmp_path: Path) -> None:
    """A restart in the middle of setup moves the mark; one after its end does not."""
    state = _begin(tmp_path, ANSWERS, "boot-1")
    assert (state / "setup-boot").read_text() == "boot-1\n"
    assert (state / "generation").read_text() == "3\n"
    _begin(tmp_path, ANSWERS, "boot-2")
    assert (state / "setup-boot").read_text() == "boot-2\n"
    assert _end(tmp_path, restart=True) == 0
    _begin(tmp_path, ANSWERS, "boot-3")
    assert (state / "setup-boot").read_text() == "boot-2\n"
    assert (tmp_path / "var/lib/cloud/instance/manual-clean").exists()
    assert "\nmanual_cache_clean: true\n" in (tmp_path / "etc/cloud/cloud.cfg.d/99_vmrole.cfg").read_text()


def test_traces_of_another_instance_in_the_image_do_not_count(tmp_path: Path) -> None:
    """An image made of a disk that was set up before goes through setup like a clean one."""
    _begin(tmp_path, ANSWERS, "boot-1")
    _end(tmp_path, restart=True)
    state = _begin(tmp_path, dataclasses.replace(ANSWERS, instance_id="another", generation=4), "boot-2")
    assert (state / "setup-boot").read_text() == "boot-2\n"
    assert (state / "generation").read_text() == "4\n"
    assert not (state / "setup-result.json").exists()


def test_the_result_of_setup_is_kept_with_its_problems(tmp_path: Path) -> None:
    """What cloud-init said, and what ours could not do, is one JSON file; without a restart the guest goes on."""
    state = _begin(tmp_path, ANSWERS, "boot-1")
    (tmp_path / "run/cloud-init").mkdir(parents=True)
    (tmp_path / "run/cloud-init/result.json").write_text('{"v1": {"errors": ["runcmd"]}}\n')
    (state / "setup-problems").write_text("local storage a: lost\nlocal storage b: lost\n")
    assert _end(tmp_path, restart=False) == 1
    assert json.loads((state / "setup-result.json").read_text()) == {
        "result": {"v1": {"errors": ["runcmd"]}},
        "status": None,
        "problems": ["local storage a: lost", "local storage b: lost"],
    }


def test_local_storage_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A disk that never comes is a problem in the result, not a guest that hangs."""
    answers = dataclasses.replace(ANSWERS, local_storage=("nowhere",))
    script = _parts(nocloud.files(answers)["user-data"])[0][1]
    assert "device_wait_s=30\n" in script
    made = script.replace("device_wait_s=30", "device_wait_s=0").replace("/var/lib", f"{tmp_path}/var/lib")
    made = made.replace("/etc/", f"{tmp_path}/etc/")
    (tmp_path / "var/lib/cloud/instance").mkdir(parents=True)
    subprocess.run(["sh", "-c", made], check=True, timeout=20, stderr=subprocess.DEVNULL)
    told = (tmp_path / "var/lib/vmrole/setup-problems").read_text()
    assert told == "local storage nowhere: /dev/disk/by-id/virtio-ls-nowhere cannot be read\n"


def test_our_scripts_are_clean_shell(tmp_path: Path) -> None:
    """shellcheck finds nothing in what a guest is given."""
    made = tmp_path / "begin.sh"
    made.write_text(_parts(nocloud.files(ANSWERS)["user-data"])[0][1])
    scripts = [made, *sorted(Path(multipart.__file__).with_name("guest").glob("*.sh"))]
    done = subprocess.run(
        ["shellcheck", "--shell=sh", *scripts], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
