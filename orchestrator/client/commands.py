"""A command in a guest, from its start to its end, for whoever waits for it."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from orchestrator.client import clock
from orchestrator.client.client import Client
from orchestrator.errors import AnswerLost, Permanent, Transient, WaitedTooLong

if TYPE_CHECKING:
    from orchestrator.client import wire

T = TypeVar("T")
LOOK_FIRST_S = 0.1
LOOK_LAST_S = 1.0
SILENT_MAX_S = 90.0  # a silent agent is left alone for up to a minute; after that it has gone with what ran


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended, and what it printed; `whole` is False when that was more than is kept."""

    status: int  # exit status; -1 when a signal ended it
    output: bytes
    errors: bytes
    whole: bool


def patiently(ask: Callable[[], T], within_s: float | None = None) -> T:
    """What an agent answers that may be silent for a while, as one is whose guest is busy, or whose daemon restarts.

    For what may be asked twice. Raises Transient when it is silent for longer than SILENT_MAX_S, or `within_s`.
    """
    until = clock.monotonic_s() + min(SILENT_MAX_S, SILENT_MAX_S if within_s is None else within_s)
    while True:
        try:
            return ask()
        except Transient:
            if clock.monotonic_s() > until:
                raise
        clock.pause(LOOK_LAST_S)


def run(client: Client, name: str, command: Sequence[str], *, given: bytes = b"", within_s: float | None) -> Ended:
    """Has a program run in a guest, with `given` as its standard input, and waits for its end.

    Raises WaitedTooLong after `within_s` seconds: it goes on in the guest. An agent that is silent is waited for.
    Raises Permanent where nobody says whether the program has begun, or any more how it has ended: see `run_again`.
    """
    began_s = clock.monotonic_s()
    begun = patiently(lambda: _begun(client, name, command, given), within_s)
    pause_s = LOOK_FIRST_S
    while True:
        told = patiently(lambda: client.command(name, begun["id"]))
        status = told["status"]
        if told["ended"] and status is not None:
            output, errors = base64.b64decode(told["output"]), base64.b64decode(told["errors"])
            return Ended(status=status, output=output, errors=errors, whole=told["whole"])
        if within_s is not None and clock.monotonic_s() - began_s >= within_s:
            told_late = f"{command[0]} has not ended in {name} within {within_s:g} s"
            raise WaitedTooLong(told_late, hint="it goes on in the guest; wait longer, or let it write to a file")
        clock.pause(pause_s)
        pause_s = min(pause_s * 1.5, LOOK_LAST_S)


def _begun(client: Client, name: str, command: Sequence[str], given: bytes) -> wire.CommandView:
    """As the daemon answers; one that went away instead may have begun it, and is not asked for it again."""
    try:
        return client.begin_command(name, command, given)
    except AnswerLost as lost:
        told = f"the daemon has not said whether {command[0]} began in {name}: {lost}"
        raise Permanent(told, hint="look into the guest before you try again: it may run") from lost


def run_again(
    client: Client, name: str, command: Sequence[str], *, within_s: float, silent_s: float = SILENT_MAX_S
) -> Ended:
    """As `run`, for a program that does the same when it is run twice: it is, where nobody says what became of it.

    Raises Permanent when that is so for longer than `silent_s`.
    """
    until = clock.monotonic_s() + silent_s
    while True:
        try:
            return run(client, name, command, within_s=within_s)
        except Permanent:
            if clock.monotonic_s() > until:
                raise
        clock.pause(LOOK_LAST_S)
