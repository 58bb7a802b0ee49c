"""A guest that was restored from its memory: told the time, and given random bytes; whether it may be at all.

Its clock stands where it was saved. It is set and read again until it is known to be right; between the question and
the answer it may be off by as much as that took, so a slow answer counts for nothing. An agent that lacks hwclock
sets none: there the guest's own `date` does, at the full second, and what it was late by is made up for.

Its kernel knows by vmgenid that its randomness was seen before, and makes it anew at once, where it has a driver that
has found the device: Debian's kernel for clouds has none. There a program of the guest's has the kernel do so
(RNDRESEEDCRNG, random(4)), of random bytes of the host's among others; before 5.18 that was not sure to help.
Windows' own (CNG) heeds vmgenid since 8 and Server 2012 (Microsoft, Virtual Machine Generation ID, 2012).
"""

from __future__ import annotations

import base64
import contextlib
import math
import os
import re
from typing import Final

from orchestrator.drivers.guest.agent_commands import AgentCommands, Ended
from orchestrator.drivers.tools.agent_channel import AgentBroken, AgentForbids, AgentRefused, AgentSilent
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.model import Instance, InstanceName, Os
from orchestrator.ports import Clock

CLOCK_OFF_S: Final = 0.1
READS: Final = 4  # of the clock, for one question: a host that is busy answers quickly now and then
RANDOM_BYTES: Final = 256
RELEASE_FILE: Final = "/proc/sys/kernel/osrelease"
# Whatever the guest has that knows ioctl(2): micro's own program, perl as Debian's base has it, Python.
RESEED: Final = (
    "/usr/lib/vmrole/reseed 2>/dev/null"
    ' || perl -e \'open(my $f, "<", "/dev/urandom") or exit 1; exit(ioctl($f, 0x5207, 0) ? 0 : 1)\' 2>/dev/null'
    ' || python3 -c \'import fcntl; fcntl.ioctl(open("/dev/urandom", "rb"), 0x5207)\' 2>/dev/null'
)
_RESEEDS_SINCE: Final = (5, 18)
_RELEASE: Final = re.compile(r"(\d+)\.(\d+)")
CLOCK_LAST_NS: Final = 1 << 63
# What a kernel shows whose driver of vmgenid has found the device: since 5.18, and as a platform driver later.
KNOWN_BY: Final = (
    "/sys/bus/acpi/drivers/vmgenid/QEMUVGID:00/hid",
    "/sys/bus/platform/drivers/vmgenid/QEMUVGID:00/firmware_node/hid",
)
RESEEDS: Final = "its kernel makes its randomness anew"
RANDOM_FILE: Final = "/dev/urandom"
BY_KERNEL: Final = "its kernel, which knows vmgenid"
BY_AGENT: Final = "a program in it, through its agent: its kernel has no driver for vmgenid"
WINDOWS_SINCE: Final = (6, 2)  # 8 and Server 2012, whose random numbers heed vmgenid
_NS: Final = 1_000_000_000
_AHEAD_S: Final = 0.05  # At least so long before the full second the command is sent.
_WORDS: Final = 80


class Awakening:
    """Thread-safe, as long as there is one turn per instance at a time."""

    def __init__(self, commands: AgentCommands, clock: Clock) -> None:
        self._commands = commands
        self._clock = clock
        self._late_s: dict[InstanceName, float] = {}  # how late the guest's own command sets its clock
        self._by: dict[InstanceName, str] = {}  # what makes its randomness anew

    def forget(self, name: InstanceName) -> None:
        """The guest is gone for good."""
        self._late_s.pop(name, None)
        self._by.pop(name, None)

    def randomness(self, name: InstanceName) -> str:
        """See ports.Guest."""
        return self._by.get(name, "")

    def unfit(self, instance: Instance) -> str:
        """See ports.Guest. Raises AgentSilent, AgentRefused."""
        if instance.role.os is Os.WINDOWS:
            return self._windows_unfit(instance.name)
        known = self._notices(instance.name)
        if known is None:
            return "its agent shows no files: nobody knows whether its kernel notices that it is restored"
        if known:
            return ""
        told = self._commands.shown(instance.name, RELEASE_FILE) or ""
        release = _RELEASE.match(told)
        if release is None or (int(release[1]), int(release[2])) < _RESEEDS_SINCE:
            of = harmless(told, _WORDS) if release else "of no known release"
            return f"its kernel ({of}) may give the same random numbers twice; one of 5.18 or later need not"
        reseeded = self._reseed(instance)
        if reseeded is None:
            raise AgentSilent(RESEEDS)
        return reseeded

    def awaken(self, instance: Instance) -> str:
        """See ports.Guest. Raises AgentSilent while its clock is not known to be right.

        What takes a program in the guest is begun first, and asked for last.
        """
        windows = instance.role.os is Os.WINDOWS
        if not windows:
            self._stir(instance.name)
        notices = windows or self._notices(instance.name)
        self._by[instance.name] = BY_KERNEL if notices else BY_AGENT
        reseeded = "" if notices else self._reseed(instance)
        if reseeded:
            return reseeded
        off_s, unsure_s = self._read(instance.name)
        if not _is_right(off_s, unsure_s) and abs(off_s) > unsure_s:
            if why_not := self._set(instance, off_s, unsure_s):
                return why_not
            off_s, unsure_s = self._read(instance.name)
        if not _is_right(off_s, unsure_s):
            raise AgentSilent(f"its clock may be {abs(off_s) + unsure_s:.2f} s off")
        self._late_s.pop(instance.name, None)
        if reseeded is None and (reseeded := self._reseed(instance)) is None:
            raise AgentSilent(RESEEDS)
        return reseeded

    def _windows_unfit(self, name: InstanceName) -> str:
        told = self._commands.call(name, "guest-get-osinfo")
        version = told.get("kernel-version") if isinstance(told, dict) else None
        release = _RELEASE.match(version) if isinstance(version, str) else None
        if release is not None and (int(release[1]), int(release[2])) >= WINDOWS_SINCE:
            return ""
        of = harmless(version, _WORDS) if isinstance(version, str) and release else "of no known version"
        return f"its Windows ({of}) may give the same random numbers twice; 8, Server 2012 or later need not"

    def _notices(self, name: InstanceName) -> bool | None:
        """Whether its kernel is told by vmgenid that it was restored; None where its agent shows no files."""
        for path in KNOWN_BY:
            told = self._commands.shown(name, path)
            if told is None:
                return None
            if told:
                return True
        return False

    def _reseed(self, instance: Instance) -> str | None:
        """Has its kernel make its randomness anew; why nobody there can, None until it has ended."""
        try:
            ended = self._commands.run(instance, "reseed", ("/bin/sh", "-c", RESEED))
        except AgentForbids:
            ended = Ended(1, b"", 0.0)
        if ended is None:
            return None
        if ended.status == 0:
            return ""
        return "its kernel has no driver for vmgenid, and nothing in it has its randomness made anew (perl, python3)"

    def _read(self, name: InstanceName) -> tuple[float, float]:
        """How far ahead its clock is, and by how much that may be wrong (seconds): of a few answers the quickest."""
        reads = (self._read_once(name) for _ in range(READS))
        quickest = next(reads)
        for read in reads:
            if quickest[1] <= CLOCK_OFF_S / 4:
                break
            quickest = min(quickest, read, key=lambda each: each[1])
        return quickest

    def _read_once(self, name: InstanceName) -> tuple[float, float]:
        asked_s, began_s = self._clock.now_s(), self._clock.monotonic_s()
        told = self._commands.call(name, "guest-get-time")
        took_s = self._clock.monotonic_s() - began_s
        if not isinstance(told, int) or abs(told) > CLOCK_LAST_NS:
            raise AgentBroken("the agent sent a time that is none")
        return told / _NS - (asked_s + took_s / 2), took_s / 2

    def _set(self, instance: Instance, off_s: float, unsure_s: float) -> str:
        """Why it cannot be set; "" when somebody has begun to."""
        try:
            at_ns = int((self._clock.now_s() + unsure_s) * _NS)
            self._commands.call(instance.name, "guest-set-time", time=at_ns)
        except AgentRefused as refused:
            if instance.role.os is Os.WINDOWS:
                return f"its agent does not set its clock: {refused}"
            return self._set_by_command(instance, off_s, unsure_s)
        return ""

    def _set_by_command(self, instance: Instance, off_s: float, unsure_s: float) -> str:
        """By its own `date`, which is given whole seconds, as some know no others."""
        before_s = self._late_s.get(instance.name)
        late_s = unsure_s if before_s is None else before_s - off_s
        at_s = self._clock.now_s() + late_s
        whole_s = math.ceil(at_s + _AHEAD_S)
        script = f"sleep {whole_s - at_s:.3f}; date -u -s @{whole_s}"
        try:
            runs = self._commands.runs(instance, "clock")
            ended = self._commands.run(instance, "clock", ("/bin/sh", "-c", script))
        except AgentForbids as refused:
            return f"neither its agent nor a command sets its clock: {refused}"
        if not runs:
            self._late_s[instance.name] = late_s
        if ended is not None and ended.status != 0:
            return f"its clock cannot be set: {harmless(ended.text.strip(), _WORDS)} (date exits {ended.status})"
        return ""

    def _stir(self, name: InstanceName) -> None:
        """Random bytes of the host's for the guest's; one that lets nobody write has its kernel's word alone."""
        with contextlib.suppress(AgentRefused):
            handle = self._commands.call(name, "guest-file-open", path=RANDOM_FILE, mode="r+")
            if not isinstance(handle, int):
                raise AgentBroken("the agent sent a file handle that is none")
            given = base64.b64encode(os.urandom(RANDOM_BYTES)).decode()
            try:
                self._commands.call(name, "guest-file-write", handle=handle, **{"buf-b64": given})
            finally:
                self._commands.call(name, "guest-file-close", handle=handle)


def _is_right(off_s: float, unsure_s: float) -> bool:
    return abs(off_s) + unsure_s <= CLOCK_OFF_S
