"""`vmrole answers diff`: what it prints about his file and a service file, without a daemon and without secrets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.world.answer_files import server
from tests.world.command_line import Run, runner
from tests.world.places import GOLDEN_FILES

SERVER = GOLDEN_FILES / "merge" / "server.theirs.xml"
SERVICE = """\
service: shop
roles:
  gate:
    image: micro
    answers:
      userData: |
        #cloud-config
        {}
  web:
    image: w2022
    answers:
      unattend:
        timeZone: Tokyo Standard Time
        administratorPassword: {env: NOWHERE}
  db:
    image: w2022
    answers:
      unattend: {}
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `vmrole answers diff` where no daemon is; gives exit status, stdout and stderr."""
    monkeypatch.setenv("VMROLE_SOCKET", str(tmp_path / "nobody"))
    return runner(capsys, "answers", "diff")


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """A service file with two Windows roles."""
    (tmp_path / "shop.yaml").write_text(SERVICE)
    return tmp_path / "shop.yaml"


def test_the_decisions_and_the_change_are_shown_without_secrets(run: Run, service: Path) -> None:
    """Each difference with its line in his file, then a unified diff; no password of either side is seen."""
    status, out, err = run(SERVER, "--service", service, "--role", "web")
    assert (status, err) == (0, "")
    decided, _, change = out.partition("\n\n")
    line = SERVER.read_text().split("\n").index("\t\t\t<Computername>*</Computername><!-- any -->") + 1
    assert (
        f"line {line}: specialize/Microsoft-Windows-Shell-Setup/ComputerName: the service file's is taken" in decided
    )
    assert "UserAccounts/AdministratorPassword: the service file's is taken" in decided
    assert change.startswith("--- server.theirs.xml\n+++ server.theirs.xml (merged)\n@@")
    assert re.search(r"^\+\s*<!--\s?vmrole instance web-0\.shop ", change, re.MULTILINE)
    assert re.search(r"^\+\s*<TimeZone>Tokyo Standard Time</TimeZone>", change, re.MULTILINE)
    assert "Secret" not in out
    assert "***" in out


def test_without_a_service_file_defaults_do_not_beat_his(run: Run) -> None:
    """His time zone stays when nobody wishes another; --answers and --computer-name are wishes."""
    status, out, _ = run(SERVER, "--computer-name", "pc-7")
    assert status == 0
    assert "Shell-Setup/TimeZone: yours stays" in out
    assert re.search(r"^\+\s*<Computername>pc-7<", out, re.MULTILINE)
    status, out, _ = run(SERVER, "--answers", "timeZone=Tokyo Standard Time")
    assert status == 0
    assert "Shell-Setup/TimeZone: the service file's is taken" in out


def test_the_architecture_can_be_said(run: Run) -> None:
    """For an arm64 image his amd64 components are told to be skipped, and ours are added beside them."""
    status, out, _ = run(SERVER, "--arch", "arm64", "--os", "11")
    assert status == 0
    assert "ours: arm64; yours: amd64" in out
    assert re.search(r'^\+.*processorArchitecture="arm64"', out, re.MULTILINE)


def test_the_file_in_the_service_file_is_taken_without_another(run: Run, service: Path, tmp_path: Path) -> None:
    """What stands under `xml:` is what is deployed; a role without one and no FILE is told so."""
    own = "".join(f"          {line}\n" for line in SERVER.read_text().split("\n"))
    (tmp_path / "own.yaml").write_text(
        SERVICE.replace("      unattend: {}\n", f"      unattend:\n        xml: |\n{own}")
    )
    status, out, err = run("--service", tmp_path / "own.yaml", "--role", "db")
    assert (status, err) == (0, "")
    assert "ComputerName: the service file's is taken" in out
    assert re.search(r"^\+\s*<Computername>db-0<", out, re.MULTILINE)
    status, _, err = run("--service", service, "--role", "web")
    assert status == 3
    assert "has no xml for web" in err
    assert run()[0] == 2


def test_a_program_can_read_the_decisions(run: Run) -> None:
    """As JSON each decision has its fields; `kept` is a word."""
    status, out, _ = run(SERVER, "-o", "json")
    assert status == 0
    (zone,) = [one for one in json.loads(out)["decisions"] if one["path"].endswith("Shell-Setup/TimeZone")]
    assert (zone["ours"], zone["theirs"], zone["kept"]) == ("UTC", "W. Europe Standard Time", "theirs")
    assert "Secret" not in out


def test_a_role_is_named_where_two_could_be_meant(run: Run, service: Path) -> None:
    """Two roles with answers for Windows are a usage error; one that has none is not found."""
    status, _, err = run(SERVER, "--service", service)
    assert status == 2
    assert "web, db" in err
    status, _, err = run(SERVER, "--service", service, "--role", "gate")
    assert status == 3
    assert "web, db" in err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nowhere.xml"], 3, "no file nowhere.xml"),
        (["--answers", "timeZone"], 2, "not KEY=VALUE"),
        (["--answers", "colour=blue"], 2, "colour: there is no such key"),
        (["--answers", "administratorPassword=hunter2"], 2, "does not stand in the service file"),
        (["--service", "x", "--computer-name", "a"], 2, "leave --answers"),
    ],
)
def test_what_cannot_be_meant_is_said(run: Run, words: list[str], status: int, said: str) -> None:
    """A file that is not there, an unknown key, a secret on the command line: one sentence, and the exit status."""
    found = run(*words, *([] if words[0].endswith(".xml") else [SERVER]))
    assert found[0] == status
    assert said in found[2]
    assert found[1] == ""
    assert "hunter2" not in found[2]


def test_an_empty_file_is_called_empty(run: Run, tmp_path: Path) -> None:
    """And not missing from a service file that nobody named."""
    (tmp_path / "empty.xml").write_text("")
    status, out, err = run(tmp_path / "empty.xml")
    assert (status, out) == (2, "")
    assert "the file is empty" in err


def test_a_faulty_file_is_refused_with_its_line(run: Run, tmp_path: Path) -> None:
    """As a compiler would: file, line, what is wrong and what would be right."""
    broken = tmp_path / "broken.xml"
    broken.write_text(SERVER.read_text().replace("R&amp;D", "R&D"))
    status, out, err = run(broken)
    assert (status, out) == (2, "")
    assert re.search(r"broken\.xml:15: .*\(write &amp; for &\)", err)


def test_a_file_that_would_be_refused_is_explained_all_the_same(run: Run, tmp_path: Path) -> None:
    """What `check` calls an error is said after the decisions, and the exit status is 1."""
    doubled = tmp_path / "doubled.xml"
    owner = "<RegisteredOwner>R&amp;D</RegisteredOwner>"
    doubled.write_text(SERVER.read_text().replace(owner, owner * 2))
    status, out, err = run(doubled)
    assert status == 1
    assert "ComputerName: the service file's is taken" in out
    assert re.search(r"doubled\.xml:15: .*RegisteredOwner", err)
    assert "vmrole answers check" in err


def test_a_question_that_the_service_leaves_open_is_told(run: Run, tmp_path: Path) -> None:
    """`apply` would refuse it; without a service file nobody says all that there would be."""
    (tmp_path / "own.xml").write_bytes(server(accounts=""))
    (tmp_path / "open.yaml").write_text(SERVICE.replace("        administratorPassword: {env: NOWHERE}\n", ""))
    status, out, err = run(tmp_path / "own.xml", "--service", tmp_path / "open.yaml", "--role", "web")
    assert (status, "waits for ever" in err, "would be" in err or "is refused" in err) == (1, True, True)
    assert "TimeZone: the service file's is taken" in out
    (tmp_path / "shut.yaml").write_text(SERVICE)
    assert run(tmp_path / "own.xml", "--service", tmp_path / "shut.yaml", "--role", "web")[0] == 0
    assert run(tmp_path / "own.xml")[0] == 0


def test_a_file_that_is_named_elsewhere_has_to_be_named(run: Run, tmp_path: Path) -> None:
    """`xml: {file: …}` is read when a disc is made, and not here."""
    text = SERVICE.replace("timeZone: Tokyo Standard Time", "xml: {file: /etc/x.xml}")
    (tmp_path / "shop.yaml").write_text(text)
    status, _, err = run("--service", tmp_path / "shop.yaml", "--role", "web")
    assert (status, "name the Unattend.xml" in err) == (3, True)


def test_the_xml_is_no_single_key(run: Run) -> None:
    """It would be passed over."""
    status, _, err = run(SERVER, "--answers", "xml=hello")
    assert (status, "leave xml out" in err) == (2, True)


def test_an_unattend_without_its_namespace_is_called_that(run: Run, tmp_path: Path) -> None:
    """The name alone is the right one."""
    (tmp_path / "bare.xml").write_text("<unattend/>")
    assert "<unattend> of no namespace" in run(tmp_path / "bare.xml")[2]
