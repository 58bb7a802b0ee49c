"""How far an image is, on a terminal: first what was sent, then what the daemon has converted. It decides nothing."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from orchestrator.cli import render
from orchestrator.client.client import Client
from orchestrator.errors import VmroleError

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

ASK_EVERY_S = 0.5
_ENDS_WITHIN_S = 5.0


@contextlib.contextmanager
def adding(client: Client, name: str, size_bytes: int, *, convert: bool) -> Iterator[Callable[[int], None]]:
    """Progress bars on a terminal, nothing elsewhere. What it gives is told how many more bytes were sent."""
    if not render.is_terminal():
        yield lambda _count: None
        return
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(click.progressbar(length=size_bytes, label=f"adding {name}", file=sys.stderr))
        left = size_bytes

        def advance(count: int) -> None:
            nonlocal left
            left -= count
            bar.update(count)
            if left == 0 and convert:
                stack.close()
                watch = threading.Thread(target=_converting, args=(client, name, over), daemon=True)
                stack.callback(watch.join, _ENDS_WITHIN_S)
                stack.callback(over.set)
                watch.start()

        yield advance


def fetching_bar(name: str) -> Callable[[int, int | None], None]:
    """Tells a terminal how much of a download is here; given to `fetching.fetched`."""
    if not render.is_terminal():
        return lambda _here, _total: None

    def advance(here: int, total: int | None) -> None:
        of = f" of {total >> 20} MiB" if total is not None else ""
        click.echo(f"\rfetching {render.plain(name)}: {here >> 20} MiB{of} ", nl=here == total, err=True)

    return advance


def _converting(client: Client, name: str, over: threading.Event) -> None:
    with click.progressbar(length=100, label=f"converting {name}", file=sys.stderr) as bar:
        while not over.wait(ASK_EVERY_S):
            _ask(client, name, bar)


def _ask(client: Client, name: str, bar: ProgressBar[int]) -> None:
    try:
        arrivals = client.arrivals()
    except VmroleError:
        return  # The request that waits for the image will say what is wrong.
    for one in arrivals:
        if one["name"] == name and one["percent"] is not None:
            bar.update(int(one["percent"]) - bar.pos)
