"""`vmrole check`: service files without a daemon, for editors and pipelines."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from orchestrator.errors import InvalidInput
from orchestrator.servicefile import offline
from orchestrator.servicefile.tree import read_tree
from tests.unit.cli.verbs.service_files import A, B, service, write
from tests.world.command_line import Run, runner
from tests.world.places import REPOSITORY

WINDOWS = "service: win\nroles:\n  web:\n    image: ws2022\n"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `vmrole check` where there is no daemon, in an empty directory; gives exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMROLE_SOCKET", str(tmp_path / "none"))
    return runner(capsys, "check")


def test_what_is_sound_is_said_to_be_so_without_a_daemon(run: Run) -> None:
    """The examples and what the README shows; images and secrets that this host does not have are no faults."""
    readme = (REPOSITORY / "README.md").read_text().split("```yaml\n")[1:]
    for number, part in enumerate(readme):
        Path(f"readme-{number}.yaml").write_text(
            part.split("```", 1)[0].replace("vip: 203.0.113.1", f"vip: 203.0.{number}.1")
        )
        assert run(f"readme-{number}.yaml") == (0, "", "1 document: no fault\n")
    for example in ("shop.yaml", "web.yaml"):
        assert run(str(REPOSITORY / "docs" / "examples" / example))[0] == 0
    write(a_yaml=f"{A}---\n{B}")
    assert run("-f", "a.yaml") == (0, "", "2 documents: no fault\n")


def test_a_large_file_is_read_once(run: Run) -> None:
    """Its name, and what the roles say of their images, is taken from the same tree: a megabyte costs a second."""
    text = A.replace("image: micro", "image: micro\n    drain: " + "a word " * 60_000)
    assert run("nosuch.yaml")[0] == 3  # What is imported is by now.
    write(a_yaml=A, large_yaml=text)
    assert run("a.yaml")[0] == 0
    began = time.process_time()
    tree, _faults = read_tree(text)
    once_s = time.process_time() - began
    assert "roles" in tree
    began = time.process_time()
    assert run("large.yaml")[0] == 2
    assert time.process_time() - began < 1.6 * once_s


def test_all_faults_of_all_files_are_told_with_their_places(run: Run, tmp_path: Path) -> None:
    """By file, line, document and key, in the manner of compilers; the exit status is that of a fault."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.yaml").write_text(A.replace("instances", "instnaces"))
    (tmp_path / "d" / "b.yaml").write_text(f"{B}---\nservice: [\n")
    status, out, err = run("d", "nosuch.yaml")
    lines = out.splitlines()
    assert (status, err) == (2, "4 documents: 3 with faults\n")
    assert lines[0].startswith("d/a.yaml:6: roles.web.instnaces: there is no such key (did you mean instances?)")
    assert lines[1].startswith("d/b.yaml:8: document 2: ")
    assert lines[2:] == ["there is no file nosuch.yaml"]
    assert run("nosuch.yaml")[0] == 3
    assert run()[0] == 2


def test_a_program_reads_them_as_json(run: Run) -> None:
    """A row for each document, those without a fault included, and for each file that gives none."""
    write(all_yaml=f"{A}---\n{B.replace('image: micro', 'imgae: micro')}")
    status, out, err = run("all.yaml", "nosuch.yaml", "-o", "json")
    assert (status, err) == (2, "")
    first, second, third = json.loads(out)
    assert first == {"file": "all.yaml", "document": 1, "service": "a", "problems": []}
    assert (second["document"], second["service"]) == (2, "b")
    assert {(one["key"], one["line"]) for one in second["problems"]} == {
        ("roles.web.image", 11),
        ("roles.web.imgae", 12),
    }
    assert all(one["hint"] and one["message"] for one in second["problems"])
    assert (third["file"], third["document"], third["service"]) == ("nosuch.yaml", None, None)
    write(all_yaml=A)
    assert json.loads(run("all.yaml", "-o", "json")[1])[0]["problems"] == []


def test_what_two_files_cannot_have_both_is_a_fault(run: Run) -> None:
    """A service that stands twice, a VIP that two of them want."""
    write(a_yaml=A, b_yaml=service("b", 11), c_yaml=f"# again\n{A}")
    status, out, _ = run(".")
    assert status == 2
    assert "b.yaml:2: vip: 203.0.113.11 is already the VIP of service a, a.yaml:1 (choose another, or" in out
    assert "c.yaml:2: service: a stands in a.yaml:1 as well (keep one of the two)" in out
    write(b_yaml=service("b", 12).replace("\nroles:", "\nstagingVip: 203.0.113.11\nroles:"))
    assert "b.yaml:3: stagingVip: 203.0.113.11 is already the VIP of service a, a.yaml:1" in run(".")[1]


def test_two_files_do_not_have_one_drive(run: Run) -> None:
    """An instance of each would have it: with the line and the key of the second, and whose it is."""
    drives = '    drives:\n      data: {{drive: "{0}"}}\n'
    write(
        a_yaml=service("a", 11) + drives.format("orders-{index}"), b_yaml=service("b", 12) + drives.format("orders-1")
    )
    assert run(".")[0] == 0
    write(b_yaml=service("b", 12) + drives.format("orders-0"))
    status, out, err = run(".")
    assert (status, err) == (2, "2 documents: 1 with faults\n")
    told = "web-0.b cannot have drive orders-0: web-0.a wants it, too, a.yaml:1"
    assert f"roles.web.drives.data.drive: {told} (each drive has one instance at a time: choose another)" in out
    assert out.startswith("b.yaml:")


def test_two_files_may_share_a_vip_when_both_say_so(run: Run) -> None:
    """With ports of their own: else the line of the port has the fault, and of who says nothing that of the vip."""
    ends = "    endpoints: {http: {port: 80}}\n"
    shared = "sharedVip: true\nroles:"
    a, b = (service(name, 11, more=ends).replace("roles:", shared) for name in "ab")
    write(a_yaml=a, b_yaml=b.replace("80", "81"))
    assert run(".")[0] == 0
    write(b_yaml=b)
    status, out, _ = run(".")
    assert status == 2
    line = b.splitlines().index("    endpoints: {http: {port: 80}}") + 1
    told = (
        "roles.web.endpoints.http.port: port 80 of 203.0.113.11 is taken by service a (roles.web.endpoints.http.port)"
    )
    assert f"b.yaml:{line}: {told}, a.yaml:1 (each port of a shared VIP once" in out
    write(b_yaml=b.replace("80", "81").replace("sharedVip: true\n", ""))
    status, out, _ = run(".")
    assert (status, "say sharedVip: true in the file of b" in out) == (2, True)
    write(b_yaml=b.replace(ends, ""))
    assert "b.yaml:3: sharedVip: there is no endpoint that could be at a shared VIP" in run(".")[1]


@pytest.mark.parametrize(
    "more",
    [
        "    ready: {services: [W3SVC]}\n",
        "    ready: {delayed: true}\n",
        "    answers: {unattend: {windows: 2022, administratorPassword: {secret: nosuch}}}\n",
        "    answers: {adminPassword: {credential: nosuch}}\n",
        "    answers: {adminPassword: {credential: nosuch}}\n    ready: {services: [W3SVC]}\n",
    ],
)
def test_what_windows_alone_may_have_is_taken_for_windows(more: str) -> None:
    """No image says so; what a Linux alone may have is a fault beside it."""
    assert offline.check(WINDOWS + more).role("web")
    with pytest.raises(InvalidInput, match="1 fault"):
        offline.check(f"{WINDOWS}{more}    identity: {{sshHostKeys: keep}}\n")


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("    ready: {units: [a.service], services: [W3SVC]}\n", "roles.web.ready.units"),
        (
            "    answers: {unattend: {computerName: much-too-long-a-name}}\n",
            "roles.web.answers.unattend.computerName",
        ),
        ("    answers: {unattend: {}, userData: x}\n", "roles.web.answers.userData"),
        ("    answers: {userData: '#cloud-confg'}\n", "roles.web.answers.userData"),
        ("    ready: {agent: false}\n", "roles.web.ready.agent"),
        ("    image: Ws 2022\n", "roles.web.image"),
    ],
)
def test_what_needs_no_host_to_be_seen_is_seen(run: Run, more: str, key: str) -> None:
    """As `apply` would say it."""
    write(win_yaml=WINDOWS + more)
    status, out, _ = run("win.yaml")
    assert (status, f": {key}: " in out) == (2, True), out
