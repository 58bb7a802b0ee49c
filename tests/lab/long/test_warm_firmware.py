"""Guests with UEFI and a TPM on the warm and the prepared road: what both remember comes back with the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import VIP, apply, ready
from tests.lab.uefi_disk import BOOTS, with_uefi

__all__ = ["ready"]  # fixtures
ROADS: Final = {"warm": "warm, from its checkpoint", "prepared": "prepared, a boot from its checkpoint"}
_ROLE: Final = """  {road}:
    image: secured
    reimage: {road}
    size: {{vcpus: 1, memory: 192 MiB}}
    endpoints: {{http: {{port: {port}, target: 8080, protocol: http, probe: {{path: /healthz}}}}}}
    setup: {{within: 20 min}}
    ready: {{within: 20 min}}
    restart: {{within: 20 min}}
    answers:
      userData: |
        #!/bin/sh
        {define}
        {write}
"""
_PASSWORD: Final = "00000009 40000009 0000 00 0000"
_OWNER, _INDEX = "40000001", "01500000"


def _asked(code: str, rest: str) -> str:
    """A shell's word that sends a command with sessions (TPM 2.0, part 1, 18) and prints the answer's digits."""
    body = bytes.fromhex(rest)
    command = bytes.fromhex("8002") + (len(body) + 10).to_bytes(4) + bytes.fromhex(code) + body
    octal = "".join(f"\\{byte:03o}" for byte in command)
    return f"(printf '{octal}' >&3; dd bs=4096 count=1 status=none <&3 | od -An -v -tx1 | tr -d ' \\n') 3<>/dev/tpm0"


def _written(eight: str) -> str:
    """Writes that to the TPM's own memory, which outlives its power."""
    return _asked("00000137", f"{_OWNER} {_INDEX} {_PASSWORD} 0008 {eight.encode().hex()} 0000")


DEFINE: Final = _asked("0000012a", f"{_OWNER} {_PASSWORD} 0000 000e {_INDEX} 000b 02060006 0000 0008")
READ: Final = _asked("0000014e", f"{_OWNER} {_INDEX} {_PASSWORD} 0008 0000")


def remembered(lab: Lab, name: str) -> tuple[str, int]:
    """What its TPM was given to keep, and how often its firmware has booted, as the guest was told at its boot."""
    answer = bytes.fromhex(lab.guest(name, ["/bin/sh", "-c", READ]))
    assert answer[6:10] == bytes(4), f"the TPM refuses: {answer.hex()}"
    line = lab.guest(name, ["/bin/cat", "/proc/cmdline"])
    return answer[16:24].decode(), line.partition(BOOTS)[2].split()[0].count("I")


@pytest.mark.timeout(5400)  # A firmware takes half a minute of a core for each boot without KVM.
def test_both_remember_what_they_did(lab: Lab, ready: RoleDaemon, micro_image: Path, tmp_path: Path) -> None:
    """When the checkpoint was taken, whatever was written since; and all of it goes with the instance."""
    image = with_uefi(micro_image, tmp_path)
    ready.run("image", "add", str(image), "--name", "secured", "--firmware", "uefi", "--tpm")
    roles = (
        _ROLE.format(road=road, port=80 + number, define=DEFINE, write=_written("original"))
        for number, road in enumerate(ROADS)
    )
    apply(ready, f"service: shop\nvip: {VIP}\nroles:\n{''.join(roles)}")
    checkpoints = ready.state / "lib" / "checkpoints"
    kept = {}
    for road in ROADS:
        name = f"{road}-0.shop"
        files = sorted(path.name for path in (checkpoints / name).iterdir())
        assert files == ["1.board", *(["1.memory"] if road == "warm" else []), "1.qcow2"]
        assert (checkpoints / name / "1.board").stat().st_mode & 0o777 == 0o600, "a TPM keeps secrets"
        kept[road] = remembered(lab, name)
    assert kept == {"warm": ("original", 2), "prepared": ("original", 3)}

    for road, words in ROADS.items():
        name = f"{road}-0.shop"
        lab.guest(name, ["/bin/sh", "-c", _written("changed!")])
        assert remembered(lab, name)[0] == "changed!"
        said = ready.run("reimage", name.removesuffix(".shop"), "--wait").stderr
        assert f"{name}: {words}" in said, said
        assert remembered(lab, name) == kept[road]
    assert json.loads(ready.run("verify", "-o", "json").stdout) == []

    ready.run("restart", "warm-0", "--wait")
    assert remembered(lab, "warm-0.shop") == ("original", 3), "what its memory brought is what is on its disk"
    ready.run("delete", "service", "shop", "--wait")
    assert not list(checkpoints.iterdir())
    assert not list(Path("/var/lib/libvirt/swtpm").iterdir())
    assert not list((ready.state / "lib" / "nvram").iterdir())
