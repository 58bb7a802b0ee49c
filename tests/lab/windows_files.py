"""Files of a guest that plays Windows, by its agent."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.lab.harness.lab import Lab


def agent(lab: Lab, domain: str, command: str, **arguments: object) -> Any:
    """What the guest's agent returns."""
    call = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(lab.virsh("qemu-agent-command", "--timeout", "10", domain, call))["return"]


def file_on_c(lab: Lab, domain: str, path: str, text: str | None = None) -> str:
    """Writes a file on the guest's C:, or reads it; "" when there is none."""
    if text is None and not _exists(lab, domain, path):
        return ""
    handle = agent(lab, domain, "guest-file-open", path=path, mode="r" if text is None else "w")
    try:
        if text is not None:
            agent(
                lab,
                domain,
                "guest-file-write",
                handle=handle,
                **{"buf-b64": base64.b64encode(text.encode()).decode()},
            )
            return text
        got = agent(lab, domain, "guest-file-read", handle=handle, count=65536)
        return base64.b64decode(got["buf-b64"]).decode()
    finally:
        agent(lab, domain, "guest-file-close", handle=handle)


def _exists(lab: Lab, domain: str, path: str) -> bool:
    call = json.dumps({"execute": "guest-file-open", "arguments": {"path": path}})
    done = lab.host.run(["virsh", "qemu-agent-command", "--timeout", "10", domain, call], check=False)
    if done.returncode != 0:
        assert "cannot find the file" in done.stderr, done.stderr
        return False
    agent(lab, domain, "guest-file-close", handle=json.loads(done.stdout)["return"])
    return True
