"""Lives with blobs, and trouble before and after every call that has an effect: what a guest has put by is there as
long as its instance or role is in its service, whatever becomes of its VM, and not a turn longer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from orchestrator.control.guest_blobs import GuestBlobs
from orchestrator.drivers.fake import FakeBlobs
from orchestrator.errors import NotFound, Transient
from orchestrator.model import InstanceName, Service, Verb
from orchestrator.model.blob import BlobOwner, Of
from tests.contract.suites.blobs import held, wish
from tests.world.fabric import Fabric, Trouble, die, hang_up, web_role

WEB, SIBLING = InstanceName("web-0.shop"), InstanceName("web-1.shop")


def put(fabric: Fabric, name: InstanceName, of: Of, data: bytes) -> None:
    """As its guest does."""
    desk = GuestBlobs(fabric.present, FakeBlobs(fabric.world))
    desk.part(name, of, wish("state", data), 0, data)


def there(fabric: Fabric) -> dict[str, bytes]:
    """What everybody has."""
    blobs = FakeBlobs(fabric.world)
    return {str(one.owner): held(blobs, one.owner)["state"] for one in blobs.inventory()}


def begun(trouble: Trouble | None = None) -> Fabric:
    """A service of two roles, all of whose instances and roles have put something by."""
    fabric = Fabric(trouble)
    fabric.deploy(web_role(), web_role(name="db", instances=1, endpoints=()))
    fabric.until(lambda: len(fabric.instances()) == 3)
    for one in fabric.instances():
        put(fabric, one.name, Of.INSTANCE, one.name.encode())
    put(fabric, WEB, Of.ROLE, b"web's")
    put(fabric, InstanceName("db-0.shop"), Of.ROLE, b"db's")
    return fabric


ALL = {
    "web-0.shop": b"web-0.shop",
    "web-1.shop": b"web-1.shop",
    "db-0.shop": b"db-0.shop",
    "role web.shop": b"web's",
    "role db.shop": b"db's",
}


def life(fabric: Fabric) -> None:
    """Deployed, restarted, reimaged and rebuilt; scaled; a role taken out of the file; and deleted."""
    fabric.until(fabric.quiet)
    for verb in (Verb.RESTART, Verb.REIMAGE, Verb.REBUILD):
        fabric.act(verb, "web.shop")
        fabric.until(fabric.quiet)
        assert there(fabric) == ALL, verb
    fabric.control.scale("shop", {"web": 1})
    fabric.until(lambda: fabric.quiet() and len(fabric.instances()) == 2)
    left = {name: data for name, data in ALL.items() if name != SIBLING}
    assert there(fabric) == left
    fabric.control.scale("shop", {"web": 2})
    fabric.until(fabric.quiet)
    assert there(fabric) == left, "one of that name, and not the one that was"
    fabric.deploy(web_role())
    fabric.until(lambda: there(fabric).keys() == {WEB, "role web.shop"})
    fabric.until(fabric.quiet)
    fabric.remove()
    fabric.until(lambda: not fabric.present.all(Service))
    fabric.world.nothing_is_left()


@functools.cache
def effects() -> int:
    """How many calls with an effect an untroubled life has."""
    fabric = begun()
    life(fabric)
    assert "erase_blobs" in fabric.trouble.verbs
    return len(fabric.trouble.verbs)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("strike", [die, hang_up])
def test_trouble_at_every_erasing(after: bool, strike: Callable[[], None]) -> None:
    """What goes is gone in the end, and nothing else; of the other calls every eightieth is struck."""
    fabric = begun()
    life(fabric)
    erasings = {number for number, verb in enumerate(fabric.trouble.verbs, 1) if verb == "erase_blobs"}
    for at in sorted(erasings | set(range(1, effects() + 1, 80))):
        life(begun(Trouble(at, after, strike)))


def test_who_goes_puts_nothing_any_more() -> None:
    """It would be left behind."""
    fabric = begun()
    fabric.until(fabric.quiet)
    fabric.control.scale("shop", {"web": 1})
    for of in Of:
        with pytest.raises(NotFound):
            put(fabric, SIBLING, of, b"late")
    with pytest.raises(NotFound):
        put(fabric, InstanceName("web-7.shop"), Of.INSTANCE, b"nobody's")


def test_a_disk_that_does_not_take_blobs_keeps_nobody_from_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that is new serves; what the one that went had together goes when it can."""
    fabric = begun()
    fabric.until(fabric.quiet)
    erase, faulty = FakeBlobs.erase_blobs, [Of.ROLE]

    def erased(blobs: FakeBlobs, owner: BlobOwner) -> None:
        if owner.of in faulty:
            raise Transient("Input/output error", hint="look at STATE/blobs")
        erase(blobs, owner)

    monkeypatch.setattr(FakeBlobs, "erase_blobs", erased)
    fabric.deploy(web_role(), web_role(name="new", instances=1, endpoints=()))
    fabric.until(lambda: {one.role_name for one in fabric.instances()} == {"web", "new"})
    fabric.control.scale("shop", {"new": 2})
    fabric.until(lambda: sum(one.role_name == "new" and one.serving for one in fabric.instances()) == 2)
    assert "role db.shop" in there(fabric)
    faulty.clear()
    fabric.until(lambda: "role db.shop" not in there(fabric))
