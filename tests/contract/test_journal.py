"""systemd's own journal, in a /run of its own: it understands what the log sends, and finds it by field."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.world.places import REPOSITORY

UP_S = 240.0
SAYS = """
import logging
from orchestrator import log
log.set_up(style="journal")
with log.subject("web-0.shop"):
    logging.getLogger("vm").info("starts")
    logging.getLogger("vm").warning("waits for %s", "its agent")
with log.subject("db-0.shop"):
    try:
        raise ValueError("of\\nmany lines")
    except ValueError:
        logging.getLogger("vm").exception("a bug")
"""
# What the journal has is copied out: /run goes with the namespace.
JOURNALD = """
mount -t tmpfs tmpfs /run && mkdir -p /run/log/journal /run/systemd/journal
/lib/systemd/systemd-journald & journald=$!
trap 'kill $journald; wait $journald' EXIT
until [ -S /run/systemd/journal/socket ]; do kill -0 $journald || exit 9; sleep 0.1; done
"$1" -c "$2"
for turn in $(seq 1200); do
  journalctl -D /run/log/journal/* -o json SYSLOG_IDENTIFIER=vmrole >"$3" && grep -q 'a bug' "$3" && exit
  sleep 0.1
done
exit 8
"""


def test_it_is_asked_by_subject_and_priority(tmp_path: Path) -> None:
    """Each record is one, with the fields that were sent; a traceback stays in its message."""
    out = tmp_path / "records"
    argv = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "--propagation",
        "private",
        "bash",
        "-c",
        JOURNALD,
        "bash",
    ]
    done = subprocess.run(
        [*argv, sys.executable, SAYS, str(out)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=UP_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(each["VMROLE_SUBJECT"], each["PRIORITY"]) for each in records] == [
        ("web-0.shop", "6"),
        ("web-0.shop", "4"),
        ("db-0.shop", "3"),
    ]
    assert records[1]["MESSAGE"] == "web-0.shop: waits for its agent"
    assert records[2]["MESSAGE"].splitlines()[-2:] == ["    ValueError: of", "    many lines"]
