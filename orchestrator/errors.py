"""The error tree. Two questions decide a class: whose turn is it, and does waiting help?

What failed in the world says whose turn it is by `whose`: the host's, unless its class or its raiser knows better.

VmroleError                     every one has .hint: what the reader can do next
 +-- RequestError               the caller must change the request
 |    +-- InvalidInput          422  exit 2   .problems: line, key, what, what would be right
 |    +-- ImageRejected         422  exit 1
 |    +-- NotFound              404  exit 3
 |    +-- Conflict              409  exit 5   someone else was first, or the thing is in use
 |    |    +-- StaleRevision                  read again, then try again
 |    +-- Denied                403  exit 6
 +-- WorldError                 the host, the guest or the store failed   503  exit 1
 |    +-- Transient             the reconciler looks again later
 |    |    +-- Unreachable                    a daemon (libvirtd, HAProxy) does not answer
 |    |    |    +-- AnswerLost                it went away before it had answered: it may have heeded the request
 |    |    +-- Busy                           someone holds a lock; it will pass
 |    |    +-- NoSpace                        a file system is full; nothing was lost
 |    +-- Permanent             looking again cannot help; the instance becomes failed
 |         +-- CommandFailed                  argv, exit status, last lines of stderr
 |         +-- ImageCorrupt                   a digest is not what it was
 |         +-- Foreign                        the name is taken by something that is not ours
 +-- WaitedTooLong              a deadline of ours passed   504  exit 4
 +-- ConfigError                refuse to start   exit 78
"""

from __future__ import annotations

import dataclasses
import enum


class Whose(enum.StrEnum):
    """With whom a cause lies, and so whose turn it is."""

    HOST = "host"  # libvirt, disks, networks, the daemon: the operator of the host
    IMAGE = "image"  # what the VM is built from, its agent included
    GUEST = "guest"  # the system that runs in the VM, and its services
    ANSWERS = "answers"  # what the answer disc says, and how far it was applied
    BALANCER = "balancer"
    SERVICE = "service"  # what its file says, or what was asked of it: its operator


class VmroleError(Exception):
    """Root of all errors that a user may see; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class RequestError(VmroleError):
    """The caller must change the request."""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input: where it is, what is wrong, and what would be right."""

    message: str
    key: str = ""
    line: int | None = None  # 1-based
    hint: str = ""

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        key = f"{self.key}: " if self.key else ""
        return f"{place}{key}{self.message}" + (f" ({self.hint})" if self.hint else "")


class InvalidInput(RequestError):
    """An input that cannot be meant; `problems` lists every fault found, at least one."""

    def __init__(self, message: str, *, problems: tuple[Problem, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = problems or (Problem(message, hint=hint),)


class ImageRejected(RequestError):
    """An image file that must not enter the repository; `reason` is a stable word, e.g. 'backing-file'."""

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class NotFound(RequestError):
    """Nothing has that name."""


class Conflict(RequestError):
    """The request was sound, but something else holds what it asks for."""


class StaleRevision(Conflict):
    """The record changed since it was read: read again, then try again."""


class Overtaken(Conflict):
    """What a service file keeps of its service is another by now: the file is to be read again."""


class Denied(RequestError):
    """The caller may not do that."""


class WorldError(VmroleError):
    """The host, the guest or the store failed; `whose` says who of them has to act."""

    whose = Whose.HOST

    def __init__(self, message: str, *, hint: str = "", whose: Whose | None = None) -> None:
        super().__init__(message, hint=hint)
        if whose is not None:
            self.whose = whose


class Transient(WorldError):
    """Looking again later may help; nothing is lost by waiting."""


class Unreachable(Transient):
    """A daemon that we depend on does not answer."""


class AnswerLost(Unreachable):
    """A request was sent, and its answer did not come whole: what was asked for may have been done."""


class Busy(Transient):
    """Someone holds a lock that will be given back."""


class NoSpace(Transient):
    """A file system is full; the operator can make room and nothing was lost."""


class Permanent(WorldError):
    """Looking again cannot help; the instance becomes failed and a human or the healing ladder decides."""


class CommandFailed(Permanent):
    """A command of ours failed: the message holds the command as it can be pasted and its last words."""

    def __init__(self, argv: tuple[str, ...], status: int, stderr: str, *, hint: str = "") -> None:
        last = stderr.strip().splitlines()[-3:]
        super().__init__(f"{' '.join(argv)}: exit {status}: {' | '.join(last)}", hint=hint)
        self.argv = argv
        self.status = status
        self.stderr = stderr


class ImageCorrupt(Permanent):
    """The bytes of an image are not the bytes that were added."""

    whose = Whose.IMAGE


class EndpointRefused(Transient):
    """The balancer cannot listen on some endpoints; it does on all the others. `pools` are theirs."""

    whose = Whose.BALANCER

    def __init__(self, message: str, *, pools: frozenset[str], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.pools = pools


class Foreign(Permanent):
    """A domain, network, file or table with our name is not ours; it is never touched."""


class WaitedTooLong(VmroleError):
    """A deadline passed; the message says what was waited for."""


class ConfigError(VmroleError):
    """The configuration is wrong; the daemon refuses to start."""
