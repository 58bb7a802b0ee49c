"""`vmrole import`: what it prints, writes, applies and exits with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world.api_daemon import Daemon
from tests.world.azure_files import CSCFG, CSDEF, SMALL_CSCFG, SMALL_CSDEF, parsed
from tests.world.command_line import Run, runner


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Imports where no daemon is; gives exit status, stdout and stderr."""
    monkeypatch.setenv("VMROLE_SOCKET", str(tmp_path / "nobody"))
    monkeypatch.chdir(tmp_path)
    for name, text in {"o.csdef": CSDEF, "o.cscfg": CSCFG, "s.csdef": SMALL_CSDEF, "s.cscfg": SMALL_CSCFG}.items():
        Path(name).write_text(text)
    return runner(capsys, "import")


def test_the_service_file_is_printed_and_the_rest_listed(run: Run) -> None:
    """The file on stdout can be read as it is; what it does not say is on stderr and at its top."""
    status, out, err = run("o.csdef", "o.cscfg", "--vip", "203.0.113.20")
    assert status == 0
    assert [role.name for role in parsed(out).roles] == ["frontend", "generalledgerkeeper"]
    assert "not carried over: o.csdef:15: Setting StorageConnection" in err
    assert "not carried over: o.csdef:29: InstanceInputEndpoint Debug" not in err
    for line in err.splitlines():
        assert f"# {line}\n" in out


def test_a_file_is_written_once(run: Run) -> None:
    """-o writes what would have been printed, and does not write over a file."""
    words = ("s.csdef", "s.cscfg", "--vip", "203.0.113.20")
    printed = run(*words)[1]
    assert run(*words, "-o", "shop.yaml")[:2] == (0, "")
    assert Path("shop.yaml").read_text() == printed
    Path("shop.yaml").write_text("mine")
    status, _, err = run(*words, "-o", "shop.yaml")
    assert (status, "shop.yaml exists" in err) == (5, True)
    assert Path("shop.yaml").read_text() == "mine"


def test_faults_are_told_one_a_line(run: Run) -> None:
    """Each fault of both files stands on its line with its place; nothing is printed on stdout."""
    Path("s.csdef").write_text(SMALL_CSDEF.replace("Small", "Huge"))
    status, out, err = run("s.csdef", "s.cscfg")
    assert (status, out) == (2, "")
    assert "\ns.csdef:2: vmsize 'Huge' is not known (" in err
    assert "\ns.csdef:1: the service has input endpoints" in err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("none.csdef", "s.cscfg"), 3, "there is no file none.csdef"),
        ((".", "s.cscfg"), 2, ". cannot be read"),
        (("s.csdef", "s.csdef"), 2, "s.csdef:1: this is a ServiceDefinition, not a ServiceConfiguration"),
        (("s.csdef", "s.cscfg", "--vip", "nowhere"), 2, "is no IP address"),
        (("s.csdef", "s.cscfg", "--vip", "2001:db8::1%a\nroles: {}"), 2, "is no IP address"),
        (("s.csdef", "s.cscfg", "--image", "A B"), 2, "cannot be used"),
        (("s.csdef", "s.cscfg", "--role-image", "web"), 2, "is not ROLE=NAME"),
        (("s.csdef", "s.cscfg", "--administrator-password", "hunter2"), 2, "secret:NAME, env:NAME"),
        (("s.csdef", "s.cscfg", "--apply", "-o", "x"), 2, "either --apply or -o"),
        (("big.csdef", "s.cscfg"), 2, "big.csdef is larger than 1 MiB"),
    ],
)
def test_what_cannot_be_meant_is_refused(run: Run, words: tuple[str, ...], status: int, message: str) -> None:
    """A wrong file or option has its exit status and says what is wrong."""
    Path("big.csdef").write_bytes(b"x" * 10_000_000)
    got, out, err = run(*words)
    assert (got, out) == (status, "")
    assert message in err


def test_a_password_given_by_mistake_is_not_repeated(run: Run) -> None:
    """An option that wants the name of a secret does not show what it got instead."""
    assert "hunter2" not in run("s.csdef", "s.cscfg", "--administrator-password", "hunter2")[2]


def test_apply_asks_the_daemon(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """--apply makes the service, or says what the daemon found wrong with it."""
    with Daemon(tmp_path) as daemon:
        daemon.give_image()
        monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
        words = ("s.csdef", "s.cscfg", "--vip", "203.0.113.20", "--windows", "none", "--apply")
        assert run(*words, "--image", "nothing")[0] == 2
        status, out, err = run(*words, "--image", "micro")
        assert (status, err.count("not carried over: s.cscfg:4: OsImage")) == (0, 1)
        assert out.startswith("shop: applied\n")
        assert [one["name"] for one in daemon.client().services()] == ["shop"]
