"""The wheel, alone: what is in it, and that it runs with what it says it needs and nothing else."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from orchestrator import __version__
from tests.world.daemons import UP_S, configured
from tests.world.places import REPOSITORY
from tests.world.waiting import SELDOM_S, comes_true

ANSWERS = REPOSITORY / "tests" / "golden" / "answers" / "generalized.xml"
AZURE = REPOSITORY / "tests" / "golden" / "azure"
LOCKS = {name: REPOSITORY / f"requirements{name}.lock" for name in ("", "-build", "-dev")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What would be published, built by what the lock has."""
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True, timeout=300)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel and the distributions that it asks for, taken from ours."""
    place = tmp_path_factory.mktemp("alone") / "venv"
    venv.create(place, with_pip=True)
    (packages,) = place.glob("lib/python3*/site-packages")
    for distribution in _closure(_wants(wheel)):
        for file in distribution.files or ():
            source, target = Path(str(distribution.locate_file(file))), packages / file
            if ".." not in file.parts and "__pycache__" not in file.parts and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
    pip = [place / "bin" / "python", "-m", "pip", "install", "--no-index", "--no-deps", "--quiet", wheel]
    subprocess.run(pip, check=True, capture_output=True, timeout=300)
    check = subprocess.run(
        [place / "bin" / "python", "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout
    return place / "bin"


def _wants(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as content:
        (metadata,) = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
        lines = content.read(metadata).decode().split("\n\n")[0].splitlines()
    return [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]


def _closure(wanted: Iterable[str]) -> Iterator[importlib.metadata.Distribution]:
    """Every distribution that these requirements lead to."""
    left, seen = list(wanted), set[str]()
    while left:
        requirement = Requirement(left.pop())
        name = canonicalize_name(requirement.name)
        if name not in seen and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            seen.add(name)
            found = importlib.metadata.distribution(name)
            left += found.requires or []
            yield found


def vmrole(installed: Path, place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command of that environment, run where the repository is not."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "VMROLE_SOCKET": str(place / "nobody")}
    argv = [installed / "vmrole", *words]
    return subprocess.run(argv, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_what_is_in_the_wheel(wheel: Path) -> None:
    """The product with its data, and neither tests nor what plays Windows in them."""
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert {name.split("/")[0] for name in names} == {
        "orchestrator",
        "vmrole_unattend",
        "vmrole_images",
        f"vmrole-{__version__}.dist-info",
    }
    assert [name for name in names if "setup_simulator" in name or "tests" in name] == []
    listed = ["git", "ls-files", "orchestrator", "unattend", "images"]  # folders of packages, the first is one
    kept = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    files = {re.sub("^(unattend|images)/", "", name) for name in kept.splitlines()} - {"README.md"}
    mine = {name for name in files if not name.startswith("vmrole_images/setup_simulator/")}
    assert mine <= set(names)


@pytest.mark.slow
def test_the_wheel_runs_alone(installed: Path, tmp_path: Path) -> None:
    """Its verbs that need no daemon do what they do here, with nothing that only the tests have."""
    assert vmrole(installed, tmp_path, "--help").stdout.startswith("Usage: vmrole")
    assert vmrole(installed, tmp_path, "--version").stdout == f"vmrole {__version__}\n"
    daemon = subprocess.run(
        [installed / "vmroled", "--help"], capture_output=True, text=True, check=True, timeout=120
    )
    assert daemon.stdout.startswith("Usage: vmrole daemon")
    for module in ("pytest", "hypothesis", "hatchling"):
        argv = [installed / "python", "-c", f"import {module}"]
        assert subprocess.run(argv, capture_output=True, check=False, cwd=tmp_path).returncode == 1

    checked = vmrole(installed, tmp_path, "answers", "check", str(ANSWERS))
    assert (checked.returncode, checked.stderr) == (0, "nothing is wrong\n"), checked.stdout
    (tmp_path / "user-data").write_text("#cloud-config\nhostname: web\nruncmd: hello\n")
    checked = vmrole(installed, tmp_path, "answers", "check", "user-data")
    assert checked.stdout.startswith("user-data:3: warning: runcmd: must be a list")
    assert "not installed" not in checked.stdout

    imported = vmrole(
        installed,
        tmp_path,
        "import",
        str(AZURE / "orders.csdef"),
        str(AZURE / "orders.cscfg"),
        "--vip",
        "203.0.113.10",
    )
    assert imported.returncode == 0, imported.stderr
    assert "service:" in imported.stdout


@pytest.mark.slow
def test_what_was_left_out_says_so(installed: Path, tmp_path: Path) -> None:
    """The simulator of Windows' Setup is the repository's."""
    refused = vmrole(installed, tmp_path, "image", "build", "setup-simulator", "--to", str(tmp_path / "x.qcow2"))
    assert refused.returncode == 1
    assert "the recipe of setup-simulator is not installed" in refused.stderr
    assert "checkout of the repository" in refused.stderr


@pytest.mark.slow
def test_the_daemon_of_the_wheel_starts(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It answers on its socket, and ends when it is asked to."""
    place = Path(f"/tmp/vmrole-wheel-{os.getpid()}")
    place.mkdir()
    try:
        file = configured(place)
        with subprocess.Popen([installed / "vmrole", "daemon", "--config", file], cwd=place) as daemon:
            try:
                asks = ("--socket", str(place / "run" / "vmrole.sock"), "get", "services")
                up = comes_true(
                    lambda: daemon.poll() is not None or not vmrole(installed, place, *asks).returncode,
                    UP_S,
                    SELDOM_S,
                )
                assert (daemon.poll(), up) == (None, True)
            finally:
                daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(UP_S) == 0
    finally:
        shutil.rmtree(place)


def test_a_host_gets_no_test_tools_and_nothing_without_a_hash() -> None:
    """The lock of a host has exactly what the product asks for, that of the tests has it in the same versions, and
    each line of each has its hashes.
    """
    locked = {}
    for name, file in LOCKS.items():
        text = file.read_text()
        locked[name] = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
        entries = [entry for entry in re.split(r"\n(?=\S)", text) if entry.strip()]
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    tools = {"pytest", "hypothesis", "mypy", "ruff", "cloudbase-init", "import-linter", "hatchling", "setuptools"}
    assert not tools & set(locked[""])
    assert {"hatchling", "editables", "setuptools"} <= set(locked["-build"])
    assert {"pytest", *locked[""], *locked["-build"]} <= set(locked["-dev"])
    for name in ("", "-build"):
        assert {key: locked["-dev"][key] for key in locked[name]} == locked[name]
    ours = importlib.metadata.requires("vmrole") or []
    wanted = {canonicalize_name(found.metadata["Name"]) for found in _closure(ours)}
    assert wanted <= set(locked[""])


def test_nothing_is_installed_past_the_locks() -> None:
    """Each pip of the host's script, and of the Debian package's, takes hashes or nothing from outside, and none
    builds with what it finds.
    """
    scripts = [(REPOSITORY / "vagrant" / name).read_text() for name in ("provision.sh", "deb/build.sh")]
    installs = [re.findall(r"\bpip(?:\[@\]\}\" | .*\\\n +)(?:install|wheel) (.*)", script) for script in scripts]
    assert [len(lines) for lines in installs] == [3, 4]
    for line in [line for lines in installs for line in lines if not line.endswith('"$wheels"/*.whl')]:
        assert "--require-hashes" in line or "--no-index" in line, line
        assert "--only-binary :all:" in line or "--no-build-isolation" in line, line
