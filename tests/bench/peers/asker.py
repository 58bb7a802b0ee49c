"""Asks an address on a fixed beat, each request on a connection of its own, until SIGTERM; then writes what came.

python -m tests.bench.peers.asker URL OUT

A request that has no good answer within two seconds is lost. No request waits for another, so that a stall is counted
beat by beat. Times are of CLOCK_BOOTTIME, as those of processes are.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
import urllib.parse
from pathlib import Path

BEAT_S = 0.25
ANSWER_S = 2.0


def now_s() -> float:
    """Of the clock by which the kernel tells when a process has started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def asked(host: str, port: int, path: str) -> bool:
    """Whether a request is answered well."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                first = await reader.readline()
                await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return first.split()[1:2] == [b"200"]


async def main(url: str, out: Path) -> None:
    """Until SIGTERM."""
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname, url
    stop, kept = asyncio.Event(), list[tuple[float, float, bool]]()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def ask() -> None:
        sent_s = now_s()
        answered = await asked(str(parts.hostname), parts.port or 80, parts.path or "/")
        kept.append((sent_s, now_s(), answered))

    began_s, beat = now_s(), 0
    async with asyncio.TaskGroup() as requests:
        while not stop.is_set():
            requests.create_task(ask())
            beat += 1
            try:
                await asyncio.wait_for(stop.wait(), max(0.0, began_s + beat * BEAT_S - now_s()))
            except TimeoutError:
                continue
    out.write_text(json.dumps(sorted(kept)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
