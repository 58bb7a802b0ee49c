"""Building a named image, keeping it while nothing that went into it has changed, and saying what went in."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from vmrole_images import disk
from vmrole_images.packages import candidates, file_sha256, require_amd64
from vmrole_images.report import BuildError, BuildReport, Contents
from vmrole_images.tools import run

ImageName = Literal["micro", "debian", "setup-simulator"]
NAMES: tuple[ImageName, ...] = get_args(ImageName)
RECIPE_VERSION = 1
_HERE = Path(__file__).parent
_TOOLS = (("mke2fs", "-V"), ("qemu-img", "--version"), ("grub-mkimage", "--version"))


def _package(name: ImageName) -> str:
    """The recipe's package in this one."""
    return name.replace("-", "_")


def _quiet(_line: str) -> None:
    """Where nobody wants to hear of progress."""


def build(
    name: ImageName, output: Path, *, work: Path | None = None, progress: Callable[[str], None] = _quiet
) -> BuildReport:
    """Build the image into a standalone qcow2 at `output`, and `<output>.lock.json` beside it, replacing both.

    `work` is a directory for intermediate files (default: beside the output); it may hold several times the image.
    Raises BuildError; then `output` is as it was.
    """
    if name not in NAMES:
        raise BuildError(f"there is no recipe {name!r}", hint=f"one of: {', '.join(NAMES)}")
    if not (_HERE / _package(name)).is_dir():
        told = f"the recipe of {name} is not installed: it is for vmrole's own tests"
        raise BuildError(
            told, hint="build it in a checkout of the repository: python -m vmrole_images build setup-simulator"
        )
    started = time.monotonic()
    require_amd64()
    with _writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work or output.parent, prefix=f".build-{name}-") as place:
            inside = Path(place).resolve()
            fresh = inside / "image.qcow2"
            recipe: Callable[[Path, Path, Callable[[str], None]], Contents]
            recipe = importlib.import_module(f"vmrole_images.{_package(name)}").build
            contents = recipe(fresh, inside, progress)
            lock = _lock(name, contents, fresh)
            (inside / "lock.json").write_text(json.dumps(lock, indent=1) + "\n")
            fresh.chmod(0o644)
            _move(inside / "lock.json", lock_path(output))
            _move(fresh, output)
    progress(f"{output}: {output.stat().st_size / disk.MIB:.1f} MiB")
    return _report(output, lock, time.monotonic() - started)


def ensure(name: ImageName, directory: Path, *, progress: Callable[[str], None] = _quiet) -> BuildReport:
    """`directory/<name>.qcow2`, built only if it is absent, damaged, or anything that goes into it has changed.

    That is: the recipe's files, the host's tools, or (micro) the version apt would take of any package in the image;
    debian holds Debian 12's packages whatever the host has, and is renewed by `build`. Several processes may ask at
    once; one builds, the others wait.
    """
    output = directory / f"{name}.qcow2"
    with _writing(output), _locked(directory / f".{name}.building"):
        reason = stale(name, output)
        if reason is None:
            progress(f"{output}: still what its recipe makes")
            return _report(output, _read_lock(output), 0.0)
        progress(f"building {name}: {reason}")
        return build(name, output, progress=progress)


def lock_path(output: Path) -> Path:
    """Where the lock file of an image lies: beside it."""
    return output.with_name(output.name + ".lock.json")


def stale(name: ImageName, output: Path) -> str | None:
    """Why the image must be built (again), in words; None when it is what a build would make."""
    if not output.exists():
        return "there is none yet"
    lock = _read_lock(output)
    if not lock:
        return "its lock file is missing or damaged"
    if lock["fingerprint"] != fingerprint(name):
        return "its recipe or a tool of this host has changed"
    if lock["image"]["sha256"] != file_sha256(output):
        return "the file is not what was built"
    now = candidates(package["name"] for package in lock["packages"]) if lock["follows_host"] else {}
    for package in lock["packages"]:
        newest = now.get(package["name"], package["version"])  # Unknown offline: keep what we have.
        if newest != package["version"]:
            return f"{package['name']} {package['version']} is now {newest}"
    return None


def fingerprint(name: ImageName) -> dict[str, str]:
    """What besides packages decides the bytes: the recipe's own files, and the host's tools by version."""
    digest = hashlib.sha256()
    sources = [*_HERE.glob("*.py"), *_HERE.glob("*.sh"), *(_HERE / _package(name)).rglob("*")]
    for file in sorted(file for file in sources if file.is_file() and "__pycache__" not in file.parts):
        if file.suffix != ".md":
            digest.update(f"{file.relative_to(_HERE)}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    tools = {tool: _first_line(tool, option) for tool, option in _TOOLS}
    return {"recipe": digest.hexdigest(), "epoch": str(disk.epoch_s()), **tools}


def _first_line(tool: str, option: str) -> str:
    return run([tool, option], merge=True).partition("\n")[0].strip()


def _lock(name: ImageName, contents: Contents, image: Path) -> dict[str, Any]:
    information = json.loads(run(["qemu-img", "info", "--output=json", image]))
    return {
        "name": name,
        "os": contents.os,
        "recipe_version": RECIPE_VERSION,
        "fingerprint": fingerprint(name),
        "kernel": contents.kernel,
        "follows_host": contents.follows_host,
        "image": {
            "sha256": file_sha256(image),
            "size_bytes": image.stat().st_size,
            "virtual_size_bytes": information["virtual-size"],
        },
        "packages": [{"name": n, "version": v, "deb_sha256": s} for n, v, s in contents.packages],
    }


def _read_lock(output: Path) -> dict[str, Any]:
    """The lock file's content; empty where it cannot be read as one."""
    try:
        found = json.loads(lock_path(output).read_text())
    except (OSError, ValueError):
        return {}
    whole = isinstance(found, dict) and {"fingerprint", "follows_host", "image", "packages", "os"} <= found.keys()
    return found if whole else {}


def _report(output: Path, lock: dict[str, Any], seconds: float) -> BuildReport:
    packages = tuple((package["name"], package["version"]) for package in lock["packages"])
    image = lock["image"]
    return BuildReport(
        output, image["sha256"], image["size_bytes"], image["virtual_size_bytes"], lock["os"], packages, seconds
    )


def _move(source: Path, target: Path) -> None:
    """Put a finished file in place in one step, whatever file system the work directory is on."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        source.replace(beside)
    except OSError:
        beside.write_bytes(source.read_bytes())
        source.unlink()
    beside.replace(target)


@contextlib.contextmanager
def _writing(output: Path) -> Iterator[None]:
    """Translate what the file system says, a full disk above all, into a BuildError."""
    try:
        yield
    except OSError as error:
        raise BuildError(f"cannot write {error.filename or output}: {error.strerror}") from error


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the lock of one image's build; it is freed when the process ends, however it ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
