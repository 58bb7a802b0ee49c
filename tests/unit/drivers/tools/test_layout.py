"""Where files lie: whatever may be named has its places, and nothing else has any."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.drivers.balancer.haproxy_config import checked_name
from orchestrator.drivers.network import hosts_files
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import InvalidInput
from orchestrator.model import INSTANCES_MAX, InstanceName, deployments_of, instance_name, label, pool_name

LONGEST = label("a" + "-" * 38 + "z")
LAYOUT = Layout(Path("/state"), Path("/run"))


@pytest.mark.parametrize("deployment", deployments_of(LONGEST), ids=["first", "second"])
def test_the_longest_names_that_a_file_may_say_have_their_places(deployment: str) -> None:
    """An instance's is longer than its role's, and that of a second deployment than its service's."""
    name = instance_name(deployment, LONGEST, INSTANCES_MAX - 1)
    for place in (
        LAYOUT.overlay_dir(name),
        LAYOUT.local_storage(name, LONGEST),
        LAYOUT.identity(name),
        LAYOUT.disc_dir(name),
        LAYOUT.nvram_dir(name),
        LAYOUT.console(name),
        LAYOUT.evidence(name),
        hosts_files.directory(LAYOUT.names, deployment),
    ):
        assert name in place.parts or place.stem == name or place.name == deployment
    assert checked_name(pool_name(deployment, LONGEST, LONGEST)).startswith(deployment)


@pytest.mark.parametrize(
    "name",
    ["../x.shop", "web-0../x", "web-0.shop/..", ".shop", "web-0.", "web-0.Shop", f"{'a' * 64}.shop", "web-0.\n"],
)
def test_what_no_instance_is_called_has_none(name: str) -> None:
    """Once more, whoever has checked it before."""
    with pytest.raises(InvalidInput):
        LAYOUT.overlay_dir(InstanceName(name))
    with pytest.raises(InvalidInput):
        hosts_files.directory(LAYOUT.names, name)
