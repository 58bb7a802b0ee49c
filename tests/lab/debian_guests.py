"""A whole Debian as a guest, asked through its agent."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.lab.booted import Guest
from tests.lab.services import VIP

SERVICE = f"""service: shop
vip: {VIP}
roles:
  web:
    image: debian
    instances: 1
    size: {{vcpus: 2, memory: 512 MiB}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /}}}}
    localStorage:
      cache: {{size: 32 MiB}}
    setup: {{within: 30 min}}
    ready: {{units: [page.service], command: [/usr/bin/test, -s, /srv/page/index.html], within: 20 min}}
    answers:
      userData: |
        #cloud-config
        write_files:
          - path: /srv/page/index.html
            content: '{{"instance": "web-0.shop"}}'
          - path: /etc/systemd/system/page.service
            content: |
              [Unit]
              After=network.target
              [Service]
              ExecStart=/usr/bin/python3 -m http.server 8080 --directory /srv/page
              [Install]
              WantedBy=multi-user.target
        runcmd:
          - [sh, -c, "date +%s%N >> /var/lib/ran-once"]
          - [systemctl, enable, page.service]
"""


BOOT_S = 900.0  # 30 s on a quiet machine, 370 s were seen where others used the same two cores.


OFF_S = 120.0


_MIB = 1 << 20


RAW = bytes(1 << 19) + b"orders"  # in the first MiB, where no signature is


KEPT_MIB = 64  # as an earlier generation had it


MAC = "52:54:00:12:34:56"  # qemu's default for the first card


class Debian(Guest):
    """A guest with three local storages: a blank one, one of an earlier generation, and raw data of no kind."""

    def lay(self, base: Path) -> None:
        """As a guest of the first generation that finds one storage in use."""
        super().lay(base)
        content = self.place / "content"
        content.mkdir()
        (content / "marker").write_text("from an earlier generation\n")
        with self._kept.open("wb") as stream:
            stream.truncate(KEPT_MIB * _MIB)
        subprocess.run(["mkfs.ext4", "-q", "-d", content, self._kept], check=True, timeout=300)
        os.truncate(self._kept, 4 * self._kept.stat().st_size)  # as the host does it for a new generation
        self.raw.write_bytes(RAW.ljust(16 * _MIB, b"\0"))

    @property
    def _kept(self) -> Path:
        return self.place / "kept.raw"

    @property
    def raw(self) -> Path:
        """The disk with data that blkid knows nothing of."""
        return self.place / "raw.raw"

    def _command(self, disc: Path | None) -> list[str]:
        command = [argument.replace("serial=ls-cache", "serial=ls-blank") for argument in super()._command(disc)]
        for number, name, file in ((2, "kept", self._kept), (3, "raw", self.raw)):
            command += ["-drive", f"if=none,id=d{number},file={file},format=raw"]
            command += ["-device", f"virtio-blk-pci,drive=d{number},serial=ls-{name}"]
        return command


def past_setup(guest: Guest) -> bool | None:
    """True in another boot than the setup boot."""
    setup_boot = guest.read("/var/lib/vmrole/setup-boot")
    return True if guest.read("/proc/sys/kernel/random/boot_id") != setup_boot else None


def settled(guest: Guest) -> bool | None:
    """True when systemd has started everything."""
    return True if guest.sh("systemctl is-system-running") in ("running", "degraded") else None
