"""Live names for shell completion: asked of the daemon, quickly, and nothing at all when it does not answer."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import click

from orchestrator.cli.meant import client_of

WITHIN_S = 1.0  # all that is asked for one press of a key, unless VMROLE_COMPLETE_WITHIN says (seconds)
WITHIN_MOST_S = 60.0


def within_s() -> float:
    """A daemon far away may be given longer. What makes no sense is the usual time: nothing is printed here."""
    try:
        said_s = float(os.environ.get("VMROLE_COMPLETE_WITHIN", ""))
    except ValueError:
        return WITHIN_S
    return min(said_s, WITHIN_MOST_S) if said_s > 0 else WITHIN_S


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    """Raises WaitedTooLong when the time is over, wherever it waits: a socket begins anew with each byte.

    For the main thread of a process that does nothing else.
    """
    from orchestrator.errors import WaitedTooLong

    def over(*_: object) -> None:
        raise WaitedTooLong("the daemon took too long")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, within_s())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _found(ctx: click.Context, kind: str, incomplete: str) -> list[str]:
    from orchestrator.cli.listing import fetch, name_of
    from orchestrator.errors import VmroleError

    try:
        with _deadline():
            rows = fetch(client_of(ctx, connect_within_s=0.0), kind, "")
    except VmroleError:
        return []
    names = [name_of(kind, row) for row in rows]
    if kind == "instances":
        names += sorted({f"{row['role']}.{row['service']}" for row in rows} | {row["service"] for row in rows})
    return [name for name in names if name.startswith(incomplete)]


def any_name(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of the kind that `get` was asked for."""
    kind = str(ctx.params.get("kind") or "instances")
    return _found(ctx, "instances" if kind == "events" else kind, incomplete)


def subject(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Instances, roles and services."""
    return _found(ctx, "instances", incomplete)


def service(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Services."""
    return _found(ctx, "services", incomplete)


def image(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Images."""
    return _found(ctx, "images", incomplete)


def token(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Tokens."""
    from orchestrator.errors import VmroleError

    try:
        with _deadline():
            rows = client_of(ctx, connect_within_s=0.0).tokens()
    except VmroleError:
        return []
    return [row["name"] for row in rows if row["name"].startswith(incomplete)]


def drive(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Drives."""
    from orchestrator.errors import VmroleError

    try:
        with _deadline():
            rows = client_of(ctx, connect_within_s=0.0).drives()
    except VmroleError:
        return []
    return [row["name"] for row in rows if row["name"].startswith(incomplete)]


def context(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Contexts of the user's."""
    from orchestrator.client import contexts, places
    from orchestrator.errors import VmroleError

    try:
        known = contexts.load(places.contexts_file())
    except VmroleError:
        return []
    return sorted(name for name in known.by_name if name.startswith(incomplete))
