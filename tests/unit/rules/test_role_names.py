"""Whom the name of a role leads to, and which roles have none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.model import Phase
from orchestrator.rules.role_names import called, taken_by
from tests.contract.suites.network import make_service


def test_who_is_ready_is_called_and_nobody_else() -> None:
    """Serving, and well as far as is known; a role of nobody is told with nobody."""
    service, made = make_service("shop", "", 4)
    web = service.spec.roles[0]
    service = replace(service, spec=replace(service.spec, roles=(web, replace(web, name="db"))))
    phases = (Phase.SERVING, Phase.SERVING, Phase.DRAINING, Phase.STARTING)
    first, unwell, *rest = (replace(one, phase=phase) for one, phase in zip(made, phases, strict=True))
    ready = called(service, [first, replace(unwell, unwell_since_s=7.0), *rest])
    assert ready == {"web": {first.nic.address}, "db": set()}


@pytest.mark.parametrize(
    ("name", "roles", "whose"),
    [
        ("web", ("web", "db"), ""),
        ("web-0", ("web", "web-0"), "instance 0 of role web is called so"),
        ("web-99", ("web", "web-99"), "instance 99 of role web is called so"),
        ("web-00", ("web", "web-00"), ""),
        ("web-0", ("web-0",), ""),
        ("web-0", ("webs", "web-0"), ""),
        ("a-1-2", ("a-1", "a-1-2"), "instance 2 of role a-1 is called so"),
        ("localhost", ("localhost",), "each machine calls itself so"),
    ],
)
def test_a_name_is_one_thing(name: str, roles: tuple[str, ...], whose: str) -> None:
    """No role is called as an instance of another is, or would be if there were more of them."""
    assert taken_by(name, roles) == whose


def test_of_an_old_record_the_instance_has_the_name() -> None:
    """It was there before roles had names, and goes on to mean what it meant."""
    service, (web,) = make_service("shop", "", 1)
    role = service.spec.roles[0]
    service = replace(service, spec=replace(service.spec, roles=(role, replace(role, name="web-0"))))
    assert called(service, [replace(web, phase=Phase.SERVING)]).keys() == {"web"}
