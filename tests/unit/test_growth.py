"""What measures the growth is itself in order: a small fleet serves, and does what a measure asks of it."""

from __future__ import annotations

from tests.bench.growth import Fleet

INSTANCES = 20


def test_a_reimage_is_accounted_among_a_fleet_that_serves() -> None:
    """The processor time and the decoded records of one reimage are counted, and nobody else stops serving by it."""
    with Fleet(INSTANCES, speed=20.0) as fleet:
        fleet.settle()
        service = fleet.service_of(1)
        cost = fleet.cost_of(lambda: fleet.act("reimage", f"web-0.{service}"), service)
        assert cost.with_rest_s > 0
        assert 0 < cost.decoded < 4 * INSTANCES  # Of one instance, not of all of them each time.
        assert [fleet.account(of)["serving"] for of in ("svc0", "svc1")] == [10, 10]
        assert fleet.account(service)["drained"].keys() == {f"web-0.{service}"}
