"""Every PowerShell that we ship or write on a disc, as a grammar of it reads it: there is none here to run it."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Mapping
from functools import cache

import pytest
import tree_sitter
import tree_sitter_powershell
from vmrole_images.windows import answers as image
from vmrole_unattend.windows import files
from vmrole_unattend.windows.answers import Answers

from orchestrator.drivers.guest import windows_scripts
from tests.unit.drivers.disks.windows_instances import MACHINE, OWN
from tests.world.config_drives import parts_of
from tests.world.linux_answers import ANSWERS
from tests.world.places import REPOSITORY

ODD_NAMES = ['It\'s "$(Stop-Computer)"', "a`b", "@'\n'@", "W32Time", "{"]


def shipped() -> dict[str, str]:
    """Those that lie in the packages."""
    places = (REPOSITORY / name for name in ("orchestrator", "unattend", "images"))
    found = {str(path.relative_to(REPOSITORY)): path.read_text() for place in places for path in place.rglob("*.ps1")}
    assert "unattend/vmrole_unattend/guest/vmrole-guest.ps1" in found
    return found


def rendered() -> dict[str, str]:
    """Those that are made for one guest: of its answer disc, of its config drive, of an image's build, and what its
    agent is given to run.
    """
    found = {}
    for blank in ((), ("logs",)):
        machine = dataclasses.replace(MACHINE, blank_storage=blank)
        disc = files.files(Answers(own_xml=OWN), machine, lambda _: pytest.fail("no secret is named"))
        of_disc = {name: made.decode() for name, made in disc.items() if name.endswith(".ps1")}
        assert len(of_disc) == 3
        found |= {f"{name}, blank {blank}": text for name, text in of_disc.items()}
    answers = dataclasses.replace(ANSWERS, local_storage=("cache",), blank_storage=("cache",))
    drive = {str(name): text for _, name, text in parts_of(answers) if text.startswith("#ps1")}
    assert len(drive) == 2
    found |= {f"config drive: {name}": text for name, text in drive.items()}
    asked = {
        "status": windows_scripts.status(),
        "services": windows_scripts.services(ODD_NAMES),
        "flush": windows_scripts.flush(),
    }
    found |= {f"agent: {name}": base64.b64decode(argv[-1]).decode("utf-16-le") for name, argv in asked.items()}
    return found | {"image build": image.SCRIPT.read_text().replace("\n", "\r\n")}


@cache
def parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))


def faults(text: str) -> list[str]:
    """What the grammar cannot read, as `line: words`."""
    found, left = [], [parser().parse(text.encode()).root_node]
    while left:
        node = left.pop()
        left += node.children
        if node.is_error or node.is_missing:
            shown = (node.text or b"").decode(errors="replace")
            found.append(f"{node.start_point[0] + 1}: {shown[:60]}")
    return found


@pytest.mark.parametrize("scripts", [shipped, rendered])
def test_each_script_is_sound(scripts: object) -> None:
    """The grammar reads all of it."""
    assert callable(scripts)
    made: Mapping[str, str] = scripts()
    assert {name: bad for name, text in made.items() if (bad := faults(text))} == {}


@pytest.mark.parametrize("name", sorted(shipped()))
def test_one_that_is_not_is_found(name: str) -> None:
    """A bracket that is missing anywhere, in each of them."""
    text = shipped()[name]
    opened = [one.start() for one in re.finditer(r"\{$", text, re.MULTILINE)]
    assert opened
    for number in opened[:: max(1, len(opened) // 5)]:
        assert faults(text[:number] + text[number + 1 :]), f"byte {number}"
