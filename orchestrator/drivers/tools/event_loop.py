"""An event loop in a thread of its own, for what is watched all the time and waits most of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

CLOSE_S = 5.0
ENDING_S = 1.0


@contextlib.contextmanager
def event_loop_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own until the context ends; what runs on it then is cancelled."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="event-loop", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_end_all(), loop).result(CLOSE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_S)
        if not thread.is_alive():
            loop.close()


async def _end_all() -> None:
    """Lets what is ending end by itself: a hanging up that is cancelled half-way leaves its error to nobody."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        _, endless = await asyncio.wait(tasks, timeout=ENDING_S)
        for task in endless:
            task.cancel()
        await asyncio.gather(*endless, return_exceptions=True)
