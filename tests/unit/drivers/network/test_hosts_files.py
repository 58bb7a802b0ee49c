"""Files with the names of roles: what is in them, what is left alone, and what a name cannot do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.network import hosts_files
from orchestrator.errors import InvalidInput, Transient
from orchestrator.model import Service
from tests.contract.suites.network import make_service


@pytest.fixture
def shop(tmp_path: Path) -> Service:
    """A service whose directory is there."""
    service, _ = make_service("shop", "", 0)
    for _ in range(2):
        hosts_files.make(tmp_path / "names", "shop")
    return service


def test_a_line_for_each_address_and_no_write_for_nothing(shop: Service, tmp_path: Path) -> None:
    """In the order of addresses; a file that is as it shall be stays the same file; one of no role goes."""
    root, file = tmp_path / "names", tmp_path / "names" / "shop" / "web"
    hosts_files.write(root, shop, {"web": {"10.90.0.11", "10.90.0.9"}, "db": set()})
    assert file.read_text() == "10.90.0.9 web web.shop\n10.90.0.11 web web.shop\n"
    assert [one.name for one in file.parent.iterdir()] == ["web"]
    (file.parent / "other").write_text("192.0.2.1 web\n")
    before = file.stat().st_ino
    hosts_files.write(root, shop, {"web": {"10.90.0.9", "10.90.0.11"}})
    assert (file.stat().st_ino, [one.name for one in file.parent.iterdir()]) == (before, ["web"])
    file.write_text("192.0.2.1 web\n")
    hosts_files.write(root, shop, {"web": {"10.90.0.9"}})
    assert file.read_text() == "10.90.0.9 web web.shop\n"
    hosts_files.remove(root, "shop")
    hosts_files.write(root, shop, {"web": {"10.90.0.9"}})
    assert list(hosts_files.services(root)) == []


def test_a_second_deployment_is_called_as_its_instances_are(shop: Service, tmp_path: Path) -> None:
    """By the service's name, and by its own."""
    second = replace(shop, spec=replace(shop.spec, name="shop--b"))
    hosts_files.make(tmp_path / "names", "shop--b")
    hosts_files.write(tmp_path / "names", second, {"web": {"10.90.1.10"}})
    assert (tmp_path / "names/shop--b/web").read_text() == "10.90.1.10 web web.shop web.shop--b\n"


def test_no_name_leads_out_of_the_directory(shop: Service, tmp_path: Path) -> None:
    """Whoever it came from."""
    with pytest.raises(InvalidInput):
        hosts_files.write(tmp_path / "names", shop, {"../web": {"10.90.0.9"}})
    with pytest.raises(InvalidInput):
        hosts_files.directory(tmp_path, "../shop")


def test_what_cannot_be_written_is_told_with_its_place(shop: Service, tmp_path: Path) -> None:
    """A directory where a file ought to be."""
    (tmp_path / "names/shop/web").mkdir()
    with pytest.raises(Transient, match="names/shop"):
        hosts_files.write(tmp_path / "names", shop, {})
