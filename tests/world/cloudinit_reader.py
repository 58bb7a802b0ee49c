"""What Debian's own cloud-init makes of user-data: its code reads it, in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vmrole_unattend import nocloud

_WITHIN_S = 900
# Debian's interpreter: cloud-init is a Debian package and is not in the virtual environment.
_READER = """
import json, sys
from cloudinit import handlers, helpers, user_data
from cloudinit.handlers.cloud_config import CloudConfigPartHandler
from cloudinit.util import load_yaml

class Source:
    def get_instance_id(self):
        return "iid"

paths = helpers.Paths({"cloud_dir": sys.argv[1], "run_dir": sys.argv[1]}, Source())

def read(text):
    parts = []
    config = CloudConfigPartHandler(paths)
    handlers.call_begin(config, None, "always")
    def seen(data, filename, payload, headers):
        parts.append({"type": headers["Content-Type"], "filename": filename, "text": payload})
        if headers["Content-Type"] in config.list_types():
            handlers.run_part(config, None, filename, payload, "always", headers)
    handlers.walk(user_data.UserDataProcessor(paths).process(text.encode()), seen, None)
    handlers.call_end(config, None, "always")
    return parts, load_yaml(open(paths.get_ipath("cloud_config")).read()) or {}

print(json.dumps([read(text) for text in json.load(sys.stdin)], default=repr))
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Consumed:
    """cloud-init's view: the parts in order, that of our clients apart, and the one configuration that it merges."""

    parts: list[dict[str, str]]
    merged: dict[str, Any]

    @property
    def types(self) -> list[str]:
        """Content types in order."""
        return [part["type"] for part in self.parts]


def consumed(place: Path, texts: Sequence[str]) -> list[Consumed]:
    """What it makes of each of them; `place` is a directory for its files."""
    (place / "instances" / "iid").mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["/usr/bin/python3", "-c", _READER, str(place)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
        timeout=_WITHIN_S,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )
    return [
        Consumed([part for part in parts if part["filename"] != nocloud.CLIENTS], merged)
        for parts, merged in json.loads(done.stdout)
    ]
