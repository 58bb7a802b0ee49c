"""What libvirt and QEMU say of a VM that failed, and its screen: asked before it is ended, and never decided by."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import libvirt

from orchestrator.drivers.hypervisor.qmp_watch import Monitors, Run
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.errors import NotFound, Permanent, Transient
from orchestrator.model import Instance

QEMU_LOGS: Final = Path("/var/log/libvirt/qemu")  # where libvirt has QEMU write to
LOG_BYTES: Final = 64 * 1024
PIXELS_MAX: Final = 4096 * 2160
_PPM: Final = re.compile(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_STATES: Final = ("no state", "running", "blocked", "paused", "shutting down", "off", "crashed", "suspended")


class LastWords:
    """Sources of evidence."""

    def __init__(self, connection: LibvirtConnection, monitors: Monitors, logs: Path = QEMU_LOGS) -> None:
        self._connection = connection
        self._monitors = monitors
        self._logs = logs

    def machine(self, instance: Instance) -> Mapping[str, bytes]:
        """libvirt's state and description of the domain, and the end of QEMU's log. Raises Transient, NotFound."""
        files = {}
        log = self._logs / f"{instance.name}.log"
        try:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - LOG_BYTES))
                files["qemu.log"] = file.read(LOG_BYTES)
        except OSError as error:
            files["qemu.log"] = f"{log}: {error.strerror}\n".encode()
        with self._connection.use(f"ask for the last words of {instance.name}") as connection:
            found = _own(connection, instance)
            state, reason = found.state()
            said = _STATES[state] if 0 <= state < len(_STATES) else str(state)
            owes_s = self._monitors.owes_s(instance.name, Run(found.UUIDString(), found.ID()))
            lines = [
                f"state {said}, reason {reason} (virDomainState, libvirt-domain.h)",
                f"its number is {found.ID()}",
            ]
            lines += [f"resets seen: {self._monitors.resets(instance.name, instance.vm_uuid)}"]
            lines += [f"its QEMU has owed an answer for {owes_s:.0f} s"] if owes_s else []
            files["libvirt.txt"] = "".join(f"{line}\n" for line in lines).encode()
            files["domain.xml"] = found.XMLDesc(0).encode()  # Without what libvirt calls secure.
        return files

    def screen(self, instance: Instance) -> Mapping[str, bytes]:
        """Its screen as PNG. Raises NotFound where it has none, Busy where its QEMU would not answer."""
        with self._connection.use(f"look at the screen of {instance.name}") as connection:
            found = _own(connection, instance)
            if not found.isActive():
                raise NotFound("its VM is off")
            if "<video>" not in found.XMLDesc(0):
                raise NotFound("it has no screen, only a console")
            self._monitors.expect_answer(instance.name, Run(found.UUIDString(), found.ID()))
            stream = connection.newStream(0)
            try:
                found.screenshot(stream, 0)
                shot = _received(stream)
            except BaseException:
                stream.abort()
                raise
            stream.finish()
        return {"screen.png": shot if shot.startswith(_PNG) else png(shot)}


def _own(connection: libvirt.virConnect, instance: Instance) -> libvirt.virDomain:
    """Its domain, of this generation; nobody else's of that name."""
    try:
        return connection.lookupByUUIDString(instance.vm_uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            raise NotFound("libvirt knows no such domain") from error
        raise


def _received(stream: libvirt.virStream) -> bytes:
    parts, size = [], 0
    while chunk := stream.recv(1 << 18):
        if not isinstance(chunk, bytes):
            raise Transient("the picture of its screen was cut off")
        size += len(chunk)
        if size > 3 * PIXELS_MAX + 64:
            raise Permanent("its screen is larger than any that it has")
        parts.append(chunk)
    return b"".join(parts)


def png(ppm: bytes) -> bytes:
    """A picture as QEMU gives it (PPM, P6, 8 bit), as PNG. Raises Permanent for what is none."""
    head = _PPM.match(ppm)
    if head is None:
        raise Permanent("the picture of its screen is of an unknown kind")
    width, height = int(head[1]), int(head[2])
    pixels = ppm[head.end() :]
    if not 0 < width * height <= PIXELS_MAX or len(pixels) < width * height * 3:
        raise Permanent("the picture of its screen is not whole")
    line = width * 3
    rows = b"".join(b"\0" + pixels[at : at + line] for at in range(0, line * height, line))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 6)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
