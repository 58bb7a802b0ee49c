"""`vmrole answers check`: what it prints, and what it exits with. No daemon is asked."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.world.command_line import Run, runner
from tests.world.places import GOLDEN_FILES

SOUND = GOLDEN_FILES / "answers" / "generalized.xml"
WIPING = """<unattend xmlns="urn:schemas-microsoft-com:unattend">
<settings pass="windowsPE">
<component name="Microsoft-Windows-Setup" processorArchitecture="x86"
 publicKeyToken="31bf3856ad364e35" language="neutral">
<DiskConfiguration>
<Disk xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State" wcm:action="add">
<WillWipeDisk>true</WillWipeDisk></Disk></DiskConfiguration></component></settings></unattend>
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Checks a file where no daemon is; gives exit status, stdout and stderr."""
    monkeypatch.setenv("VMROLE_SOCKET", str(tmp_path / "nobody"))
    monkeypatch.chdir(tmp_path)
    Path("wiping.xml").write_text(WIPING)
    Path("Autounattend.xml").write_text(WIPING)
    Path("doubtful.xml").write_text(SOUND.read_text().replace("<Computername>web-0", "<Computername>clerk"))
    Path("broken.xml").write_bytes(b"<unattend>\n\x1b[31m&nbsp;</unattend>")
    return runner(capsys, "answers", "check")


def test_a_sound_file_is_silence(run: Run) -> None:
    """Exit status 0 and nothing on stdout, strict or not."""
    assert run(str(SOUND)) == (0, "", "nothing is wrong\n")
    assert run(str(SOUND), "--strict", "--os", "2022", "--arch", "amd64", "--for", "generalized")[0] == 0


def test_a_finding_is_one_line(run: Run) -> None:
    """File, line, severity, place, what is wrong, the mend, and a word for programs."""
    status, out, err = run("wiping.xml", "--for", "generalized")
    assert (status, err) == (1, "1 error, 1 warning\n")
    out = "".join(line for line in out.splitlines(keepends=True) if "[password-missing]" not in line)
    assert out.startswith(
        "wiping.xml:7: error: windowsPE/Microsoft-Windows-Setup/DiskConfiguration/Disk/WillWipeDisk: "
    )
    assert out.endswith("[disk-wipe]\n")
    assert out.count("\n") == 1


def test_a_note_fails_nothing(run: Run) -> None:
    """What does nothing any more is worth knowing, and no more."""
    Path("old.xml").write_text(SOUND.read_text().replace("</OOBE>", "<NetworkLocation>Work</NetworkLocation></OOBE>"))
    status, out, err = run("old.xml", "--strict", "--os", "2022")
    assert (status, err) == (0, "1 note\n")
    assert "note: " in out
    assert out.endswith("[deprecated]\n")
    assert run("old.xml", "--os", "2012r2") == (0, "", "nothing is wrong\n")


def test_what_a_file_is_for_is_not_guessed_against_it(run: Run) -> None:
    """Without --for no disk is said to be wiped in vain; Autounattend.xml is an install by its name."""
    assert run("wiping.xml")[0] == 0
    assert run("Autounattend.xml")[0] == 0
    assert run("Autounattend.xml", "--for", "generalized")[0] == 1


def test_the_image_is_regarded(run: Run) -> None:
    """--arch and --os say what the file has to fit."""
    assert "[architecture]" in run("wiping.xml", "--arch", "amd64")[1]
    assert "[release]" in run(str(SOUND), "--os", "2008r2")[1]


def test_strict_makes_a_warning_fail(run: Run) -> None:
    """A warning fails nothing unless it is asked to."""
    assert run("doubtful.xml")[0] == 0
    status, out, err = run("doubtful.xml", "--strict")
    assert (status, err) == (1, "1 warning\n")
    assert "warning" in out


def test_for_programs(run: Run) -> None:
    """JSON has the file, whether it failed, and every field of every finding."""
    status, out, _ = run("doubtful.xml", "-o", "json")
    said = json.loads(out)
    assert (status, said["file"], said["failed"]) == (0, "doubtful.xml", False)
    assert said["findings"][0].keys() == {"severity", "line", "path", "code", "message", "mend"}
    assert said["findings"][0]["code"] == "computer-name"


def test_a_file_obeys_no_terminal(run: Run) -> None:
    """What is no XML is a finding, and its control characters are not printed."""
    status, out, err = run("broken.xml")
    assert (status, err) == (1, "1 error\n")
    assert "\x1b" not in out


def test_what_cannot_be_read_is_no_finding(run: Run) -> None:
    """A missing file is exit status 3, one that cannot be opened 2."""
    assert run("nothing.xml")[0] == 3
    assert run(".")[0] == 2


def test_stdin_is_a_file_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """- reads what is piped in."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"<a/>")))
    status, out, _ = run("-")
    assert status == 1
    assert out.startswith("-:1: error: ")


def test_the_program_starts_without_what_only_checks_need() -> None:
    """Neither the table nor the XML parser is loaded to print the help of all verbs."""
    script = "import sys; from orchestrator.cli.main import main; main(['--help']); print([one for one in sys.modules"
    script += " if one in ('lxml', 'lxml.etree', 'unattend.windows.check', 'unattend.windows.settings')])"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert said.splitlines()[-1] == "[]"


def test_a_file_of_azures_is_sent_to_who_reads_it(run: Run, tmp_path: Path) -> None:
    """A definition and a configuration are no answer files, and there is a verb for them."""
    (tmp_path / "a.csdef").write_text("<ServiceDefinition name='x'/>")
    status, out, _ = run(tmp_path / "a.csdef")
    assert (status, "vmrole import makes a service file of it" in out) == (1, True)
