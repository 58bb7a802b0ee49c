"""The walls of the house: the plan is the contract, and each wall is seen to hold."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import orchestrator

REPOSITORY = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

# Who imports, what it may not, and the contract that says so. One at least for each contract.
BREAKS = (
    ("orchestrator.steps.phases", "orchestrator.control.loop", "floors"),
    ("orchestrator.api.app", "orchestrator.cli.render", "floors"),
    ("orchestrator.control.walking", "orchestrator.api.app", "floors"),
    ("orchestrator.rules.patience", "orchestrator.control.verify", "floors"),
    ("orchestrator.model.intake", "orchestrator.ports", "floors"),
    ("orchestrator.servicefile.difference", "orchestrator.cli.render", "floors"),
    ("orchestrator.errors", "orchestrator.model", "floors"),
    ("orchestrator.log", "orchestrator.errors", "floors"),
    ("orchestrator.drivers.disks.overlays", "orchestrator.control.deployment", "drivers"),
    ("orchestrator.drivers.clock", "orchestrator.control.verify", "drivers"),
    ("orchestrator.drivers.network.vip", "orchestrator.drivers.balancer.haproxy", "families"),
    ("orchestrator.drivers.store.sqlite", "orchestrator.drivers.hypervisor.domain_xml", "families"),
    ("orchestrator.drivers.tools.layout", "orchestrator.drivers.network.vip", "tools"),
    ("orchestrator.steps.phases", "orchestrator.drivers.balancer.haproxy", "composition"),
    ("orchestrator.control.loop", "orchestrator.drivers.store.sqlite", "composition"),
    ("orchestrator.control.requests", "orchestrator.drivers.images.qemu_img", "composition"),
    ("orchestrator.api.app", "orchestrator.drivers.tools.layout", "composition"),
    ("orchestrator.cli.render", "orchestrator.drivers.store.sqlite", "composition"),
    ("orchestrator.client.transport", "orchestrator.control.requests", "client"),
    ("orchestrator.testing.deployed", "orchestrator.cli.render", "testing"),
    ("orchestrator.host.config", "orchestrator.testing.deployed", "no-pytest"),
    ("orchestrator.control.explain", "pytest", "no-pytest"),
    ("orchestrator.imagefiles.magics", "orchestrator.ports", "readers"),
    ("orchestrator.host.config", "orchestrator.model", "host"),
    ("orchestrator.rules.patience", "pydantic", "pure"),
    ("vmrole_unattend.iso", "libvirt", "rooms-of-libraries"),
    ("orchestrator.control.explain", "fastapi", "web"),
    ("orchestrator.drivers.clock", "rich", "terminal"),
    ("vmrole_unattend.errors", "orchestrator.errors", "apart"),
)


def test_the_plan_is_the_contract() -> None:
    """The docstring of the package shows every room, floors in the order of the contract."""
    shown = re.findall(r"^    ([a-z]+) {2,}\S", orchestrator.__doc__ or "", re.MULTILINE)
    [floors] = [contract for contract in CONTRACTS if contract["id"] == "floors"]
    assert shown == [*floors["layers"], *floors["exhaustive_ignores"]]
    package = REPOSITORY / "orchestrator"
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(shown) == rooms - {"__init__"}


def test_every_contract_is_broken_here() -> None:
    """A contract that nothing in this file breaks may as well say nothing."""
    assert {contract for _, _, contract in BREAKS} == {contract["id"] for contract in CONTRACTS}


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a copy of the house in which every wall is broken at once."""
    house = tmp_path_factory.mktemp("house")
    for part in ("orchestrator", "unattend/vmrole_unattend", "images/vmrole_images"):
        shutil.copytree(REPOSITORY / part, house / Path(part).name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", house)
    for importer, imported, _ in BREAKS:
        file = house / Path(*importer.split("."))
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        with file.open("a") as text:
            text.write(f"\nimport {imported}\n")
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [str(linter), "--no-cache"],
        cwd=house,
        env={"PYTHONPATH": str(house), "PATH": "/usr/bin:/bin", "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.parametrize(("importer", "imported", "contract"), BREAKS)
def test_a_wall_that_is_broken_is_seen(verdict: str, importer: str, imported: str, contract: str) -> None:
    """The contract is reported broken, and so is the very import."""
    [name] = [one["name"] for one in CONTRACTS if one["id"] == contract]
    assert f"{name} BROKEN" in verdict
    assert f"{importer} -> {imported} " in verdict
