"""Runs a command with what a systemd unit leaves it, where there is no systemd.

`confine.py UNIT DIRECTORY... -- COMMAND`: the directories are those that systemd would make for the unit
(RuntimeDirectory=, StateDirectory=), beside those that it names itself (ReadWritePaths=). Each directive is applied
by what systemd itself uses: mounts, limits, capabilities, seccomp. A directive that is not known here is an error, so
that none is thought to be kept that is not. Run by the system's Python, which has libseccomp's binding, as root.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import seccomp  # type: ignore[import-not-found,unused-ignore] # python3-seccomp, the system's

Unit = dict[str, list[str]]
LIBC = ctypes.CDLL(None, use_errno=True)
# What a started process keeps nothing of, or what the caller stands for.
OF_THE_MANAGER = frozenset(
    {
        "Type",
        "ExecStart",
        "KillMode",
        "Restart",
        "RestartSec",
        "RuntimeDirectory",
        "RuntimeDirectoryMode",
        "RuntimeDirectoryPreserve",
        "StateDirectory",
        "StateDirectoryMode",
        "TimeoutStartSec",
        "WatchdogSec",
    }
)
NAMESPACES = {
    "cgroup": 0x02000000,
    "ipc": 0x08000000,
    "net": 0x40000000,
    "mnt": 0x00020000,
    "pid": 0x20000000,
    "user": 0x10000000,
    "uts": 0x04000000,
    "time": 0x00000080,
}
PSEUDO_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm")
API_FILE_SYSTEMS = ("/proc", "/sys", "/dev")
TUNABLES = ("/proc/sys", "/sys")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"  # systemd's DefaultEnvironment has no more than this
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, JOIN_SESSION_KEYRING = 24, 38, 1
MS_BIND = 4096
SYS_KEYCTL = 250  # of x86-64
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "mkdir": 1, "mkdirat": 2, "creat": 1}  # which argument it is
REALTIME = (1, 2, 6)  # SCHED_FIFO, SCHED_RR, SCHED_DEADLINE


def main(argv: list[str]) -> None:
    """Becomes the command."""
    border = argv.index("--")
    unit, writable, command = service(Path(argv[0])), [Path(word) for word in argv[1:border]], argv[border + 1 :]
    told = (Path(word.removeprefix("-")) for word in unit.get("ReadWritePaths", ()))
    writable += [path for path in told if path.is_dir()]
    if strange := not_applied(unit):
        sys.exit(f"confine: {', '.join(sorted(strange))}: how is that done?")
    files(unit, writable, programs(Path(command[0])))
    for name in APPLIED.keys() & unit.keys():
        APPLIED[name](unit[name])
    os.chdir("/")
    capabilities(unit["CapabilityBoundingSet"])
    for one in filters(unit):
        one.load()
    os.execve(command[0], command, {"PATH": PATH, "LANG": "C.UTF-8"})


def not_applied(unit: Unit) -> set[str]:
    """The directives that are not known here."""
    return set(unit) - OF_THE_MANAGER - APPLIED.keys() - {"ProtectSystem", "CapabilityBoundingSet", "ReadWritePaths"}


def service(file: Path) -> Unit:
    """The words of each directive of the section [Service], of all its lines."""
    found: Unit = {}
    section = ""
    for line in file.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and line[0] not in "#;":
            name, _, words = line.partition("=")
            found.setdefault(name, []).extend(words.split())
    return found


def programs(script: Path) -> list[Path]:
    """Where the command's own files are: on a host not below a home, here perhaps."""
    interpreter = script.read_text().partition("\n")[0].removeprefix("#!")
    return [script.parents[2], Path(interpreter).resolve().parents[1]]


# Files -------------------------------------------------------------------------------------------------------


def files(unit: Unit, writable: list[Path], seen: list[Path]) -> None:
    """A mount namespace in which the unit's own directories alone can be written to; others stay to be seen."""
    check(LIBC.unshare(NAMESPACES["mnt"]))
    mount("--make-rprivate", "/")
    kept = {path: os.open(path, os.O_PATH) for path in (*seen, *writable)}
    if yes(unit, "PrivateTmp"):
        for place in ("/tmp", "/var/tmp"):
            mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", place)
    if yes(unit, "ProtectHome"):
        for place in ("/home", "/root", "/run/user"):
            if Path(place).is_dir():
                mount("-t", "tmpfs", "-o", "mode=0", "tmpfs", place)
    tunables = TUNABLES if yes(unit, "ProtectKernelTunables") else ()
    for place in tunables:
        mount("--rbind", place, place)
    for path, handle in kept.items():
        path.mkdir(parents=True, exist_ok=True)
        bind(handle, path)
    if unit.get("DevicePolicy") == ["closed"]:
        devices([word for word in unit.get("DeviceAllow", ()) if word.startswith("/dev/")])
    if unit.get("ProtectSystem") != ["strict"]:
        sys.exit("confine: only ProtectSystem=strict is known")
    own = (*map(str, writable), *(("/tmp", "/var/tmp") if yes(unit, "PrivateTmp") else ()))
    for place in reversed([*mounts()]):
        if not below(place, own) and (below(place, tunables) or not below(place, API_FILE_SYSTEMS)):
            mount("-o", "remount,bind,ro", place)


def below(place: str, others: Sequence[str]) -> bool:
    """Whether it is one of the others or in one."""
    return any(place == one or place.startswith(f"{one}/") for one in others)


def devices(allowed: list[str]) -> None:
    """What the device policy denies is not there."""
    there = {name: os.open(f"/dev/{name}", os.O_PATH) for name in PSEUDO_DEVICES if Path("/dev", name).exists()}
    there |= {Path(path).name: os.open(path, os.O_PATH) for path in allowed if Path(path).exists()}
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/dev")
    for name, handle in there.items():
        target = Path("/dev", name)
        target.mkdir() if stat.S_ISDIR(os.fstat(handle).st_mode) else target.touch()
        bind(handle, target)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        Path("/dev", name).symlink_to(f"/proc/self/{target}")


def mounts() -> Iterator[str]:
    """Every place where something is mounted that no other mount lies over."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        number, place = line.split()[0], line.split()[4].encode().decode("unicode_escape")
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(place, os.O_PATH)
            if f"mnt_id:\t{number}\n" in Path(f"/proc/self/fdinfo/{handle}").read_text():
                yield place
            os.close(handle)


def mount(*arguments: str) -> None:
    """mount(8)."""
    subprocess.run(["mount", *arguments], check=True)


def bind(handle: int, path: Path) -> None:
    """Puts what is open at the path, also when something else lies over where it was; mount(8) would look there."""
    source, target = f"/proc/self/fd/{handle}", str(path)
    check(LIBC.mount(source.encode(), target.encode(), None, ctypes.c_ulong(MS_BIND), None))
    os.close(handle)


# The process -------------------------------------------------------------------------------------------------


def limit(which: int) -> Callable[[list[str]], None]:
    """A limit, hard and soft; no higher than this process could have."""

    def apply(words: list[str]) -> None:
        most = min(int(words[0]), resource.getrlimit(which)[1])
        resource.setrlimit(which, (most, most))

    return apply


def capabilities(words: list[str]) -> None:
    """Takes all others out of the bounding set: the program that comes has no more."""
    kept = {word.removeprefix("CAP_").lower() for word in words}
    known = subprocess.run(["setpriv", "--list-caps"], check=True, capture_output=True, text=True).stdout.split()
    if strange := kept - set(known):
        sys.exit(f"confine: no capabilities: {strange}")
    for number, name in enumerate(known):  # in the order of their numbers
        if name not in kept:
            check(LIBC.prctl(PR_CAPBSET_DROP, number, 0, 0, 0))


def filters(unit: Unit) -> Iterator[seccomp.SyscallFilter]:
    """What the process may ask of the kernel, and with which arguments; the last one lets no other be loaded."""
    denied = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in DENIALS.keys() & unit.keys():
        for call, reason, *arguments in DENIALS[name](unit[name]):
            rule(denied, seccomp.ERRNO(reason), call, *arguments)
    yield denied
    if "SystemCallFilter" in unit:
        allowed = seccomp.SyscallFilter(seccomp.ERRNO(getattr(errno, unit["SystemCallErrorNumber"][0])))
        words = unit["SystemCallFilter"]
        taken = set(calls([word[1:] for word in words if word.startswith("~")]))
        for name in set(calls([word for word in words if not word.startswith("~")])) - taken:
            rule(allowed, seccomp.ALLOW, name)
        yield allowed


def rule(of: seccomp.SyscallFilter, action: int, call: str, *arguments: seccomp.Arg) -> None:
    """One rule; calls that this architecture does not have are left out."""
    if seccomp.resolve_syscall(seccomp.Arch(), call) >= 0:
        of.add_rule(action, call, *arguments)


def calls(words: list[str]) -> Iterator[str]:
    """Names of system calls, groups unfolded by systemd itself."""
    for word in words:
        if not word.startswith("@"):
            yield word
            continue
        argv = ["systemd-analyze", "syscall-filter", "--no-pager", word]
        lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()[1:]
        yield from calls([line.strip() for line in lines if line.strip() and not line.strip().startswith("#")])


Denial = tuple[object, ...]


def families(words: list[str]) -> Iterator[Denial]:
    """socket(2) of all families that are not listed."""
    allowed = {int(getattr(socket, word)) for word in words}
    for family in range(64):
        if family not in allowed:
            yield "socket", errno.EAFNOSUPPORT, seccomp.Arg(0, seccomp.EQ, family)


def namespaces(words: list[str]) -> Iterator[Denial]:
    """Kinds of namespaces that are not listed; clone3 hides its flags from seccomp, so there is none."""
    yield "clone3", errno.ENOSYS
    yield "setns", errno.EPERM, seccomp.Arg(1, seccomp.EQ, 0)
    for name, flag in NAMESPACES.items():
        if name not in words:
            for call, argument in (("unshare", 0), ("clone", 0), ("setns", 1)):
                yield call, errno.EPERM, seccomp.Arg(argument, seccomp.MASKED_EQ, flag, flag)


def suid(_: list[str]) -> Iterator[Denial]:
    """Modes with set-user-id or set-group-id."""
    for bit in (stat.S_ISUID, stat.S_ISGID):
        for call, argument in (
            ("chmod", 1),
            ("fchmod", 1),
            ("fchmodat", 2),
            ("mkdir", 1),
            ("mkdirat", 2),
            ("creat", 1),
        ):
            yield call, errno.EPERM, seccomp.Arg(argument, seccomp.MASKED_EQ, bit, bit)
        for call, flags in (("open", 1), ("openat", 2)):
            made = seccomp.Arg(flags, seccomp.MASKED_EQ, os.O_CREAT, os.O_CREAT)
            yield call, errno.EPERM, made, seccomp.Arg(flags + 1, seccomp.MASKED_EQ, bit, bit)


def writable_code(_: list[str]) -> Iterator[Denial]:
    """Memory that can be written to and run."""
    both = PROT_WRITE | PROT_EXEC
    yield "mmap", errno.EPERM, seccomp.Arg(2, seccomp.MASKED_EQ, both, both)
    yield "mprotect", errno.EPERM, seccomp.Arg(2, seccomp.MASKED_EQ, PROT_EXEC, PROT_EXEC)
    yield "pkey_mprotect", errno.EPERM, seccomp.Arg(2, seccomp.MASKED_EQ, PROT_EXEC, PROT_EXEC)
    yield "shmat", errno.EPERM, seccomp.Arg(2, seccomp.MASKED_EQ, SHM_EXEC, SHM_EXEC)


def never(*words: str) -> Callable[[list[str]], Iterator[Denial]]:
    """Calls that are denied whatever they say."""
    return lambda _: ((call, errno.EPERM) for call in calls(list(words)))


DENIALS: dict[str, Callable[[list[str]], Iterator[Denial]]] = {
    "RestrictAddressFamilies": families,
    "RestrictNamespaces": namespaces,
    "RestrictSUIDSGID": suid,
    "RestrictRealtime": lambda _: (
        ("sched_setscheduler", errno.EPERM, seccomp.Arg(1, seccomp.EQ, policy)) for policy in REALTIME
    ),
    "LockPersonality": lambda _: (("personality", errno.EPERM, seccomp.Arg(0, seccomp.NE, 0)) for _ in range(1)),
    "MemoryDenyWriteExecute": writable_code,
    "ProtectClock": never("@clock"),
    "ProtectHostname": never("sethostname", "setdomainname"),
    "ProtectKernelLogs": never("syslog"),
    "ProtectKernelModules": never("@module"),
}


def nothing(_: list[str]) -> None:
    """Done elsewhere: by `files` or by `filters`."""


APPLIED: dict[str, Callable[[list[str]], object]] = {
    **dict.fromkeys((*DENIALS, "PrivateTmp", "ProtectHome", "DevicePolicy", "DeviceAllow"), nothing),
    **dict.fromkeys(("PrivateMounts", "ProtectKernelTunables"), nothing),
    **dict.fromkeys(("SystemCallFilter", "SystemCallErrorNumber"), nothing),
    "SystemCallArchitectures": nothing,  # libseccomp kills what calls as another architecture
    "ProtectControlGroups": nothing,  # A lab has no control groups.
    "ProtectProc": nothing,  # The kernel's default is what the unit says.
    "LimitNOFILE": limit(resource.RLIMIT_NOFILE),
    "LimitCORE": limit(resource.RLIMIT_CORE),
    "OOMScoreAdjust": nothing,  # To be killed less readily takes a right that root of a container may lack.
    "UMask": lambda words: os.umask(int(words[0], 8)),
    "KeyringMode": lambda _: check(LIBC.syscall(SYS_KEYCTL, JOIN_SESSION_KEYRING, None)),
    "NoNewPrivileges": lambda _: check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)),
}


def yes(unit: Unit, name: str) -> bool:
    """Whether a directive is switched on."""
    return unit.get(name, ["no"]) == ["yes"]


def check(result: int) -> None:
    """Raises what the C library has told."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(sys.argv[1:])
