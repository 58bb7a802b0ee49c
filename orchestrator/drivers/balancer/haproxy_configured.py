"""What HAProxy was given, and is given: its configuration, and what has to outlive a reload beside it."""

from __future__ import annotations

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

    def text(self, shape: Shape) -> str:
        """Without an endpoint whose certificate is nowhere any more: the others are served."""
        files = {one.pool: self._certificates.files(one) for one in shape.frontends if one.certificates}
        served = tuple(one for one in shape.frontends if files.get(one.pool, True))
        host = self._surroundings(self._process.jail)
        return haproxy_config.render(shape.with_frontends(served), self._process.socket, host, files)

    def differs(self, text: str) -> bool:
        """Whether HAProxy was given another configuration last, but for its members."""
        return haproxy_config.frame(text) != haproxy_config.frame(self._process.configured())

    def only_leads_elsewhere(self, before: Shape, after: Shape) -> bool:
        """Whether HAProxy runs with `before`, and `after` is nothing but other pools at some places."""
        alike = haproxy_leads.are_alike(before.frontends, after.frontends) and self._process.pid() is not None
        return alike and not self.differs(self.text(after)) and self._process.settled()

    def lead(self, shape: Shape) -> None:
        """Has each place lead to its pool, for what runs and for the next worker."""
        self._process.note_leads(haproxy_leads.text(shape))
        self._process.lead(haproxy_leads.leads(shape))

    def load(self, shape: Shape, text: str, was: Sequence[Frontend]) -> None:
        """Starts or reloads it. What affinity has learned of clients is passed on: who drains would lose those whom
        it has.
        """
        known = was if self._process.pid() is not None else ()
        pools = {one.pool for one in known if one.affinity_s is not None}
        clients = self._members.clients(one.pool for one in shape.frontends if one.pool in pools)
        self._process.load(text, haproxy_leads.text(shape))
        self._certificates.sweep(shape.frontends)
        self._members.teach(clients)
        self._members.put_checks_off()
