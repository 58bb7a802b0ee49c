"""`python -m tests.lab.harness [--keep] -- COMMAND` runs a command in a lab of its own; `--down` ends kept labs."""

from __future__ import annotations

import argparse
import sys

from tests.lab.harness import enter


def main() -> int:
    """Returns the command's exit status, or 2 when there is none to run."""
    parser = argparse.ArgumentParser(prog="tests.lab.harness", description="Run a command in a lab of its own.")
    parser.add_argument("--keep", action="store_true", help="leave the lab up when the command has ended")
    parser.add_argument("--down", action="store_true", help="end the labs that were left up")
    parser.add_argument("command", nargs="*", metavar="-- COMMAND", help="what to run")
    options = parser.parse_args()
    if options.down:
        print(f"ended {enter.end_kept()} lab(s)")
        return 0
    if not options.command:
        parser.error("say what to run, after --")
    try:
        return enter.run(options.command, keep=options.keep)
    except enter.LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
