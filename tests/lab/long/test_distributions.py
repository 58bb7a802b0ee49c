"""Systems as distributions put them together: each is set up, restarted, made anew with its network written down, and
deleted. They tell of themselves by HTTP, which asks nothing of their agents.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.long import distributions
from tests.lab.services import URL, VIP, instance

pytestmark = pytest.mark.timeout(7200)  # four starts, each minutes of both cores where nobody has KVM and others work
_SERVER, _DOMAIN = "192.0.2.53", "corp.example"
# Started by cloud-init at each boot, whatever the init is.
_PAGE = """#!/usr/bin/python3
import http.server, json, subprocess

LOOK = {
    "init": "basename $(readlink /proc/1/exe)",
    "runs": "ps -e -o comm=",
    "card": "ip -4 -o address show scope global | tr -s ' ' | cut -d ' ' -f 4",
    "leased": "ip -4 -o address show scope global | grep -c dynamic",
    "way": "ip -4 route show default",
    "names": "cat /etc/resolv.conf /run/systemd/resolve/resolv.conf 2>/dev/null",
    "boot": "cat /proc/sys/kernel/random/boot_id",
    "setup_boot": "cat /var/lib/vmrole/setup-boot",
    "marker": "cat /marker",
    "kept": "cat /local/cache/marker",
}

def said(command):
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout.strip()

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/mark":
            said("echo kept >/marker; echo kept >/local/cache/marker; sync")
        facts = {name: said(command) for name, command in LOOK.items()} if self.path == "/facts" else {}
        body = json.dumps(facts).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("", 8080), Page).serve_forever()
"""
_PER_BOOT = "#!/bin/sh\nsetsid /usr/local/sbin/page </dev/null >/dev/null 2>&1 &\n"
_SERVICE = """service: shop
vip: {vip}
roles:
  web:
    image: {image}
    instances: 1
    size: {{vcpus: 2, memory: 512 MiB}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /}}}}
    localStorage:
      cache: {{size: 32 MiB}}
    setup: {{within: 60 min}}
    restart: {{within: 40 min}}
    stop: {{within: 10 min}}
    ready: {{{ready}within: 60 min}}
{network}    answers:
      userData: |
        {data}
"""
_WRITTEN = f"    network: {{dns: [{_SERVER}], search: [{_DOMAIN}]}}\n"
_WITHIN_S = 6000.0
_READY = {"network-manager": "probe: {port: 8080, path: /}, "}  # whom its agent tells nothing of its services
_NETWORKS = {"systemd-network", "systemd-resolve", "NetworkManager"}  # as ps has them, in 15 characters
_NETWORK_OF = {"ifupdown": set(), "network-manager": {"NetworkManager"}}


def _service(name: str, network: str = "") -> str:
    files = [
        {"path": "/usr/local/sbin/page", "permissions": "0755", "content": _PAGE},
        {"path": "/var/lib/cloud/scripts/per-boot/page", "permissions": "0755", "content": _PER_BOOT},
    ]
    data = "#cloud-config\n" + " " * 8 + json.dumps({"write_files": files})
    return _SERVICE.format(vip=VIP, image=name, ready=_READY.get(name, ""), network=network, data=data)


def _facts(lab: Lab, path: str = "facts") -> dict[str, Any]:
    """What the guest says of itself, by the VIP."""
    done = lab.client.run(["curl", "-fsS", "--max-time", "60", "--retry", "5", "--retry-all-errors", f"{URL}{path}"])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", distributions.ALL)
def test_it_lives_as_others_do(lab: Lab, daemon: RoleDaemon, name: str) -> None:
    """Set up with one restart, by DHCP; made anew with an address, a way out and name servers that are written down,
    which it has in the boot after its setup; what it had on its own disk is gone, and its local storage is there.
    """
    image: Path = distributions.image(name)
    daemon.run("image", "add", str(image), "--name", name)
    daemon.run("apply", "-f", "-", "--wait", text=_service(name), timeout_s=_WITHIN_S)
    assert (instance(daemon)["generation"], instance(daemon)["boot"]) == (1, 2)
    facts = _facts(lab)
    assert facts["init"] == "systemd"
    assert _NETWORKS & set(facts["runs"].split()) == _NETWORK_OF[name]
    assert facts["setup_boot"] not in {"", facts["boot"]}
    assert facts["way"].startswith("default via ")
    assert facts["leased"] == "1"
    assert facts["card"].split("/")[0] == instance(daemon)["address"]
    _facts(lab, "mark")

    daemon.run("apply", "-f", "-", "--wait", text=_service(name, _WRITTEN), timeout_s=_WITHIN_S)
    assert (instance(daemon)["generation"], instance(daemon)["boot"]) == (2, 2)
    anew = _facts(lab)
    assert anew["setup_boot"] not in {"", anew["boot"], facts["setup_boot"]}
    assert (anew["marker"], anew["kept"]) == ("", "kept")
    assert anew["leased"] == "0"
    assert anew["card"] == facts["card"]
    assert anew["way"].split()[:3] == facts["way"].split()[:3]
    assert f"nameserver {_SERVER}" in anew["names"].splitlines()
    assert _DOMAIN in anew["names"]

    daemon.run("delete", "service", "shop", "--wait", timeout_s=_WITHIN_S)
    daemon.run("image", "verify", name)
