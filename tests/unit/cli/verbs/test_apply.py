"""Several services by one command: files, documents, directories; all are checked before the first is touched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.cli import gathering
from orchestrator.cli.main import main
from orchestrator.errors import Unreachable
from tests.unit.cli.verbs.service_files import A, B, C, service, write
from tests.world.api_daemon import SHOP, Daemon
from tests.world.command_line import VMROLE, Run
from tests.world.places import REPOSITORY


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test stands in an empty directory."""
    monkeypatch.chdir(tmp_path)


def names(daemon: Daemon) -> list[str]:
    """The services that there are."""
    return [one.name for one in daemon.control.services()]


def test_the_documents_of_a_file_are_applied_in_order(run: Run, daemon: Daemon) -> None:
    """Each says what was done to it; empty documents and comments say nothing."""
    write(all_yaml=f"# three\n---\n{A}---\n# nothing\n---\n{B}...\n---\n{C}---\n")
    status, out, err = run("apply", "-f", "all.yaml")
    assert (status, err) == (0, "")
    assert [line for line in out.splitlines() if ": applied" in line] == ["a: applied", "b: applied", "c: applied"]
    assert run("apply", "-f", "all.yaml") == (0, "a: unchanged\nb: unchanged\nc: unchanged\n", "")


def test_a_directory_files_and_stdin_are_joined(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """The service files in a directory by name, without what editors leave; then the others, in the order given."""
    (tmp_path / "d" / "deeper").mkdir(parents=True)
    for name, text in {"b.yml": B, "a.yaml": A, ".#a.yaml": "x", "notes.txt": "x", "deeper/x.yaml": "x"}.items():
        (tmp_path / "d" / name).write_text(text)
    done = subprocess.run(
        [*VMROLE, "apply", "-f", str(tmp_path / "d"), "-f", "-"],
        input=C,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stdout.splitlines() if "applied" in line] == [f"{one}: applied" for one in "abc"]
    assert (done.returncode, names(daemon)) == (0, ["a", "b", "c"])


def test_one_fault_anywhere_changes_nothing(run: Run, daemon: Daemon) -> None:
    """Each fault of each document is told with file, line, document and key; what is sound is not applied either."""
    write(
        one_yaml=A,
        two_yaml=f"{B}---\n{C.replace('micro', 'macro').replace('203.0.113.13', 'x')}---\nservice: [\n---\nx: 1\n",
    )
    status, out, err = run("apply", "-f", "one.yaml", "-f", "two.yaml", "-f", "none.yaml")
    assert (status, out) == (2, "")
    lines = err.splitlines()
    assert lines[0] == "error: 4 of 6 documents have faults; nothing was changed"
    assert any(line.startswith("two.yaml:9: document 2: vip: ") for line in lines), err
    assert any(
        line.startswith("two.yaml:12: document 2: roles.web.image: there is no image 'macro'") for line in lines
    )
    assert any(line.startswith(("two.yaml:15: document 3: ", "two.yaml:16: ")) for line in lines), err
    assert any(line.startswith("two.yaml:17: document 4: x: there is no such key") for line in lines), err
    assert any(line == "there is no file none.yaml" for line in lines)
    assert names(daemon) == []


@pytest.mark.parametrize("verb", ["apply", "diff"])
def test_a_service_that_stands_twice_is_a_fault(run: Run, daemon: Daemon, verb: str) -> None:
    """In two files or in one file twice: both places are named, and nothing is changed."""
    write(one_yaml=A, two_yaml=f"# again\n{A}", three_yaml=f"{B}---\n{B}")
    status, _, err = run(verb, "-f", "one.yaml", "-f", "two.yaml", "-f", "three.yaml")
    assert status == 2
    assert "two.yaml:2: service: a stands in one.yaml:1 as well (keep one of the two)\n" in err
    assert "three.yaml:8: document 2: service: b stands in three.yaml:1 as well (keep one of the two)\n" in err
    assert names(daemon) == []


def test_what_two_documents_cannot_have_both_is_seen_before(run: Run, daemon: Daemon) -> None:
    """One VIP for two services, and memory that is enough for either: the second document has the fault."""
    write(vip_yaml=f"{A}---\n{service('b', 11)}")
    status, _, err = run("apply", "-f", "vip.yaml")
    assert status == 5
    assert "vip.yaml:7: document 2: vip: 203.0.113.11 is already the VIP of service a" in err
    large = "    size: {memory: 9 GiB}\n"
    write(memory_yaml=f"{service('a', 11, more=large)}---\n{service('b', 12, more=large)}")
    status, _, err = run("apply", "-f", "memory.yaml")
    assert status == 2
    assert "memory.yaml:15: document 2: roles.web.size.memory: needs " in err
    assert names(daemon) == []


def test_what_one_document_gives_up_the_next_may_have(run: Run, daemon: Daemon) -> None:
    """Documents are checked in the order in which they are applied."""
    write(a_yaml=A)
    assert run("apply", "-f", "a.yaml")[0] == 0
    write(both_yaml=f"{service('a', 21)}---\n{service('b', 11)}")
    assert run("apply", "-f", "both.yaml", "--dry-run")[0] == 0
    assert run("apply", "-f", "both.yaml")[0] == 0
    assert [one.spec.vip for one in daemon.control.services()] == ["203.0.113.21", "203.0.113.11"]


def test_diff_and_dry_runs_tell_whose_change_it_is(run: Run, daemon: Daemon) -> None:
    """Changes of several services stand below their names; the exit status is diff's."""
    write(a_yaml=A, b_yaml=B)
    assert run("apply", "-f", ".")[0] == 0
    assert run("diff", "-f", ".") == (0, "", "")
    write(b_yaml=service("b", 12, instances=2))
    change = "~ roles.web.instances: 1 -> 2 (1 instance is deployed)\n"
    assert run("diff", "-f", ".") == (1, f"b:\n{change}", "")
    assert run("apply", "-f", ".", "--dry-run") == (0, f"a:\nnothing would change\nb:\n{change}", "")
    assert len(daemon.control.instances("b")) == 1


def test_files_that_give_nothing_are_faults(run: Run, tmp_path: Path) -> None:
    """A directory without service files, an empty file, stdin twice, no file at all."""
    (tmp_path / "empty").mkdir()
    assert run("apply", "-f", "empty")[0] == 3
    write(empty_yaml="# nothing\n---\n", a_yaml=A)
    status, _, err = run("apply", "-f", "a.yaml", "-f", "empty.yaml")
    assert (status, "empty.yaml: the service file is empty" in err) == (2, True)
    assert run("apply", "-f", "-", "-f", "-")[0] == 2
    assert run("apply")[0] == 2
    assert run("diff")[0] == 2
    assert run("apply", "-f", "a.yaml", "-f", "a.yaml", "--expect", "0")[0] == 2


def test_removal_by_files(run: Run, daemon: Daemon) -> None:
    """The services that the files name go; one that is gone already stops none, and is told by the exit status."""
    write(a_yaml=A, b_yaml=f"{B}---\n{C}", bad_yaml=f"{A}---\nvip: x\n")
    assert run("apply", "-f", "a.yaml", "-f", "b.yaml")[0] == 0
    assert run("delete", "-f", "bad.yaml")[0] == 2
    assert not any(one.removing for one in daemon.control.services())
    assert run("delete", "-f", "b.yaml") == (0, "b: being deleted\nc: being deleted\n", "")
    assert [one.name for one in daemon.control.services() if one.removing] == ["b", "c"]
    write(x_yaml=f"{service('x', 44)}---\n{A}")
    status, out, err = run("delete", "-f", "x.yaml")
    assert (status, out, "there is no service 'x'" in err) == (3, "a: being deleted\n", True)
    assert run("delete", "service", "a", "-f", "a.yaml")[0] == 2
    assert run("delete")[0] == 2


def test_waiting_is_for_all_of_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`--wait` returns when every service serves."""
    with Daemon(tmp_path / "d", alive=True) as living:
        living.give_image()
        (tmp_path / "all.yaml").write_text(f"{A}---\n{SHOP}")
        words = ["--socket", str(living.socket), "apply", "-f", str(tmp_path / "all.yaml"), "--wait"]
        assert main([*words, "--timeout", "120s"]) == 0, capsys.readouterr().err
        assert {one.phase for one in living.control.instances()} == {"serving"}
        assert {one.service for one in living.control.instances()} == {"a", "shop"}
        capsys.readouterr()
        words = ["--socket", str(living.socket), "delete", "-f", str(tmp_path / "all.yaml"), "--wait"]
        assert main([*words, "--timeout", "120s"]) == 0, capsys.readouterr().err
        assert living.control.services() == []


def test_the_time_is_over_for_each_that_does_not_serve(run: Run) -> None:
    """Every service that is not there in time is told, and the exit status is that of a timeout."""
    write(all_yaml=f"{A}---\n{B}")
    status, _, err = run("apply", "-f", "all.yaml", "--wait", "--timeout", "0.3s")
    assert status == 4
    assert err.count("error: ") == 2


@pytest.mark.parametrize("verb", [["diff", "-f", "a.yaml"], ["verify"], ["image", "verify"]], ids=" ".join)
def test_what_finds_something_exits_otherwise_when_nobody_answers(
    verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 means a difference; a script must not take a daemon that is away for one."""
    monkeypatch.chdir(tmp_path)
    write(a_yaml=A)
    assert main(["--socket", str(tmp_path / "none"), *verb]) == 2
    assert "no daemon answers" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["apply", "diff", "delete"])
def test_what_is_no_file_in_a_directory_is_not_waited_for(
    run: Run, daemon: Daemon, tmp_path: Path, verb: str
) -> None:
    """A pipe that nobody writes to, by itself or behind a link, a device: faults, as links that lead nowhere are."""
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d" / "pipe.yaml")
    (tmp_path / "d" / "a.yaml").write_text(A)
    (tmp_path / "d" / "link.yaml").symlink_to("pipe.yaml")
    (tmp_path / "d" / "null.yaml").symlink_to("/dev/null")
    (tmp_path / "d" / "loop.yaml").symlink_to("loop.yaml")
    done = subprocess.run(
        [*VMROLE, verb, "-f", "d"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    for name in ("pipe", "link", "null"):
        assert f"d/{name}.yaml is not a file (" in done.stderr
    assert "d/loop.yaml cannot be read: " in done.stderr
    assert names(daemon) == []


@pytest.mark.parametrize("verb", ["apply", "diff"])
def test_more_than_is_checked_together_is_told_in_numbers(
    run: Run, daemon: Daemon, tmp_path: Path, verb: str
) -> None:
    """Too many documents in all, or too large ones, though each file alone would do; a removal takes any number."""
    (tmp_path / "many").mkdir()
    for number in range(501):
        (tmp_path / "many" / f"s{number}.yaml").write_text(f"service: s{number}\n")
    status, out, err = run(verb, "-f", "many")
    assert (status, out) == (2, "")
    assert "501 documents of " in err
    assert "hint: apply them in parts" in err
    large = "# " + "x" * 600_000 + "\n"
    write(a_yaml=A + large, b_yaml=B + large)
    status, out, err = run(verb, "-f", "a.yaml", "-f", "b.yaml")
    assert (status, out) == (2, "")
    assert "2 documents of 1172 KiB are more than are checked together: at most 500 of 1023 KiB" in err
    write(a_yaml=A + "#\n" * 200_000, b_yaml=B + "#\n" * 200_000)
    assert "KiB are more than are checked together" in run(verb, "-f", "a.yaml", "-f", "b.yaml")[2]
    assert names(daemon) == []
    assert run("apply", "-f", "a.yaml")[0] == 0
    assert run("delete", "-f", "a.yaml", "-f", "b.yaml")[:2] == (3, "a: being deleted\n")


def test_what_an_answer_that_was_lost_leaves_is_not_said_to_be_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that goes away before it answers may have applied the document."""
    lost = [gathering.Fault(of="a.yaml", error=Unreachable("the daemon went away"))]
    assert gathering.refuse(lost, 3) == 1
    assert (
        capsys.readouterr().err.splitlines()[0] == "error: a document has a fault; it may be applied: see vmrole diff"
    )
    assert gathering.refuse(lost, 3, done=2) == 1
    assert "the first 2 are applied before it, and it may be applied" in capsys.readouterr().err
