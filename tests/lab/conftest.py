"""Fixtures of the lab ring: one lab for the whole run, swept after each test, and images that are built once.

These tests run inside a lab, because drivers under test work in this process: libvirt, HAProxy and nft must be the
lab's. A run outside is an error, never a skip.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import vmrole_images

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network import egress
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.host.config import Config
from tests.lab.harness import enter
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.shop import SERVICE

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_IMAGES = enter.REPOSITORY / "build" / "images"


def pytest_collection(session: pytest.Session) -> None:
    """Refuses to collect outside a lab."""
    if not enter.inside():
        raise pytest.UsageError(
            "tests/lab runs inside a lab: make lab, or python -m tests.lab.harness -- python -m pytest tests/lab"
        )


@pytest.fixture(scope="session")
def lab_session() -> Iterator[Lab]:
    """The lab of this run, with libvirtd up."""
    with Lab() as lab:
        yield lab


@pytest.fixture
def lab(lab_session: Lab) -> Iterator[Lab]:
    """The lab for one test: libvirtd runs and nothing is in it. A test that promises to leave nothing asserts that
    itself, by `lab.leftovers()`; here it is only swept.
    """
    lab_session.start_libvirtd()
    _FORWARDING.write_text("1")  # as each lab begins; a daemon that found it off has it off again in the end
    yield lab_session
    lab_session.start_libvirtd()
    lab_session.sweep()


@pytest.fixture
def network(lab: Lab) -> Iterator[HostNetwork]:
    """The network's driver, connected to the lab's libvirtd."""
    connection = LibvirtConnection(lab.libvirt_uri, lambda name, why: None, SystemClock())
    connection.open()
    settings = Config()
    denied = egress.denied(settings.egress_deny, settings.egress_allow)
    names = Path(tempfile.mkdtemp(prefix="names"))  # pytest's own lets nobody but root through, and so not dnsmasq
    names.chmod(0o711)
    yield HostNetwork(connection, SystemClock(), denied=denied, names=names)
    shutil.rmtree(names)
    connection.close()


@pytest.fixture(scope="session")
def micro_image() -> Path:
    """The micro image, built once under build/images."""
    return vmrole_images.ensure("micro", _IMAGES).path


@pytest.fixture(scope="session")
def debian_image() -> Path:
    """The debian image, built once under build/images."""
    return vmrole_images.ensure("debian", _IMAGES).path


@pytest.fixture
def daemon(lab: Lab, tmp_path: Path) -> Iterator[RoleDaemon]:
    """A vmrole daemon that runs, with a state directory of its own; what it left running is killed afterwards."""
    daemon = lab.daemon(tmp_path / "vmrole")
    daemon.start()
    yield daemon
    daemon.kill_with_children()


@pytest.fixture
def ready(daemon: RoleDaemon, micro_image: Path) -> RoleDaemon:
    """A daemon with the service of `tests.lab.shop`, which serves."""
    daemon.run("image", "add", str(micro_image), "--name", "micro")
    daemon.run("apply", "-f", "-", "--wait", text=SERVICE)
    return daemon
