"""The dnsmasq that libvirt runs for a network: whether it answers, and whether it watches the names of roles.

It watches a directory from its own start on, and the directory itself, not its path: one that somebody removed and
that was made again is another, of which it hears nothing until it is begun anew.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import libvirt
import tenacity

from orchestrator.drivers.network import network_xml
from orchestrator.drivers.network.network_xml import Described
from orchestrator.drivers.tools.ended import await_noted, is_gone

_DNS_PORT: Final = 53
_ANSWER_S: Final = 1.0
_TRIES: Final = 2
_BEGIN_S: Final = 15.0  # that one may take that has just been begun, on a host with much to do
_END_S: Final = 5.0
_RELEASE_S: Final = 2.0  # within which one that was told to end lets go of its address, on a host with much to do
_AGAIN_S: Final = 0.1
_ANY_QUESTION: Final = (
    bytes.fromhex("000001000001000000000000") + b"\x09localhost\0\0\x01\0\x01"
)  # a plain name: never forwarded
_PIDS: Final = Path("/run/libvirt/network")


def answers(gateway: str) -> bool:
    """Whether it answers; asked by the host itself, so it does at once. Guests can crowd us out of TCP alone."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(_ANSWER_S)
        asking.connect((gateway, _DNS_PORT))
        for _ in range(_TRIES):
            asking.send(_ANY_QUESTION)
            with contextlib.suppress(TimeoutError):
                return bool(asking.recv(512))
    return False


def answers_soon(gateway: str) -> bool:
    """The same of one that has just been begun. Before it listens who asks is refused at once."""
    asking = tenacity.Retrying(
        stop=tenacity.stop_after_delay(_BEGIN_S),
        wait=tenacity.wait_fixed(_AGAIN_S),
        retry=tenacity.retry_if_result(lambda answered: not answered),
        retry_error_callback=lambda _: False,
    )
    return asking(answers, gateway)


def overlooks(network: libvirt.virNetwork, names: Path) -> bool:
    """Whether it was begun with that directory and does not watch what is there now. One that cannot be asked, or
    that a former version began without it, overlooks nothing.
    """
    process = _process(network.name())
    if process is None or f"hostsdir={names}" not in network_xml.describe(network.XMLDesc(0)).options:
        return False
    try:
        watched = set(_watched(process))
    except OSError:
        return False
    return not names.is_dir() or names.stat().st_ino not in watched


def _watched(process: int) -> Iterator[int]:
    """The inodes that a process watches; proc(5), /proc/PID/fdinfo."""
    for described in Path(f"/proc/{process}/fdinfo").iterdir():
        for line in described.read_text().splitlines():
            if line.startswith("inotify "):
                yield from (int(word[4:], 16) for word in line.split() if word.startswith("ino:"))


def _process(network_name: str) -> int | None:
    """Its process, if it runs."""
    with contextlib.suppress(OSError, ValueError):
        process = int((_PIDS / f"{network_name}.pid").read_text())
        if Path(f"/proc/{process}/comm").read_text().strip() == "dnsmasq":
            return process
    return None


def revive(network: libvirt.virNetwork, wanted: Described) -> None:
    """A change of a name makes libvirt start a dnsmasq that has died; a network without names needs none.

    At times libvirt has changed the name, not come to start the program, and says nothing of why: then another change
    does.
    """
    for address, names in sorted(wanted.dns)[:1]:
        host = network_xml.dns_host_xml(address, names)
        tenacity.Retrying(
            stop=tenacity.stop_after_delay(_RELEASE_S),
            wait=tenacity.wait_fixed(_AGAIN_S),
            retry=tenacity.retry_if_exception(_is_unsaid),
            reraise=True,
        )(_change, network, host)


def _change(network: libvirt.virNetwork, host: str) -> None:
    """Takes a name away and gives it again."""
    section, live = libvirt.VIR_NETWORK_SECTION_DNS_HOST, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
    try:
        network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, host, live)
    except libvirt.libvirtError as error:
        if not _is_unsaid(error):
            raise
    network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, section, -1, host, live)


def begin_anew(network: libvirt.virNetwork, wanted: Described) -> None:
    """Ends it, and has libvirt start another, with all that it knew."""
    process = _process(network.name())
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            _end(process)
    revive(network, wanted)


def start(network: libvirt.virNetwork) -> None:
    """Starts the network, and its name server with it. That of a former one was told to end, and not waited for: it
    may have the address for a moment more.
    """
    tenacity.Retrying(
        stop=tenacity.stop_after_delay(_RELEASE_S),
        wait=tenacity.wait_fixed(_AGAIN_S),
        retry=tenacity.retry_if_exception(_is_taken),
        reraise=True,
    )(network.create)


def _is_unsaid(error: BaseException) -> bool:
    return isinstance(error, libvirt.libvirtError) and "the cause is unknown" in str(error)


def _is_taken(error: BaseException) -> bool:
    return isinstance(error, libvirt.libvirtError) and "Address already in use" in str(error)


def _end(process: int) -> None:
    handle = os.pidfd_open(process)
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if is_gone(handle, _END_S):
            await_noted(handle, _END_S)  # Else libvirt may take it for alive, and start none.
    finally:
        os.close(handle)
