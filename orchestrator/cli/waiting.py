"""Waiting for instances and operations, told line by line. What is waited for is decided here, by pure predicates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from orchestrator.cli import render
from orchestrator.cli.progress import Progress
from orchestrator.cli.progress import progress as new_progress
from orchestrator.client import clock, states
from orchestrator.client.client import Client
from orchestrator.client.states import hopeless, off, settled
from orchestrator.errors import Conflict, NotFound, Permanent, VmroleError, WaitedTooLong

if TYPE_CHECKING:
    from orchestrator.client import wire
    from orchestrator.client.transport import Json

    Test = Callable[[wire.InstanceView], bool]

_POLL_S = 0.2  # a service's record goes a moment after its last instance


def end_of(timeout_s: float | None) -> float | None:
    """The moment on the monotonic clock at which a wait of that length ends."""
    return None if timeout_s is None else clock.monotonic_s() + timeout_s


def full_subject(client: Client, subject: str) -> str:
    """`web-0` as `web-0.shop`; roles and services as they are. Raises NotFound."""
    found = client.instances(subject)
    return found[0]["name"] if len(found) == 1 and found[0]["hostname"] == subject else subject


def until_serving(
    client: Client, subject: str, until: float | None, progress: Progress, *, is_there: Test = settled
) -> None:
    """Returns when every instance of the subject serves, or is off as asked, and none is still to go; or when what
    `is_there` says holds for every one.

    Raises Permanent when one has failed, NotFound when they are gone, WaitedTooLong.
    """
    if until is not None and until <= clock.monotonic_s() and all(is_there(row) for row in client.instances(subject)):
        return  # A wait of no time is a question.

    def over(rows: Mapping[str, wire.InstanceView]) -> bool:
        failed = [row for row in rows.values() if hopeless(row)]
        if failed:
            words = "; ".join(f"{row['name']} failed: {row['failure']}" for row in failed)
            raise Permanent(words, hint=f"ask: vmrole why {failed[0]['name']}")
        return all(is_there(row) for row in rows.values())

    if not _watched(client, subject, until, progress, is_there, over):
        full_subject(client, subject)


def until_settled(client: Client, subject: str, until: float | None) -> None:
    """Returns when no operation on the subject runs any more and every instance of it serves.

    An instance that a rollout has yet to reach serves, too, but not what was asked for. Raises as the two waits do.
    """

    def running() -> list[wire.Operation]:
        operations = [one for one in client.operations() if one["progress"] == "running"]
        instances = {row["name"] for row in client.instances(subject)} if operations else set()
        return [one for one in operations if _concerns(one, instances)]

    while first := running()[:1]:
        with contextlib.suppress(Conflict):  # The operation that supersedes it is the next.
            until_over(client, first[0], until, new_progress())
    until_serving(client, subject, until, new_progress())


def _concerns(operation: wire.Operation, instances: Collection[str]) -> bool:
    """Whether the operation changes one of those instances."""
    return any(name in instances for name, _ in operation["targets"])


def until_gone(
    client: Client, subject: str, until: float | None, progress: Progress, *, removed: bool = False
) -> None:
    """Returns when nothing of the subject is left; raises WaitedTooLong.

    `removed`: its removal has been asked for, so what is there and is not being removed has its name from it.
    """

    def over(rows: Mapping[str, wire.InstanceView]) -> bool:
        return not any(row["removing"] or not removed for row in rows.values())

    _watched(client, subject, until, progress, lambda _row: False, over)
    while "." not in subject:
        try:
            service = client.service(subject)
            if not service["removing"] and removed:
                return
            if service["held_up"] and not service["instances"]:
                raise Conflict(f"{subject} stays: {service['held_up']}", hint=states.held_up_hint(subject))
        except NotFound:
            return
        if until is not None and clock.monotonic_s() > until:
            raise WaitedTooLong(f"service {subject} is still there", hint=f"ask: vmrole events {subject}")
        clock.pause(_POLL_S)


def _watched(
    client: Client,
    subject: str,
    until: float | None,
    progress: Progress,
    is_there: Test,
    over: Callable[[Mapping[str, wire.InstanceView]], bool],
) -> Mapping[str, wire.InstanceView]:
    """Watches the instances of a subject until `over` says so of all of them, and returns those that there are then.

    Raises WaitedTooLong, with the first for whom `is_there` does not hold.
    """
    rows: dict[str, wire.InstanceView] = {}
    complete = False
    with progress, _in_time(rows, is_there):
        for kind, value, _ in client.watch_instances(subject, until=until):
            complete = _take(rows, kind, value, progress) or (complete and kind != "again")
            if complete and over(rows):
                break
    return rows


def until_over(client: Client, operation: wire.Operation, until: float | None, progress: Progress) -> None:
    """Returns when the operation is done.

    Raises Permanent when it has failed, Conflict when somebody wanted something else meanwhile, WaitedTooLong.
    """
    last: Json = operation
    rows: dict[str, wire.InstanceView] = {}
    is_paused, waits = False, ""
    with progress, _in_time(rows, off if operation["verb"] == "stop" else settled):
        for kind, value, _ in client.watch_operation(operation["id"], until=until):
            _take(rows, kind, value, progress)
            if kind == "operation" and value["paused"] is not is_paused:
                is_paused = value["paused"]
                called = _called(client, value)
                state = f"paused until: vmrole rollout resume {called}" if is_paused else "resumed"
                render.say(f"{called}: its rollout is {state}")
            if kind == "operation" and _held(value) != waits:
                waits, called = _held(value), _called(client, value)
                until_next = f"{waits} waits for: vmrole rollout next {called}" if waits else "its rollout goes on"
                render.say(f"{called}: {until_next}")
            if kind == "end":
                last = value
    if isinstance(last, str):
        raise VmroleError(last)
    what = f"{last['verb']} of {last['subject']}"
    if last["progress"] == "failed":
        ill = next(
            (f"why {name}" for name, row in rows.items() if states.has_failed(row["phase"])),
            f"events {last['subject']}",
        )
        raise Permanent(f"{what} failed: {last['message']}", hint=f"ask: vmrole {ill}")
    if last["progress"] == "superseded":
        raise Conflict(f"{what} was superseded: {last['message']}", hint="ask: vmrole get operations")
    if ", " in last["message"]:  # Beside how many serve, whom it has left: protected, stopped, removed.
        render.say(f"{what}: {last['message']}")


def _held(operation: wire.Operation) -> str:
    """What of a rollout waits for somebody's word; "" for one that goes on."""
    return operation["walk"]["unreleased"]


def _called(client: Client, operation: wire.Operation) -> str:
    """What its service is called now: an operation knows the deployment, which a swap may have put elsewhere."""
    names = {one["deployment"]: one["name"] for one in client.services()}
    return names.get(operation["service"], operation["service"])


@contextlib.contextmanager
def _in_time(rows: Mapping[str, wire.InstanceView], is_there: Test) -> Iterator[None]:
    """A time that is over is told with who is not there yet, and where he is."""
    try:
        yield
    except KeyboardInterrupt:
        late = next((row["name"] for row in rows.values() if not is_there(row)), None)
        render.say(
            "only the waiting ends: what was asked for goes on" + (f"; ask: vmrole why {late}" if late else "")
        )
        raise
    except WaitedTooLong as error:
        absent = [row for row in rows.values() if not is_there(row)]
        if not absent:
            raise
        more = f", and {len(absent) - 1} more are not there" if len(absent) > 1 else ""
        told = f"the time was over: {absent[0]['name']} is {absent[0]['phase']}{more}"
        hint = f"ask: vmrole why {absent[0]['name']}; or wait longer: it goes on"
        raise WaitedTooLong(told, hint=hint) from error


def _take(rows: dict[str, wire.InstanceView], kind: wire.MessageKind, value: Json, progress: Progress) -> bool:
    """Notes a message of a watch; whether the rows are complete from now on."""
    if kind == "instance":
        rows[value["name"]] = value
        progress.tell(value)
    elif kind == "gone":
        rows.pop(value["name"], None)
        progress.tell(value | {"phase": states.GONE, "waiting": ""})
    elif kind == "again":
        rows.clear()
    return kind == "current"
