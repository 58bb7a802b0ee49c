"""Whether what guests write to their consoles has a bound: it is libvirt's to keep, and two of its files lift it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, fail, ok, warn

NAME: Final = "consoles"
_LIBVIRT: Final = Path("/etc/libvirt")
_FILE_BYTES, _OLD_FILES = 2 << 20, 3  # virtlogd's own defaults
_MUCH_BYTES: Final = 1 << 30  # of each instance
_LINE: Final = re.compile(r"[ \t]*(\w+)[ \t]*=[ \t]*(?:\"([^\"]*)\"|'([^']*)'|(\S+))")


def bounded(settings: Config, libvirt: Path = _LIBVIRT) -> Check:
    """A guest that writes to its console without end fills no disk."""
    del settings
    try:
        by_qemu = _values(libvirt / "qemu.conf").get("stdio_handler", "logd")
        keeper = _values(libvirt / "virtlogd.conf")
        file_bytes = int(keeper.get("max_size", _FILE_BYTES))
        files = int(keeper.get("max_backups", _OLD_FILES)) + 1
    except (OSError, ValueError) as error:
        return warn(NAME, f"how much is kept of them is not known: {error}", f"look into {libvirt}")
    if by_qemu != "logd":
        said = f'stdio_handler is "{by_qemu}": QEMU writes them by itself, and each guest can fill the disk'
        remedy = f'write stdio_handler = "logd" into {libvirt}/qemu.conf, restart libvirt, and restart the instances'
        return fail(NAME, said, remedy)
    if file_bytes <= 0:
        said = "max_size is 0: nothing is rolled over, and each guest can fill the disk"
        return fail(NAME, said, f"write max_size = {_FILE_BYTES} into {libvirt}/virtlogd.conf, and restart virtlogd")
    most_bytes = file_bytes * files
    told = f"at most {max(1, most_bytes >> 20)} MiB of each instance are kept"
    if most_bytes > _MUCH_BYTES:
        return warn(NAME, told, f"write less for max_size or max_backups into {libvirt}/virtlogd.conf")
    return ok(NAME, told)


def _values(file: Path) -> dict[str, str]:
    """What a file of libvirt's says; nothing where there is none, as libvirt takes it."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    found = (_LINE.match(line) for line in lines)
    return {match[1]: next(text for text in match.groups()[1:] if text is not None) for match in found if match}
