"""Local storage in a Windows: who says that a disk may be formatted, and that nobody formats another."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell
from vmrole_unattend import local_storage
from vmrole_unattend.nocloud import guest_script
from vmrole_unattend.windows import files, guest_command
from vmrole_unattend.windows.answers import Answers

from orchestrator.drivers.disks.answer_media import AnswerDiscs
from orchestrator.drivers.disks.blank import is_blank
from orchestrator.drivers.disks.overlays import QemuImgDisks
from orchestrator.drivers.guest import windows_guest
from orchestrator.drivers.tools.layout import Layout
from orchestrator.model import AnswerFormat, Instance, LocalStorage, Ready, Services
from tests.unit.drivers.disks.windows_instances import MACHINE, OWN, instance
from tests.world.config_drives import parts_of
from tests.world.linux_answers import ANSWERS
from tests.world.windows_agent import SETUP_DIR, STARTING, WindowsAgent, guest, status, with_ready
from tests.world.windows_service_files import GOOD, WINDOWS, parse, problems

STORAGE = (LocalStorage(name="cache", size_mib=64), LocalStorage(name="logs", size_mib=64))
ONLY_OWN = Answers(own_xml=OWN)


def parsed(script: str) -> tree_sitter.Node:
    """The script's syntax tree, which holds no error."""
    root = (
        tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language())).parse(script.encode()).root_node
    )
    assert not root.has_error
    return root


def nodes(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    """The node and all below it."""
    return [node, *(below for child in node.children for below in nodes(child))]


def text_of(node: tree_sitter.Node) -> str:
    assert node.text is not None
    return node.text.decode()


def conditions_above(node: tree_sitter.Node) -> list[str]:
    """The conditions of the `if`s in whose first branch the node stands, the innermost first."""
    found = []
    while node.parent is not None:
        branch, node = node, node.parent
        if node.type == "if_statement" and branch == next(
            one for one in node.children if one.type == "statement_block"
        ):
            condition = node.child_by_field_name("condition")
            assert condition is not None
            found.append(text_of(condition))
    return found


def test_the_script_formats_only_what_both_sides_call_empty() -> None:
    """Each line that would destroy data stands where Windows knows no partition and the host has seen no byte."""
    script = guest_script("storage.ps1")
    root = parsed(local_storage.script(("cache",), ("cache",)))
    destroying = [one for one in nodes(root) if one.type == "string_literal" and is_destroying(text_of(one))]
    assert len(destroying) == 2
    for line in destroying:
        (condition, *_) = conditions_above(line)
        assert "$found[0].Partitions -eq 0" in condition
        assert "$blank -ccontains $name" in condition
        assert "-or" not in condition
    words = {word.strip("\"'") for word in script.lower().split()}
    assert not words & {"clean", "clear-disk", "initialize-disk", "format-volume", "delete", "recover"}


def is_destroying(literal: str) -> bool:
    """Whether diskpart would write to a disk that it is told so of."""
    return literal.strip("\"'").startswith(("create", "format", "convert", "clean"))


def test_the_script_is_old_and_plain_enough() -> None:
    """It runs with PowerShell 2, and is ASCII, whatever the code page of the guest."""
    script = local_storage.script(("cache",), ())
    assert script.isascii()
    for newer in ("Get-CimInstance", "Get-Disk", "Get-Volume", "::new(", " -in ", "&&", "ConvertTo-Json"):
        assert newer.lower() not in script.lower()
    assert script.startswith("$storages = @('cache')\n$blank = @()\n")


def test_the_disc_of_a_sealed_windows_places_storage_in_specialize() -> None:
    """The script lies beside the one that Setup runs, which calls it before it notes that setup has run."""
    made = files.files(ONLY_OWN, MACHINE, lambda _: pytest.fail("no secret is named"))
    script = made["vmrole/local-storage.ps1"].decode()
    assert script.startswith("$storages = @('cache', 'logs')\r\n$blank = @('logs')\r\n")
    assert script.count("\n") == script.count("\r\n")
    lines = made["vmrole/specialize.cmd"].decode().split("\r\n")
    (call,) = (number for number, line in enumerate(lines) if "%~dp0local-storage.ps1" in line)
    assert "storage-problem" in lines[call + 1]
    assert call < next(number for number, line in enumerate(lines) if "boot.ps1" in line)
    without = files.files(
        ONLY_OWN, dataclasses.replace(MACHINE, local_storage=()), lambda _: pytest.fail("no secret")
    )
    assert "vmrole/local-storage.ps1" not in without
    assert b"local-storage" not in without["vmrole/specialize.cmd"]


def test_the_disc_is_found_behind_any_number_of_disks() -> None:
    """Windows gives letters to disks before it gives one to a CD: all are tried, in a line that Setup takes."""
    line = guest_command.from_disc(guest_command.SPECIALIZE)
    assert all(f" {letter}" in line for letter in "FGHIJKLMNOPQRSTUVWXY")
    assert len(line) <= 259


def test_a_config_drive_places_storage_before_the_users_own_script() -> None:
    """cloudbase-init runs parts in their order; without local storage there is none of ours."""
    answers = dataclasses.replace(
        ANSWERS, user_data="#ps1\nGet-Date\n", local_storage=("cache",), blank_storage=("cache",)
    )
    setup, storage, theirs = parts_of(answers)
    assert (setup[1], storage[1], theirs[1]) == ("vmrole-setup.ps1", "vmrole-local-storage.ps1", "user-part-1")
    assert storage[2].startswith("#ps1_sysnative\n$storages = @('cache')\n$blank = @('cache')\n")
    parsed(storage[2])
    assert [name for _, name, _ in parts_of(dataclasses.replace(answers, local_storage=()))] == [setup[1], theirs[1]]


@pytest.mark.parametrize("at", [0, 1024, 32 * 1024 * 1024, 64 * 1024 * 1024 - 1])
def test_one_byte_anywhere_and_a_disk_is_not_blank(tmp_path: Path, at: int) -> None:
    """A partition table, a Linux file system without one, something at the end: nobody has to know what it is."""
    disk = tmp_path / "cache.raw"
    assert not is_blank(disk)
    with disk.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    assert is_blank(disk)
    with disk.open("r+b") as file:
        file.seek(at)
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
    assert not is_blank(disk)


@pytest.mark.parametrize("answers", [AnswerFormat.UNATTEND, AnswerFormat.CONFIG_DRIVE])
def test_a_reimage_formats_nothing_that_was_used(tmp_path: Path, answers: AnswerFormat) -> None:
    """The first disc lets both disks be formatted; the next generation's only the one that nobody has written to."""
    layout = Layout(tmp_path / "state", tmp_path / "run")
    plain = instance(ONLY_OWN)
    role = dataclasses.replace(plain.role, local_storage=STORAGE, answers=answers)
    first = dataclasses.replace(plain, role=role)
    discs = AnswerDiscs(layout, lambda _: lambda _: pytest.fail("no secret is named"))
    layout.state.mkdir()
    QemuImgDisks(layout).lay_local_storage(first)
    assert b"$blank = @('cache', 'logs')" in disc(layout, discs, first)
    with layout.local_storage(first.name, "cache").open("r+b") as file:
        file.write(b"NTFS")
    discs.erase(first.name)
    second = dataclasses.replace(first, generation=2)
    QemuImgDisks(layout).lay_local_storage(second)
    content = disc(layout, discs, second)
    assert b"$storages = @('cache', 'logs')" in content
    assert b"$blank = @('logs')" in content


def disc(layout: Layout, discs: AnswerDiscs, of: Instance) -> bytes:
    """What the instance's answer disc holds."""
    discs.write(of)
    return layout.disc(of).read_bytes()


@pytest.mark.parametrize(
    ("storage", "what"),
    [
        ("con: {size: 64 MiB}", "a device of Windows"),
        ("lpt1: {size: 64 MiB}", "a device of Windows"),
        ("cache: {size: 8 MiB}", "8 MiB cannot be formatted"),
        ("cache: {size: 2 TiB}", "cannot be formatted"),
    ],
)
def test_what_windows_cannot_have_is_refused_at_apply(storage: str, what: str) -> None:
    """With the key, and what would be right; a Linux may call its storage so."""
    text = GOOD.replace("    ready:", f"    localStorage: {{{storage}}}\n    ready:")
    (problem,) = problems(text)
    assert problem.key.startswith("roles.web.localStorage.")
    assert what in problem.message
    assert problem.hint
    good = GOOD.replace("    ready:", "    localStorage: {cache: {size: 64 MiB}}\n    ready:")
    assert parse(good, WINDOWS).local_storage == (STORAGE[0],)


PROBLEM = "local storage cache: holds data and no partition that Windows knows"


@pytest.mark.parametrize("by_files", [False, True])
def test_storage_that_has_no_place_fails_the_setup_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, by_files: bool
) -> None:
    """It is told at once and mended by nobody's restart; a role may say that it does not matter."""
    monkeypatch.setattr(windows_guest, "LEFT_ALONE_MAX_S", 0.0)
    agent = WindowsAgent(status(storage_problem=PROBLEM))
    if by_files:
        agent = WindowsAgent()
        agent.has_powershell = False
        agent.files = {
            "C:\\Windows\\Setup\\State\\State.ini": b"[State]\r\nImageState=IMAGE_STATE_COMPLETE\r\n",
            f"{SETUP_DIR}setup-boot": b"20261122023000.123456+000\r\n",
            f"{SETUP_DIR}instance": b"web-0.shop\r\n",
            f"{SETUP_DIR}generation": b"1\r\n",
            f"{SETUP_DIR}storage-problem": f"{PROBLEM}\r\n".encode(),
        }
    asked = guest(agent)
    asked.identity(STARTING)
    services = asked.services(STARTING)
    assert isinstance(services, Services)
    assert PROBLEM in services.verdict
    assert "ignore: [local-storage]" in services.verdict
    ignoring = with_ready(Ready(ignore=("local-storage",)))
    services = asked.services(ignoring)
    assert isinstance(services, Services)
    assert not services.verdict
