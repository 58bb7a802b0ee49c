"""The daemon with no more rights than its unit gives it, through a service's life."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab.harness import answers
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import kill_naming
from tests.lab.test_life import URL, apply, instance, service
from tests.unit.test_unit_file import values


def test_the_daemon_lives_on_what_its_unit_gives_it(lab: Lab, micro_image: Path) -> None:
    """These capabilities and no new privileges: deploy, reimage, a new HAProxy, delete; nothing is left or amiss."""
    capabilities = [name.lower().removeprefix("cap_") for name in values("CapabilityBoundingSet")]
    kept = ",".join(f"+{name}" for name in capabilities)
    daemon = lab.daemon()
    daemon.confine("setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all", "--no-new-privs")
    daemon.start()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines())
    assert int(status["CapEff"], 16).bit_count() == len(capabilities)
    assert status["NoNewPrivs"] == "1"

    daemon.run("image", "add", str(micro_image), "--name", "micro")
    apply(daemon, service(2))
    assert set(answers.distinct(lab.client, URL, 2, 30.0)) == {"web-0.shop", "web-1.shop"}
    kill_naming(str(daemon.run_dir / "haproxy" / "haproxy.cfg"))
    answers.distinct(lab.client, URL, 2, 30.0)
    daemon.run("reimage", "web-0", "--wait")
    assert instance(daemon)["generation"] == 2
    daemon.run("restart", "web-1", "--wait")
    assert json.loads(daemon.run("verify", "-o", "json").stdout) == []
    daemon.run("delete", "service", "shop", "--wait")
    assert json.loads(daemon.run("verify", "-o", "json").stdout) == []
    assert "Traceback" not in daemon.last_words(100_000)
