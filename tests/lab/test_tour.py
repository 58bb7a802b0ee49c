"""vagrant/tour.md cannot rot: each of its commands is typed, and prints what stands below it."""

from __future__ import annotations

from pathlib import Path

from tests.lab import tour
from tests.lab.harness.lab import Lab

_ANEW = "to write the outputs anew: python -m tests.lab.harness -- python -m tests.lab.tour"


def test_each_command_prints_what_the_tour_says(lab: Lab, micro_image: Path, tmp_path: Path) -> None:
    """In a host and outside of it, with the addresses of the Vagrant lab."""
    daemon = lab.daemon(tmp_path / "vmrole", vip_pool=tour.POOL)
    home = tmp_path / "home"
    home.mkdir()
    place = tour.Place(lab, daemon, home)
    try:
        place.prepare(micro_image)
        for command in tour.commands(tour.TOUR.read_text()):
            printed = place.typed(command)
            assert tour.steady(printed.splitlines()) == tour.steady(command.prints), (
                f"{tour.TOUR.name}:{command.line}: {command.text}\n{printed}\n{_ANEW}"
            )
    finally:
        place.clear()
        daemon.kill_with_children()
