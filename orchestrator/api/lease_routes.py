"""Leases: an instance for one client, for a while, and made anew after him."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field, StrictBool

from orchestrator.api.guard import repeated, said
from orchestrator.api.heeded import WHOLE_BODY
from orchestrator.api.peers import caller_of
from orchestrator.control.requests import Control
from orchestrator.model import Lease
from orchestrator.model.lease import LONGEST_S


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeaseView:
    """A lease: what was asked for, and what its client has. Times in seconds since the epoch."""

    id: str
    service: str
    role: str
    for_s: float  # from when it is given
    asked_at_s: float
    by: int | None  # uid
    attended: bool  # it ends when nothing is heard of its client for half a minute
    place: int  # in the queue, 1 is next; 0: it waits for nobody else
    waiting: str  # why it is not given yet, in words; "" once it is
    given: bool
    given_at_s: float  # 0 while it is not given, as the next two
    until_s: float
    left_s: float  # until its end
    instance: str  # "" while it is not given, as the next two
    hostname: str
    address: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeaseWish:
    """The body that asks for an instance of a service for a while; `role` "": of the only one it has."""

    __pydantic_config__ = WHOLE_BODY

    service: str
    role: str = ""
    for_s: Annotated[float, Field(strict=True, ge=0, le=LONGEST_S, allow_inf_nan=False)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attends:
    """The body by which a client says that he is there; false: that he says so no more, and has it by its time."""

    __pydantic_config__ = WHOLE_BODY

    attended: StrictBool = True


def lease_routes(control: Control) -> APIRouter:
    """The routes under /v1/leases."""
    router = APIRouter(prefix="/v1/leases", tags=["leases"])

    @router.get("")
    def list_leases(service: Annotated[str, Query(description='"" for all')] = "") -> list[LeaseView]:
        """Those that have not ended, in the order in which they were asked for."""
        return [_view(control, one) for one in control.leases(service)]

    @router.post("", status_code=201)
    def ask_for_lease(request: Request, wish: LeaseWish) -> LeaseView:
        """Asks for an instance: it is given when one is free and has left rotation, first come, first served.

        Who asks says that he is there by PUT every few seconds, or it ends.
        """
        said(request, "lease", wish.service)
        lease = control.lend(wish.service, role=wish.role, for_s=wish.for_s, by=caller_of(request).uid)
        return _view(control, lease)

    @router.get("/{lease_id}")
    def show_lease(lease_id: str) -> LeaseView:
        """One lease; 404 when it has ended. To look at it keeps it from no end."""
        return _view(control, control.lease(lease_id))

    @router.put("/{lease_id}")
    def attend_lease(request: Request, lease_id: str, attends: Attends) -> LeaseView:
        """Its client is there; or, with false, leaves it to its time, which he can once it is given."""
        if attends.attended:
            repeated(request)
        else:
            said(request, "lease", lease_id, "by its time")
        return _view(control, control.attend(lease_id, on=attends.attended))

    @router.delete("/{lease_id}")
    def end_lease(request: Request, lease_id: str) -> LeaseView:
        """Ends it now; the instance is made anew. Answers with the lease as it was, 404 when it has ended."""
        said(request, "lease", "end", lease_id)
        lease = control.lease(lease_id)
        found = _view(control, lease)
        control.end_lease(lease_id)
        return found

    return router


def _view(control: Control, lease: Lease) -> LeaseView:
    place, waiting = control.lease_place(lease)
    instance = control.leased_instance(lease)
    return LeaseView(
        id=lease.id,
        service=control.address_of(lease.service),
        role=lease.role,
        for_s=lease.for_s,
        asked_at_s=lease.asked_at_s,
        by=lease.by,
        attended=lease.attended,
        place=place,
        waiting=waiting,
        given=lease.given,
        given_at_s=lease.given_at_s,
        until_s=lease.until_s,
        left_s=max(0.0, lease.until_s - control.now_s()) if lease.given else 0.0,
        instance=instance.name if instance else "",
        hostname=instance.hostname if instance else "",
        address=instance.nic.address if instance else "",
    )
