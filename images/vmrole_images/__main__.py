"""The recipes without the daemon: `python -m vmrole_images build NAME OUT`, or `… ensure NAME DIRECTORY`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vmrole_images import NAMES, BuildError, build, ensure


def main() -> int:
    """Exit 0 with one line about the image, 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m vmrole_images")
    parser.add_argument("verb", choices=["build", "ensure"])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("place", type=Path, help="build: the qcow2 to write; ensure: the directory that keeps it")
    asked = parser.parse_args()
    make = build if asked.verb == "build" else ensure
    try:
        report = make(asked.name, asked.place, progress=lambda line: print(line, file=sys.stderr, flush=True))
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{report.path} sha256:{report.sha256} {report.size_bytes} bytes, {report.seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
