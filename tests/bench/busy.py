"""How long after its guest has said that it is busy an instance gets a new connection: a real VM, through the VIP.

`python -m tests.bench.busy HOST:PORT` asks all the time, prints in seconds since the epoch when it began the last
connection that was answered with 200, and ends with the first that was not.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import time
from pathlib import Path

from tests.bench.first_answer import answers

WITHIN_S = 120.0
EVERY_S = 0.002


def heard_at_s(records: Path, instance: str) -> float:
    """When the host heard the guest's last word, as it is recorded (seconds since the epoch).

    The daemon holds the lock of the file all the time: it is read as it lies there, while nobody writes.
    """
    with contextlib.closing(sqlite3.connect(f"file:{records}?mode=ro&immutable=1", uri=True)) as store:
        row = store.execute("SELECT body FROM documents WHERE kind = 'state' AND key = ?", (instance,)).fetchone()
    return float(json.loads(row[0])["word"]["at_s"])


def main(where: str) -> int:
    """Returns 0 when it has been turned away."""
    host, _, port = where.partition(":")
    end, last_s = time.monotonic() + WITHIN_S, 0.0
    while time.monotonic() < end:
        began_s = time.time()
        if not answers(host, int(port)) and last_s:
            print(last_s)
            return 0
        last_s = began_s
        time.sleep(EVERY_S)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
