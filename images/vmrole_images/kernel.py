"""A kernel package's modules: which files a set of drivers needs, in load order, uncompressed. Builds no image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from vmrole_images import elf
from vmrole_images.report import BuildError
from vmrole_images.tools import run

_DECOMPRESS = {".xz": ("xz", "-dk"), ".zst": ("zstd", "-dkq")}


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel: its release, its bzImage and its module files by name (with `_`, never `-`)."""

    release: str
    image: Path
    files: dict[str, Path]
    built_in: frozenset[str]


def find(trees: Sequence[Path]) -> Kernel:
    """The kernel in these unpacked packages (Debian has one, Ubuntu splits image and modules)."""
    images = sorted(file for tree in trees for file in tree.glob("boot/vmlinuz-*"))
    if not images:
        raise BuildError("the kernel package holds no /boot/vmlinuz", hint="which kernel package did apt choose?")
    release = images[0].name.removeprefix("vmlinuz-")
    roots = [root for tree in trees for root in (tree / "lib/modules" / release, tree / "usr/lib/modules" / release)]
    files = {_name(file): file for root in roots for file in sorted(root.rglob("*.ko*"))}
    lists = [root / "modules.builtin" for root in roots if (root / "modules.builtin").exists()]
    built_in = frozenset(_name(Path(line)) for file in lists for line in file.read_text().split())
    return Kernel(release, images[0], files, built_in)


def load_order(kernel: Kernel, names: Iterable[str], *, optional: bool = False) -> tuple[str, ...]:
    """These modules and what they depend on, each after what it needs; those built into the kernel are left out.

    Dependencies are read from each module's own `.modinfo`: a kernel package holds no modules.dep, depmod makes it.
    An unknown name is a BuildError, or left out where `optional`.
    """
    order: list[str] = []

    def visit(name: str, *, asked: bool) -> None:
        if name in order or name in kernel.built_in:
            return
        if name not in kernel.files:
            if asked and optional:
                return
            raise BuildError(f"kernel {kernel.release} has no module {name}", hint="choose another kernel package")
        depends = elf.module_info(content(kernel, name)).get("depends", "")
        for needed in filter(None, depends.split(",")):
            visit(needed.replace("-", "_"), asked=False)
        order.append(name)

    for name in names:
        visit(name, asked=True)
    return tuple(order)


def content(kernel: Kernel, name: str) -> bytes:
    """A module's bytes, uncompressed, so that busybox's insmod can load it."""
    file = kernel.files[name]
    if file.suffix in _DECOMPRESS:
        plain = file.with_suffix("")
        if not plain.exists():
            run([*_DECOMPRESS[file.suffix], file])
        file = plain
    return file.read_bytes()


def _name(file: Path) -> str:
    return file.name.split(".ko")[0].replace("-", "_")
