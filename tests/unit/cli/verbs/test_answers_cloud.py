"""`vmrole answers check` of user-data: what it prints, and what it exits with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Writes a file, checks it where no daemon is, and gives exit status, stdout and stderr."""
    monkeypatch.setenv("VMROLE_SOCKET", str(tmp_path / "nobody"))
    monkeypatch.chdir(tmp_path)

    def check(content: bytes, *options: str) -> tuple[int, str, str]:
        Path("user-data").write_bytes(content)
        status = main(["answers", "check", "user-data", *options])
        said = capsys.readouterr()
        return status, said.out, said.err

    return check


def test_user_data_is_known_and_checked(run: Run) -> None:
    """Each finding is a line with file, line, severity and path, like that of a Windows answer file."""
    status, out, err = run(b"#cloud-config\nhostname: web\nruncmd: hello\npower_state: {mode: reboot}\n")
    assert status == 0
    assert out.splitlines() == [
        "user-data:3: warning: runcmd: must be a list [type]",
        "user-data:4: note: power_state: has no effect: whether setup ends in a restart is the role's to say"
        " (use setup.restart) [power-state]",
        "user-data: note: the schema is that of cloud-init 22.4.2; the one in the guest decides"
        " (another is named by --schema) [schema]",
    ]
    assert err == "1 warning, 2 notes\n"


def test_strict_makes_a_warning_fail_and_not_a_note(run: Run) -> None:
    """Exit status 1 is for what is wrong, and when strict for what is doubtful."""
    assert run(b"#cloud-config\nruncmd: hello\n", "--strict")[0] == 1
    assert run(b"#cloud-config\npower_state: {mode: reboot}\n", "--strict")[0] == 0
    assert run(b"#!/bin/sh\ntrue\n", "--strict") == (0, "", "nothing is wrong\n")


@pytest.mark.parametrize("content", [b"#!/bin/sh\n\x00", b"#cloud-config\n\xff\n", b"#cloud-config\n# M\xfcller\n"])
def test_what_no_disc_is_made_of_is_an_error(run: Run, content: bytes) -> None:
    """Bytes that are no text are refused with their line, and shown to no terminal."""
    status, out, err = run(content)
    assert status == 1
    assert out.startswith("user-data:2: error: control character ")
    assert out.isascii()
    assert err == "1 error\n"


def test_a_byte_order_mark_is_told(run: Run) -> None:
    """An editor of Windows that leaves one makes cloud-init pass over the file."""
    status, out, _ = run(b"\xef\xbb\xbf#cloud-config\nhostname: web\n")
    assert (status, out) == (1, "user-data:1: error: begins with a byte-order mark (save it without) [refused]\n")


@pytest.mark.parametrize(
    "content",
    [
        b"users:\n  - name: ops\n",
        b"---\nusers: []\n",
        b"# my machine\n\npackages: [nginx]\n",
        b"# cloud-config\npackages: [nginx]\n",
        b"#cloud_config\npackages: [nginx]\n",
        b"cloud-config\npackages: [nginx]\n",
        b"#cloudconfig\n",
        b'{"packages": ["nginx"]}',
        b"#clout-config\n",
    ],
)
def test_a_forgotten_first_line_is_told(run: Run, content: bytes) -> None:
    """The commonest mistake of user-data: cloud-init passes over the whole file."""
    status, out, _ = run(content)
    assert status == 1
    assert out.startswith("user-data:1: error: the first line names no type that cloud-init knows")
    assert "the first line must be #cloud-config" in out
    assert "XML" not in out


@pytest.mark.parametrize(
    "content",
    [
        b"#Cloud-Config\npackages: [nginx]\n",
        b"#CLOUD-CONFIG\npackages: [nginx]\n",
        b"#cloud-configuration\npackages: [nginx]\n",
        b"\n  \n#cloud-config\npackages: [nginx]\n",
        b"#cloud-config: web\npackages: [nginx]\n",
        b"#Include https://a.example/x\n",
    ],
)
def test_a_first_line_is_read_as_cloud_init_reads_it(run: Run, content: bytes) -> None:
    """In any case, behind blanks, and whatever follows it."""
    assert run(content) == (0, "", "nothing is wrong\n")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'{"ignition": {"version": "3.4.0"}, "passwd": {}}', "Ignition's JSON"),
        (b'\n{\n  "storage": {},\n  "ignition" : {"version": "2.3.0"}}\n', "Ignition's JSON"),
        (b"variant: fcos\nversion: 1.5.0\n", "a Butane file"),
        (b"# mine\nversion: 1.0.0\nvariant: 'flatcar'\n", "a Butane file"),
        (b"# mine\nd-i debian-installer/locale string en_US\n", "a preseed file"),
        (b"lang en_US\n%packages\n@core\n%end\n", "a kickstart file"),
    ],
)
def test_what_another_program_reads_is_told_as_that(run: Run, content: bytes, what: str) -> None:
    """It would be nonsense to mend its first line: whose it is, and what an image takes that reads it."""
    status, out, _ = run(content)
    assert (status, what in out, "answers: none" in out) == (1, True, True)
    assert "must be #cloud-config" not in out


@pytest.mark.parametrize("name", ["empty.yaml", "empty.yml", "empty.sh", "EMPTY.YAML"])
def test_a_file_that_is_empty_is_told_by_what_it_would_be(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody who names a .yaml wrote XML."""
    (tmp_path / name).write_text("\n")
    assert main(["answers", "check", "--strict", str(tmp_path / name)]) == 1
    out = capsys.readouterr().out
    assert "#cloud-config" in out
    assert "xml" not in out.lower()


@pytest.mark.parametrize("content", [b"hello\n", b"#hello\nworld\n"])
def test_what_is_no_user_data_is_told_what_it_could_be(run: Run, content: bytes) -> None:
    """Every beginning that means something is named."""
    status, out, _ = run(content)
    assert (status, "#cloud-boothook" in out) == (1, True)


def test_blank_lines_before_an_interpreter_are_told(run: Run) -> None:
    """cloud-init writes the script as it is, and the kernel runs none that begins otherwise."""
    assert "[interpreter]" in run(b"\n#!/bin/sh\ntrue\n")[1]


@pytest.mark.parametrize("content", [b"hello <unattend>", b"", b"\n\n", b"<html/>", b"\xff\xfe<\0a\0"])
def test_what_is_meant_as_an_answer_file_is_checked_as_one(run: Run, content: bytes) -> None:
    """An empty file, and one with something before the XML, too."""
    assert "cloud-init" not in run(content)[1]


def test_parts_are_named(run: Run) -> None:
    """Where there are several parts, a line says which one is meant."""
    content = b'#cloud-config-archive\n- "#!/bin/sh\\n"\n- "#cloud-config\\nruncmd: hello\\n"\n'
    assert run(content)[1].splitlines()[0] == "user-data:2: warning: entry 2: runcmd: must be a list [type]"


def test_another_schema_can_be_named(run: Run, tmp_path: Path) -> None:
    """That of the guest's cloud-init, which knows better than this host's."""
    schema = tmp_path / "guest.json"
    schema.write_text('{"properties": {"users": {"type": "array"}, "runcmd": {"type": "string"}}}')
    text = b"#cloud-config\nusers: [{name: a, sudo: [ALL=ALL]}]\nruncmd: hello\n"
    assert "[type]" in run(text)[1]
    assert run(text, "--schema", str(schema)) == (0, "", "nothing is wrong\n")
    assert run(text, "--schema", "nowhere.json")[0] == 2
    Path("broken.json").write_text("{")
    assert "broken.json cannot be read" in run(text, "--schema", "broken.json")[1]


@pytest.mark.parametrize(
    "content",
    [
        b"#ps1_sysnative\nWrite-Output hello\n",
        b"#ps1\r\nWrite-Output hello\r\n",
        b"rem cmd\necho hello\n",
        b"<powershell>\nWrite-Output hello\n</powershell>\n",
        b"<script>\necho hello\n</script>\n",
    ],
)
def test_a_script_for_cloudbase_init_is_known(run: Run, content: bytes) -> None:
    """It is no XML, and nothing of cloud-init's."""
    assert run(content) == (0, "", "nothing is wrong\n")
    assert run(content, "--for", "cloudbase-init") == (0, "", "nothing is wrong\n")
    assert "cloud-init knows" in run(content, "--for", "cloud-init")[1]


@pytest.mark.parametrize(
    ("content", "line", "word"),
    [
        (b"#cloud-config\nusers: [{name: a}]\nruncmd: [a]\n", 0, ""),
        (b"#cloud-config\n", 0, ""),
        (b"#cloud-config\nusers: [\n", 3, "no YAML"),
        (b"#cloud-config\n- a\n", 1, "no mapping"),
        (b"#cloud-config\nhostname: a\npackages: [nginx]\n", 3, "'packages'"),
        (b"#cloud-config\npassword: a\n", 2, "'password'"),
        (b"#cloud-config\nchpasswd: {expire: false}\n", 2, "'chpasswd'"),
        (b"echo hello\n", 1, "names no type"),
    ],
)
def test_what_cloudbase_init_would_pass_over_is_refused(run: Run, content: bytes, line: int, word: str) -> None:
    """It reads less than cloud-init, and says nothing about the rest."""
    status, out, _ = run(content, "--for", "cloudbase-init")
    assert status == (1 if word else 0)
    assert not word or (out.startswith(f"user-data:{line}: error: ") and word in out)


def test_the_same_as_json(run: Run) -> None:
    """For programs: the file, whether it failed, and the findings."""
    status, out, _ = run(b"#cloud-config\nruncmd: hello\n", "--strict", "-o", "json")
    assert status == 1
    said = json.loads(out)
    assert (said["file"], said["failed"]) == ("user-data", True)
    finding, note = said["findings"]
    assert (note["severity"], note["code"]) == ("note", "schema")
    assert finding == {
        "severity": "warning",
        "part": "user-data",
        "line": 2,
        "path": "runcmd",
        "code": "type",
        "message": "must be a list",
        "mend": "",
    }
