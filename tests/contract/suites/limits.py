"""How many connections an endpoint may have, and whose: what every balancer that carries connections keeps."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import pytest

from orchestrator.model import Frontend, Standing
from orchestrator.ports import Balancer
from tests.world.endpoints import patiently
from tests.world.waiting import comes_true

ANSWER_S: Final = 2.0  # A connection that waits to be accepted is not answered.
WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Front:
    """A balancer, an endpoint of tcp without limits, its member, who answers, and two clients."""

    balancer: Balancer
    endpoint: Frontend
    join: Callable[[], None]
    connect: Callable[[int], socket.socket]  # from the client's number, 0 or 1
    clients: tuple[str, str]  # their addresses


class Clients:
    """Clients that open connections and keep them."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._stack = contextlib.ExitStack()

    def get(self, client: int, count: int) -> int:
        """How many of so many new connections are answered; those are kept."""
        return len([talk for talk in (self._begin(client) for _ in range(count)) if talk is not None])

    def _begin(self, client: int) -> socket.socket | None:
        with contextlib.ExitStack() as undo, contextlib.suppress(OSError):
            talk = undo.enter_context(self._front.connect(client))
            talk.settimeout(ANSWER_S)
            talk.sendall(b"x")
            if talk.recv(100):
                self._stack.push(undo.pop_all())
                return talk
        return None

    def get_in_the_end(self, client: int, count: int) -> bool:
        """Whether so many are answered, one after the other, before it takes too long."""
        end_s = time.monotonic() + WITHIN_S
        while count and time.monotonic() < end_s:
            count -= self.get(client, 1)
        return count == 0

    def end(self) -> None:
        """Closes all that are open."""
        self._stack.close()


class LimitsContract:
    """Subclasses give the fixture `front`."""

    @pytest.fixture
    def clients(self, front: Front) -> Iterator[Clients]:
        """Their connections end with the test."""
        opening = Clients(front)
        yield opening
        opening.end()

    def serve(self, front: Front, most: int | None, of_a_client: int | None) -> None:
        """The endpoint has these limits, and its member."""
        limited = replace(front.endpoint, connections_max=most, client_connections_max=of_a_client)
        patiently(lambda: front.balancer.shape([limited]))
        front.join()

    def test_so_many_of_a_client_and_so_many_of_all(self, front: Front, clients: Clients) -> None:
        """Whoever has his own number gets no more, others do until all together have theirs."""
        self.serve(front, 7, 5)
        assert clients.get(0, 7) == 5
        assert clients.get(1, 4) == 2

    def test_a_client_has_half_unless_another_number_is_said(self, front: Front, clients: Clients) -> None:
        """Of what the endpoint may have."""
        self.serve(front, 6, None)
        assert clients.get(0, 5) == 3
        assert clients.get(1, 3) == 3

    def test_a_client_s_own_number_stands_alone(self, front: Front, clients: Clients) -> None:
        """Each client has it."""
        self.serve(front, None, 3)
        assert (clients.get(0, 4), clients.get(1, 4)) == (3, 3)

    def test_what_has_ended_makes_room(self, front: Front, clients: Clients) -> None:
        """For the same client and for others."""
        self.serve(front, 4, 3)
        assert (clients.get(0, 4), clients.get(1, 2)) == (3, 1)
        clients.end()
        assert clients.get_in_the_end(1, 3)
        assert clients.get_in_the_end(0, 1)
        assert clients.get(0, 1) == 0

    def test_members_come_and_go_and_what_is_open_still_counts(self, front: Front, clients: Clients) -> None:
        """A member that drains and joins again gives nobody another share."""
        self.serve(front, None, 3)
        assert clients.get(0, 4) == 3
        (name,) = front.balancer.seats()
        front.balancer.drain(name)
        front.join()
        assert clients.get(0, 2) == 0
        assert clients.get(1, 1) == 1

    def test_who_comes_from_elsewhere_is_refused(self, front: Front, clients: Clients) -> None:
        """Whoever asks members how they are needs no leave; what is open goes on when its client may come no more."""
        whole, every, other = (
            (128, "::/0", "10.0.0.0/8") if ":" in front.endpoint.vip else (32, "0.0.0.0/0", "2001:db8::/32")
        )
        only = [replace(front.endpoint, allow=(f"{address}/{whole}", other)) for address in front.clients]
        patiently(lambda: front.balancer.shape(only[:1]))
        front.join()
        with front.connect(0) as talk:
            talk.settimeout(WITHIN_S)
            talk.sendall(b"x")
            assert talk.recv(100)
            assert clients.get(1, 3) == 0

            def checked() -> bool:
                (seat,) = front.balancer.seats().values()
                return seat.checked and seat.standing is Standing.UP

            assert comes_true(checked, WITHIN_S)
            patiently(lambda: front.balancer.shape(only[1:]))
            assert clients.get_in_the_end(1, 1)
            assert clients.get(0, 3) == 0
            talk.sendall(b"x")
            assert talk.recv(100)
        patiently(lambda: front.balancer.shape([replace(front.endpoint, allow=(other,))]))
        assert (clients.get(0, 1), clients.get(1, 1)) == (0, 0)
        patiently(
            lambda: front.balancer.shape([replace(front.endpoint, allow=(f"{front.clients[0]}/{whole}", every))])
        )
        assert clients.get_in_the_end(1, 1)
