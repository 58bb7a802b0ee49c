"""How long after its guest has said that it is busy an instance gets a new connection: a real VM, through the VIP.

`python -m tests.bench.busy HOST:PORT` asks all the time, prints in seconds since the epoch when it began the last
connection that was answered with 200, and ends with the first that was not.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import time
from typing import Any

import libvirt
import libvirt_qemu

from tests.bench.first_answer import answers

WITHIN_S = 120.0
EVERY_S = 0.002
# The boot, and the channel's port as the client finds it where no udev gives it a name.
WHERE = """cat /proc/sys/kernel/random/boot_id
for it in /sys/class/virtio-ports/*; do
  if grep -qx com.vmrole.guest.0 $it/name; then echo /dev/${it##*/}; fi
done"""


def say(domain: str, boot_id: str, port_path: str) -> float:
    """Has the guest say that it is busy, by its agent, which writes to the channel's port as any program would.

    Returns when that was asked of it (seconds since the epoch): it has said so a little later.
    """
    with contextlib.closing(libvirt.open(None)) as connection:
        vm = connection.lookupByName(domain)
        port = _agent(vm, "guest-file-open", path=port_path, mode="r+")
        params = {"boot": boot_id, "reason": "a measure", "for_s": 60}
        line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "busy", "params": params})
        encoded = base64.b64encode(f"\n{line}\n".encode()).decode()
        asked_s = time.time()
        _agent(vm, "guest-file-write", handle=port, **{"buf-b64": encoded})
        _agent(vm, "guest-file-close", handle=port)  # The next that has the port passes over what we leave unread.
    return asked_s


def _agent(vm: libvirt.virDomain, command: str, **arguments: object) -> Any:
    call = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(libvirt_qemu.qemuAgentCommand(vm, call, int(WITHIN_S), 0))["return"]


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
