"""What HAProxy was given, and is given: its configuration, and what has to outlive a reload beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.drivers.balancer import haproxy_config, haproxy_leads
from orchestrator.drivers.balancer.desired import Shape
from orchestrator.drivers.balancer.haproxy_host import Surroundings
from orchestrator.drivers.balancer.haproxy_members import Members
from orchestrator.drivers.balancer.haproxy_process import HaproxyProcess
from orchestrator.drivers.balancer.haproxy_tls import Certificates
from orchestrator.model import Frontend


class Configured:
    """The configuration of one HAProxy. Not thread-safe."""

    def __init__(
        self,
        process: HaproxyProcess,
        members: Members,
        certificates: Certificates,
        surroundings: Callable[[Path], Surroundings],
    ) -> None:
        self._process = process
        self._members = members
        self._certificates = certificates
        self._surroundings = surroundings
        self.behind = False  # whether places lead where they shall, and HAProxy has not been given the rest yet

    def text(self, shape: Shape) -> str:
        """Without an endpoint whose certificate is nowhere any more: the others are served."""
        files = {one.pool: self._certificates.files(one) for one in shape.frontends if one.certificates}
        served = tuple(one for one in shape.frontends if files.get(one.pool, True))
        host = self._surroundings(self._process.jail)
        return haproxy_config.render(shape.with_frontends(served), self._process.socket, host, files)

    def differs(self, text: str) -> bool:
        """Whether HAProxy was given another configuration last, but for its members."""
        return haproxy_config.frame(text) != haproxy_config.frame(self._process.configured())

    def leads_elsewhere(self, before: Shape, after: Shape, last: haproxy_leads.Last) -> bool:
        """Whether HAProxy runs with `before`, and has places that shall lead elsewhere; `last` is to do that.

        Where that is not all of it, the rest is for `catch_up`.
        """
        if self._process.pid() is None:
            return False
        all_of_it = haproxy_leads.are_alike(before.frontends, after.frontends) and not self.differs(self.text(after))
        leading = haproxy_leads.leads(after) if all_of_it else haproxy_leads.exchanged(before, after)
        runs = all_of_it or (leading and not self.differs(self.text(before)))
        if not runs or not self._process.settled():
            return False
        self._process.note_leads(haproxy_leads.text(leading))
        last.act = functools.partial(self._process.lead, leading)
        self.behind = not all_of_it
        return True

    def catch_up(self, shape: Shape, was: Sequence[Frontend]) -> None:
        """Gives HAProxy what leading elsewhere has left."""
        if self.behind:
            self.load(shape, self.text(shape), was)

    def lead(self, shape: Shape) -> None:
        """Has each place lead to its pool, for what runs and for the next worker."""
        self._process.note_leads(haproxy_leads.text(haproxy_leads.leads(shape)))
        self._process.lead(haproxy_leads.leads(shape))

    def load(self, shape: Shape, text: str, was: Sequence[Frontend]) -> None:
        """Starts or reloads it. What affinity has learned of clients is passed on: who drains would lose those whom
        it has.
        """
        known = was if self._process.pid() is not None else ()
        pools = {one.pool for one in known if one.affinity_s is not None}
        clients = self._members.clients(one.pool for one in shape.frontends if one.pool in pools)
        self._process.load(text, haproxy_leads.text(haproxy_leads.leads(shape)))
        self.behind = False
        self._certificates.sweep(shape.frontends)
        self._members.teach(clients)
        self._members.put_checks_off()
