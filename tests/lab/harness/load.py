"""Constant HTTP load with an exact account: `python -m tests.lab.harness.load URL --rate 100 --seconds 30 --out F`.

Runs on the client's side. Requests start on a fixed beat, whether or not earlier ones were answered, so that a
stall is not hidden. Half of the workers keep their connection, the other half make a new one for each request. A
kept connection that the server closed between two requests is opened again, once, as every browser does; that is
counted apart and is no failure. It ends after --seconds or on SIGTERM, then finishes what is open and writes the
account as JSON: {"ok", "failed", "reasons", "reopened", "seconds_s", "rate_rps", "latency_ms", "instances"}.
Nothing here knows what vmrole is.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import json
import signal
import statistics
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from tests.lab.harness.places import Place

ANSWER_S = 5.0  # A request without a whole answer by then has failed.
WORKERS = 8
_END_S = 30.0  # Enough for the last answer; a client that takes longer has hung.


class Lost(Exception):
    """One request got no good answer; the text is the reason, short enough to be counted by."""


class ClosedBetween(Exception):
    """A kept connection was closed before the first byte of the answer."""


@dataclasses.dataclass(slots=True)
class Account:
    """What became of the requests so far."""

    ok: int = 0
    reopened: int = 0
    reasons: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    instances: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    latencies_ms: list[float] = dataclasses.field(default_factory=list)

    def summary(self, seconds_s: float) -> dict[str, object]:
        """The account as it is written; `failed` is the sum of `reasons`."""
        told = sorted(self.latencies_ms) or [0.0]
        failed = self.reasons.total()
        return {
            "ok": self.ok,
            "failed": failed,
            "reasons": dict(self.reasons),
            "reopened": self.reopened,
            "seconds_s": round(seconds_s, 3),
            "rate_rps": round((self.ok + failed) / seconds_s, 1),
            "latency_ms": {
                "median": round(statistics.median(told), 2),
                "p99": round(told[min(len(told) - 1, len(told) * 99 // 100)], 2),
                "max": round(told[-1], 2),
            },
            "instances": dict(self.instances),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where the requests go."""

    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Target:
        """Takes an http URL apart."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not an http URL: {url}")
        return cls(parts.hostname, parts.port or 80, parts.path or "/")

    def request(self, keep: bool) -> bytes:
        """The request as it goes over the wire."""
        connection = "keep-alive" if keep else "close"
        return f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: {connection}\r\n\r\n".encode()


class Worker:
    """Sends one request at a time and keeps the connection when told to."""

    def __init__(self, target: Target, account: Account, keep: bool) -> None:
        self._target = target
        self._account = account
        self._keep = keep
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> None:
        """One request, accounted for."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_S):
                body = await self._answer()
        except TimeoutError:
            what = "connection" if self._open is None else "answer"
            self._account.reasons[f"no {what} in {ANSWER_S:.0f} s"] += 1
            self.close()
        except (Lost, OSError) as error:
            self._account.reasons[str(error) or type(error).__name__] += 1
            self.close()
        else:
            self._account.ok += 1
            self._account.instances[_who(body)] += 1
            self._account.latencies_ms.append((time.monotonic() - started) * 1000)

    async def _answer(self) -> bytes:
        if self._open is not None:
            try:
                return await self._exchange(*self._open)
            except ClosedBetween:
                self._account.reopened += 1
                self.close()
        self._open = await asyncio.open_connection(self._target.host, self._target.port)
        try:
            return await self._exchange(*self._open)
        except ClosedBetween as error:
            raise Lost("closed without an answer") from error

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Sends the request, reads the whole answer; its body must be as long as it says."""
        try:
            writer.write(self._target.request(self._keep))
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                raise Lost("answer cut off in its head") from error
            raise ClosedBetween from error
        status, headers = _parse(head)
        try:
            length = headers.get("content-length")
            body = await (reader.readexactly(int(length)) if length is not None else reader.read())
        except asyncio.IncompleteReadError as error:
            raise Lost("answer cut off in its body") from error
        if not self._keep or length is None or headers.get("connection", "").lower() == "close":
            self.close()
        if not 200 <= status < 300:
            raise Lost(f"status {status}")
        return body

    def close(self) -> None:
        """Gives up the connection."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _parse(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers (names in lower case) of an answer's head; Lost when it is not HTTP."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split()
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise Lost("not HTTP")
    pairs = (line.partition(":") for line in lines if line)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def _who(body: bytes) -> str:
    """The instance that a micro image names in its answer; "" for other answers."""
    try:
        return str(json.loads(body)["instance"])
    except (ValueError, KeyError, TypeError):
        return ""


async def drive(target: Target, rate_rps: float, seconds_s: float) -> dict[str, object]:
    """Asks `rate_rps` times a second for `seconds_s` seconds, or until SIGTERM; returns the account."""
    account = Account()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    started = time.monotonic()
    workers = [
        _beat(Worker(target, account, keep=number % 2 == 0), started, number, rate_rps, seconds_s, stop)
        for number in range(WORKERS)
    ]
    await asyncio.gather(*workers)
    return account.summary(time.monotonic() - started)


async def _beat(
    worker: Worker, started: float, number: int, rate_rps: float, seconds_s: float, stop: asyncio.Event
) -> None:
    """Lets the worker take every WORKERS-th beat. One that is late asks at once: no request is dropped in silence."""
    beat = number
    while (due := beat / rate_rps) < seconds_s:
        try:
            async with asyncio.timeout(max(0.0, started + due - time.monotonic())):
                await stop.wait()
            break
        except TimeoutError:
            await worker.ask()
        beat += WORKERS
    worker.close()


@dataclasses.dataclass(slots=True)
class Load:
    """A load that runs in the background, on the client's side of the lab; `with` ends it."""

    place: Place
    url: str
    rate_rps: float
    out: Path
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Load:
        argv = ["--rate", str(self.rate_rps), "--seconds", "3600", "--out", str(self.out)]
        log = self.out.with_suffix(".log")
        self.process = self.place.popen([sys.executable, "-m", __name__, self.url, *argv], log=log)
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        """Ends the load and waits for its account; may be called twice."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=_END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise

    def account(self) -> dict[str, object]:
        """Ends the load and returns its account; see the module's docstring for the keys."""
        self.finish()
        if not self.out.exists():
            raise AssertionError(f"the load client failed: {self.out.with_suffix('.log').read_text()}")
        account: dict[str, object] = json.loads(self.out.read_text())
        return account


def main(arguments: Sequence[str]) -> int:
    """Returns 0 when no request failed, else 1."""
    parser = argparse.ArgumentParser(description="Constant HTTP load with an exact account.")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long; SIGTERM ends it earlier")
    parser.add_argument("--out", type=Path, help="file for the account; default: standard output")
    options = parser.parse_args(arguments)
    account = asyncio.run(drive(Target.of(options.url), options.rate, options.seconds))
    text = json.dumps(account, indent=1) + "\n"
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text)
    return 1 if account["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
