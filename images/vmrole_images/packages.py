"""Debian packages: which version apt would take, the .deb files in a cache, what is inside. Installs nothing."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vmrole_images import elf
from vmrole_images.report import BuildError, Deb
from vmrole_images.tools import run

UPDATE_HINT = "apt-get update, and see that /etc/apt/sources.list names a Debian or Ubuntu archive"
_LIBRARIES = ("lib", "zlib")  # How the names of packages begin that hold shared libraries.
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) ?(?P<hash>\S*)$", re.MULTILINE)


def cache_dir() -> Path:
    """Where .deb files are kept between builds: $VMROLE_CACHE, else /var/cache/vmrole for root, else XDG's cache."""
    if chosen := os.environ.get("VMROLE_CACHE"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/cache/vmrole")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmrole"


def require_amd64() -> None:
    """Both recipes boot through PC BIOS with amd64 packages; refuse other hosts in words."""
    architecture = run(["dpkg", "--print-architecture"]).strip()
    if architecture != "amd64":
        raise BuildError(f"images are built on amd64, this host is {architecture}", hint="build on an amd64 host")


def candidates(names: Iterable[str]) -> dict[str, str]:
    """The version that apt would install, by package name; packages that apt does not know are left out."""
    asked = sorted(set(names))
    found: dict[str, str] = {}
    name = ""
    for line in run(["apt-cache", "policy", "--", *asked]).splitlines() if asked else ():
        if not line.startswith(" "):
            name = line.rstrip(":")
        elif line.startswith("  Candidate: ") and not line.endswith("(none)"):
            found[name] = line.removeprefix("  Candidate: ").strip()
    return found


def first_available(names: Sequence[str]) -> str:
    """The first of these packages that apt can install: distributions name the same thing differently."""
    known = candidates(names)
    for name in names:
        if name in known:
            return name
    raise BuildError(f"apt knows none of: {', '.join(names)}", hint=UPDATE_HINT)


def fetch(names: Iterable[str], cache: Path) -> dict[str, Deb]:
    """The .deb of each package at apt's candidate version, downloaded where the cache lacks it, by name."""
    asked = sorted(set(names))
    if not asked:
        return {}
    cache.mkdir(parents=True, exist_ok=True)
    try:
        listing = run(["apt-get", "download", "--print-uris", *asked])
    except BuildError as error:
        raise BuildError(f"apt cannot find {', '.join(asked)}: {error}", hint=UPDATE_HINT) from error
    index = {cache / match["file"]: (int(match["size"]), match["hash"]) for match in _URI.finditer(listing)}
    absent = [file for file, (size_bytes, digest) in index.items() if not _matches(file, size_bytes, digest)]
    if absent:
        _download([file.name.split("_")[0] for file in absent], cache)
    found: dict[str, Deb] = {}
    for file, (size_bytes, digest) in index.items():
        if not _matches(file, size_bytes, digest):
            raise BuildError(f"{file.name} is not what apt's index says", hint=UPDATE_HINT)
        name, version, _architecture = urllib.parse.unquote(file.stem).split("_")
        found[name] = Deb(name, version, file_sha256(file), file)
    if missing := [name for name in asked if name not in found]:
        raise BuildError(f"apt gave no address for {', '.join(missing)}", hint=UPDATE_HINT)
    return found


def _download(names: Sequence[str], cache: Path) -> None:
    """Let apt download and verify into a directory of its own, then move into the cache, each in one step."""
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as place:
        try:
            run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *names], cwd=Path(place))
        except BuildError as error:
            raise BuildError(
                str(error), hint="is the archive reachable? The index may be old: apt-get update"
            ) from error
        for deb in Path(place).glob("*.deb"):
            deb.replace(cache / deb.name)


def _matches(file: Path, size_bytes: int, hash_of_index: str) -> bool:
    """Whether the file is the one that apt's index describes; the index may use MD5Sum, SHA256 or SHA512."""
    if not file.exists() or file.stat().st_size != size_bytes:
        return False
    kind, _, digest = hash_of_index.partition(":")
    algorithm = {"SHA256": "sha256", "SHA512": "sha512"}.get(kind)
    if algorithm is None:
        return True  # apt itself has checked the download against its signed index.
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest() == digest


def file_sha256(file: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unpack(deb: Deb, tree: Path) -> None:
    """Unpack a package's files below `tree`; runs none of its scripts."""
    tree.mkdir(parents=True, exist_ok=True)
    run(["dpkg-deb", "-x", deb.path, tree])


def dependencies(deb: Deb) -> tuple[str, ...]:
    """Names of what the package depends on, first alternative only, without versions."""
    fields = run(["dpkg-deb", "-f", deb.path, "Depends", "Pre-Depends"])
    names: list[str] = []
    for line in fields.splitlines():
        text = line.partition(":")[2] if line[:1].isalpha() else line
        names += [match[0] for clause in text.split(",") if (match := _NAME.search(clause.split("|")[0]))]
    return tuple(dict.fromkeys(names))


def fetch_with(name: str, follow: Callable[[str], bool], cache: Path) -> dict[str, Deb]:
    """A package and everything it depends on whose name `follow` accepts, by name."""
    found = fetch([name], cache)
    while True:
        wanted = {n for deb in found.values() for n in dependencies(deb) if n not in found and follow(n)}
        if not wanted:
            return found
        found |= fetch(wanted, cache)


def libraries_of(programs: Sequence[tuple[Deb, Path]], work: Path, cache: Path) -> dict[str, tuple[Deb, Path]]:
    """The shared libraries that programs need, followed through DT_NEEDED, as soname → (package, file).

    Packages are looked into one ring of dependencies at a time, so that little is downloaded in vain.
    """
    owners = {deb.name: deb for deb, _program in programs}
    ring = set(owners)
    library: dict[str, tuple[Deb, Path]] = {}
    while True:
        needs = _needs([program for _deb, program in programs], library)
        missing = needs - library.keys()
        if not missing:
            return {soname: library[soname] for soname in sorted(needs)}
        wanted = {
            n for name in ring for n in dependencies(owners[name]) if n.startswith(_LIBRARIES) and n not in owners
        }
        if not wanted:
            raise BuildError(f"no dependency holds {', '.join(sorted(missing))}", hint=UPDATE_HINT)
        fetched = fetch(candidates(wanted), cache)
        owners |= fetched
        ring = wanted & fetched.keys()
        for name in sorted(ring):
            tree = work / "libraries" / name
            unpack(fetched[name], tree)
            for file in sorted(tree.rglob("*.so*")):
                library.setdefault(file.name, (fetched[name], file))


def _needs(programs: Iterable[Path], library: dict[str, tuple[Deb, Path]]) -> set[str]:
    queue, seen = list(programs), set[str]()
    while queue:
        for soname in elf.needed(_inside(queue.pop())):
            if soname not in seen:
                seen.add(soname)
                if soname in library:
                    queue.append(library[soname][1])
    return seen


def _inside(file: Path) -> Path:
    """The file behind a package's own symbolic links, which are relative inside the unpacked package."""
    return file.resolve()


def copy_file(source: Path, target: Path, mode: int) -> None:
    """Copy the bytes behind `source` to `target` with the given mode, making the directories above."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_inside(source), target)
    target.chmod(mode)


def program(tree: Path, name: str) -> Path:
    """A package's program: distributions moved them between /bin, /sbin and /usr over the years."""
    for place in ("usr/bin", "usr/sbin", "bin", "sbin"):
        if (tree / place / name).exists():
            return tree / place / name
    raise BuildError(f"{tree.name} holds no {name}", hint="which distribution is this?")
