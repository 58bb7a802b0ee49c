"""Asks a VIP until N different instances have answered: `python -m tests.lab.harness.answers URL --distinct 3`.

Runs on the client's side and prints {INSTANCE: its last answer} as JSON. Every request uses a connection of its own.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from tests.lab.harness.load import Target
from tests.lab.harness.places import Place

_ANSWER_S = 3.0
_PAUSE_S = 0.05


def distinct(place: Place, url: str, count: int, within_s: float) -> dict[str, dict[str, Any]]:
    """Answers by instance, seen from `place`; CommandError when fewer than `count` answered within the time."""
    argv = [sys.executable, "-m", __name__, url, "--distinct", str(count), "--within", str(within_s)]
    answers: dict[str, dict[str, Any]] = json.loads(place.run(argv, timeout_s=within_s + 30).stdout)
    return answers


def ask(target: Target) -> dict[str, Any]:
    """One answer of a micro instance; OSError, HTTPException or ValueError when there is none."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", target.path)
        response = connection.getresponse()
        body = response.read()
        if response.status != http.client.OK:
            raise ValueError(f"status {response.status}")
        answer: dict[str, Any] = json.loads(body)
        return answer
    finally:
        connection.close()


def main(arguments: Sequence[str]) -> int:
    """Returns 0 when enough instances answered in time, else 1."""
    parser = argparse.ArgumentParser(description="Ask a VIP until enough different instances have answered.")
    parser.add_argument("url")
    parser.add_argument("--distinct", type=int, default=1)
    parser.add_argument("--within", type=float, default=60.0, help="seconds")
    options = parser.parse_args(arguments)
    target, answers, last = Target.of(options.url), dict[str, dict[str, Any]](), "nothing"
    end = time.monotonic() + options.within
    while len(answers) < options.distinct and time.monotonic() < end:
        try:
            answer = ask(target)
            answers[answer["instance"]] = answer
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            last = f"{type(error).__name__}: {error}"
            time.sleep(_PAUSE_S)
    print(json.dumps(answers, indent=1))
    if len(answers) < options.distinct:
        print(f"{len(answers)} of {options.distinct} instances answered; last failure: {last}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
