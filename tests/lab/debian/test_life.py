"""The debian image through the whole product: the real cloud-init and systemd, restart, reimage and delete."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.harness import answers
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.test_life import URL, VIP, apply, instance, markers

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


@pytest.mark.timeout(4500)  # Four starts of a whole Debian, each a minute of both cores without KVM.
def test_cloud_init_through_setup_restart_reimage_and_delete(
    lab: Lab, daemon: RoleDaemon, debian_image: Path
) -> None:
    """Setup by cloud-init, its restart, services, rotation; a reimage sets up anew and keeps local storage alone.

    That a later boot runs no setup again is `test_answers`'s.
    """
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    apply(daemon, SERVICE)
    assert (instance(daemon)["generation"], instance(daemon)["boot"]) == (1, 2)
    answers.distinct(lab.client, URL, 1, 20.0)
    sh = ["/bin/sh", "-c"]
    once = lab.guest("web-0.shop", [*sh, "hostname; wc -l < /var/lib/ran-once; systemctl is-system-running"])
    assert once.split() == ["web-0", "1", "running"]
    lab.guest("web-0.shop", [*sh, "echo kept > /marker; echo kept > /local/cache/marker; sync"])
    assert not list(daemon.run_dir.glob("discs/*/*.iso")), "the answer disc outlived its setup"

    daemon.run("reimage", "web-0", "--wait")
    assert (instance(daemon)["generation"], instance(daemon)["boot"]) == (2, 2)
    assert markers(lab, "web-0.shop").split() == ["gone", "kept"]
    daemon.run("delete", "service", "shop", "--wait")
    daemon.run("image", "verify", "debian")
