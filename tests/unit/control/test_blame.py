"""What follows where something shared is to blame, in the fake world."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.control import records
from orchestrator.control.catalogue import Catalogue
from orchestrator.control.healing import Budget
from orchestrator.control.loop import Reconciler
from orchestrator.drivers.tools import pressure
from orchestrator.errors import Whose
from orchestrator.model import Image, Phase, Progress, Ready, ServiceSpec, Setup, Size, Upgrade
from tests.unit.control.fleet import WEB, serving
from tests.world.fabric import Fabric, web_role
from tests.world.images import image

FRESH = "b" * 64


def with_a_bad_image() -> Fabric:
    """A rollout to an image with which nothing starts has halted."""
    fabric = serving(4, ready=Ready(within_s=60.0))
    fabric.world.images.add(FRESH)
    fabric.store.commit([records.put(image(sha256=FRESH, names=("fresh",)))])
    fabric.world.faults.bad_images.add(FRESH)
    fabric.deploy(web_role(instances=4, ready=Ready(within_s=60.0), image="fresh", image_sha256=FRESH))
    fabric.until(lambda: fabric.control.rollouts("shop")[-1].progress is Progress.FAILED)
    return fabric


def test_a_bad_image_is_suspect_and_its_rollout_halts() -> None:
    """One instance pays for it; it is told in a sentence, and the others serve with the old one."""
    fabric = with_a_bad_image()
    suspect = fabric.present.load(Image, FRESH).suspect
    assert "with its image, which is new" in suspect
    assert "the 3 that have the old one serve" in suspect
    assert [one.phase for one in fabric.instances()].count(Phase.SERVING) == 3
    (failed,) = [one for one in fabric.instances() if one.has_failed]
    assert failed.failed_by is not None
    assert "which is new" in fabric.control.rollouts("shop")[-1].message
    assert any("the image is suspect" in event.message for event in fabric.control.events("fresh"))
    assert not fabric.present.load(Image, fabric.instances()[1].role.image_sha256).suspect
    generation = failed.generation
    for _ in range(900):
        fabric.round(2.0)
    assert fabric.instance(failed.name).generation == generation, "it is not made anew"


def test_an_image_that_is_trusted_again_is_tried_again() -> None:
    """`image trust` takes it back."""
    fabric = with_a_bad_image()
    fabric.world.faults.bad_images.clear()
    catalogue = Catalogue(fabric.present, fabric.world, files=None)  # type: ignore[arg-type] # no bytes are touched
    assert not catalogue.trust("fresh").suspect
    fabric.until(lambda: all(one.phase is Phase.SERVING for one in fabric.instances()))


def test_what_failed_by_an_image_together_is_not_made_anew() -> None:
    """Two failed at the same time, and neither was made anew: a quarter of an hour later the image is no better."""
    fabric = serving(4, ready=Ready(within_s=60.0))
    fabric.world.images.add(FRESH)
    fabric.store.commit([records.put(image(sha256=FRESH, names=("fresh",)))])
    fabric.world.faults.bad_images.add(FRESH)
    role = web_role(instances=4, ready=Ready(within_s=60.0), image="fresh", image_sha256=FRESH)
    upgrade = Upgrade(max_unavailable=2)
    fabric.control.apply_spec(ServiceSpec(name="shop", vip="203.0.113.10", roles=(role,), upgrade=upgrade))
    fabric.until(lambda: fabric.control.rollouts("shop")[-1].progress is Progress.FAILED)
    fabric.until(lambda: [one.phase for one in fabric.instances()].count(Phase.FAILED) == 2)
    generations = {one.name: one.generation for one in fabric.instances()}
    for _ in range(900):
        fabric.round(2.0)
    assert {one.name: one.generation for one in fabric.instances()} == generations


def test_what_failed_by_its_answers_is_tried_again_in_time() -> None:
    """Four times an hour at the most, and its rollout stays halted: nobody says when a passing trouble is over."""
    fabric = serving(4)
    fabric.world.faults.setup_never_ends.add(WEB)
    fabric.deploy(web_role(instances=4, size=Size(vcpus=1, memory_mib=256), setup=Setup(within_s=60.0)))
    fabric.until(lambda: fabric.instance().failed_by is not None and fabric.instance().has_failed, rounds=1500)
    assert fabric.instance().failed_by is not None
    assert "with its answers, which are new" in fabric.instance().failure
    generation, began_s = fabric.instance().generation, fabric.world.time_s
    fabric.until(lambda: fabric.world.time_s >= began_s + 3600.0, rounds=5000)
    assert generation + 2 <= fabric.instance().generation <= generation + 4
    assert [one.phase for one in fabric.instances()].count(Phase.SERVING) == 3
    assert fabric.control.rollouts("shop")[-1].progress is Progress.FAILED
    fabric.world.faults.setup_never_ends.clear()
    fabric.until(lambda: fabric.instance().serving, rounds=1500)


def both_fail_in_setup() -> Fabric:
    """All of two services failed in their setup at once: the host is to blame, as far as anybody can see."""
    fabric = Fabric()
    for number, name in enumerate(("shop", "bank")):
        fabric.world.faults.setup_never_ends.update({f"web-0.{name}", f"web-1.{name}"})
        role = web_role(setup=Setup(within_s=1000.0))
        fabric.deploy(role, name=name, vip=f"203.0.113.{10 + number}")
    fabric.until(lambda: all(one.has_failed for one in fabric.instances()), rounds=2000)
    fabric.until(lambda: all("fell ill at once" in one.waiting for one in fabric.instances()))
    return fabric


def test_what_failed_by_the_host_is_tried_again_in_time() -> None:
    """Nobody tells when whatever it was is over: each of them would wait for the others for ever."""
    fabric = both_fail_in_setup()
    fabric.world.faults.setup_never_ends.clear()
    began_s = fabric.world.time_s
    for _ in range(150):
        fabric.round(2.0)
    assert all(one.has_failed for one in fabric.instances()), "at once is not when it is tried again"
    fabric.until(fabric.quiet, rounds=1500)
    assert fabric.world.time_s - began_s < 1500.0


@pytest.mark.parametrize("set_by_s", [3600.0, -3600.0])
def test_a_clock_that_is_set_keeps_nobody_waiting(set_by_s: float) -> None:
    """Neither for the hour that it was set back, nor by what the hour it was set on makes old."""
    fabric = both_fail_in_setup()
    fabric.world.faults.setup_never_ends.clear()
    fabric.round()
    fabric.world.set_back_s = -set_by_s
    fabric.until(fabric.quiet, rounds=1500)


def test_a_host_that_is_short_of_memory_makes_nothing_anew() -> None:
    """What is ill waits, says whose fault it is, and is healed when there is memory again."""
    fabric = serving(3)
    strain = ["memory: for 40 % of the last minute nothing could go on without it"]
    budget = Budget(strain=lambda: strain[0])
    fabric.daemon = Reconciler(fabric.store, fabric.host, workers=1, budget=budget)
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.check_fails.add(WEB)
    for _ in range(400):
        fabric.round(2.0)
    assert fabric.world.machines[WEB].boots == boots
    assert fabric.instance().cause is not None
    assert fabric.instance().cause.whose is Whose.HOST
    assert "It is the host's turn." in fabric.control.why("web-0")
    strain[0] = ""
    fabric.until(lambda: fabric.world.machines[WEB].boots > boots)


def test_who_only_the_balancer_finds_ill_is_not_restarted() -> None:
    """Our own probe passes: out of rotation, told as that, and back when the balancer is content."""
    fabric = serving(3)
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.balancer_blind.add(WEB)
    for _ in range(400):
        fabric.round(2.0)
    assert (fabric.world.machines[WEB].boots, fabric.instance().strikes) == (boots, 0)
    assert "It is the balancer's turn." in fabric.control.why("web-0")
    fabric.world.faults.balancer_blind.clear()
    fabric.until(fabric.quiet)


@pytest.mark.parametrize(
    ("said", "strained"),
    [
        ("some avg10=0.00 avg60=99.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=10.50 avg300=0.00 total=1\n", True),
        ("some avg10=0.00 avg60=99.00 avg300=0.00 total=1\nfull avg10=99.0 avg60=9.99 avg300=0.00 total=1\n", False),
        ("nonsense", False),
        (None, False),
    ],
)
def test_the_kernel_says_that_memory_is_short(said: str | None, strained: bool, tmp_path: Path) -> None:
    """By the part of a minute in which nothing could go on; where it says nothing, nothing is assumed."""
    file = tmp_path / "memory"
    if said is not None:
        file.write_text(said)
    assert bool(pressure.memory_strain(file)) is strained
