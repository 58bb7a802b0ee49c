"""Running the host's tools: one place that knows which apt package holds which tool. Knows nothing of images."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from vmrole_images.report import BuildError

COMMAND_S = 900.0  # The longest is mmdebstrap with a slow mirror; a hung tool must still end.

APT_PACKAGE_OF = {
    "apt-cache": "apt",
    "apt-config": "apt",
    "apt-get": "apt",
    "debugfs": "e2fsprogs",
    "dpkg": "dpkg",
    "dpkg-deb": "dpkg",
    "grub-mkimage": "grub-common",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "qemu-img": "qemu-utils",
    "systemctl": "systemd",
    "unshare": "util-linux",
    "xz": "xz-utils",
    "zstd": "zstd",
}


def locate(tool: str) -> str:
    """The tool's path; also looks in the sbin directories, which are not on every user's PATH."""
    if "/" in tool:
        return tool
    found = shutil.which(tool) or shutil.which(tool, path="/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        package = APT_PACKAGE_OF.get(tool, tool)
        raise BuildError(f"{tool} is not installed", hint=f"apt-get install {package}")
    return found


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    within_s: float = COMMAND_S,
    merge: bool = False,
) -> str:
    """Run a tool in the C locale and return what it wrote to stdout (`merge`: and to stderr).

    A failure becomes a BuildError that quotes what the tool said last.
    """
    command = [locate(str(argv[0])), *map(str, argv[1:])]
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"{argv[0]} did not end within {within_s:.0f} s", hint="is a mirror or a disk stuck?"
        ) from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-600:]
        raise BuildError(f"{argv[0]} failed with status {done.returncode}: {said}")
    return done.stderr + done.stdout if merge else done.stdout
