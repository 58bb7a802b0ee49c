"""Requests to one daemon, wherever it is. As in `transport`, nothing is imported that a success does not need."""

from __future__ import annotations

import json

from orchestrator.client import places, transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from orchestrator.client.remote import Remote
    from orchestrator.client.transport import Answer, Json

    T = TypeVar("T")

CONNECT_WITHIN_S = 1.0  # a daemon that is being started again is back by then, or says so
ANSWER_WITHIN_S = 60.0


class Asking:
    """This host's daemon, by the path of its socket, or one on another host, by its address or a context's name.

    Which one is meant is found out with the first request: see `places`.
    """

    def __init__(
        self, path: str = "", *, server: str = "", context: str = "", connect_within_s: float = CONNECT_WITHIN_S
    ) -> None:
        self._said = (path, server, context)
        self._place: tuple[str, Remote | None] | None = None
        self._connect_within_s = connect_within_s
        self.is_paused = False  # whether the last answer said that automation is, of anything

    @property
    def path(self) -> str:
        """Where it is: the path of its socket, or its URL."""
        return self._meant()[0]

    @property
    def host(self) -> str:
        """The name of its host; "" for this one."""
        remote = self._meant()[1]
        return remote.host if remote is not None else ""

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        raw: bool = False,
        within_s: float = ANSWER_WITHIN_S,
    ) -> Json:
        """One request and the JSON of its answer (None when it has none), or its bytes when `raw`.

        What only looks is asked once more when nobody answered: a daemon that begins anew hangs up as it ends.
        """
        request = self._head(method, path, query or {}, headers or {}, len(body))
        try:
            return self._once(request, body, raw, within_s)
        except Exception as error:
            if method != "GET" or not isinstance(error.__cause__, transport.HungUp | ConnectionResetError):
                raise
        return self._once(request, body, raw, within_s)

    def _once(self, request: bytes, body: bytes, raw: bool, within_s: float) -> Json:
        with self._connected(self._connect_within_s) as connection:
            connection.settimeout(within_s)
            with transport.ask(connection, request, [body]) as answer:
                self.is_paused = "vmrole-automation" in answer.headers
                return answer.body() if raw and answer.status == 200 else transport.decoded(answer)

    def _json(self, method: str, path: str, value: object, headers: Mapping[str, str]) -> Json:
        headers = {"content-type": "application/json", **headers}
        # A word of the command line may be no text at all: its bytes go as escapes, and nothing is called so.
        body = json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace")
        return self.call(method, path, body=body, headers=headers)

    def _taken(self, method: str, path: str, query: Mapping[str, object], take: Callable[[Answer], T]) -> T:
        """What `take` makes of a success whose body is still to be read."""
        request = self._head(method, path, query, {}, 0)
        with self._connected(self._connect_within_s) as connection:
            connection.settimeout(ANSWER_WITHIN_S)
            with transport.ask(connection, request) as answer:
                if answer.status != 200:
                    transport.decoded(answer)
                return take(answer)

    def _meant(self) -> tuple[str, Remote | None]:
        if self._place is None:
            self._place = places.meant(*self._said)
        return self._place

    def _connected(self, within_s: float, until: float | None = None) -> socket.socket:
        path, remote = self._meant()
        return transport.connect(path, within_s, until) if remote is None else remote.connect(within_s, until)

    def _head(
        self, method: str, path: str, query: Mapping[str, object], headers: Mapping[str, str], length: int
    ) -> bytes:
        remote = self._meant()[1]
        proof = remote.headers if remote is not None else {}
        return transport.head(method, path, query, {**headers, **proof}, length)
