"""A small synchronous client of the API, for the command line, the tests and scripts. It decides nothing.

As in `transport`, nothing is imported that a successful request does not need.
"""

from __future__ import annotations

import json

from orchestrator.client import clock, transport
from orchestrator.client.blobs import Blobs
from orchestrator.client.drives import Drives
from orchestrator.client.evidence import Evidence
from orchestrator.client.leases import Leases
from orchestrator.client.repository import Repository
from orchestrator.client.transport import READ_WITHIN_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from orchestrator.client import wire
    from orchestrator.client.transport import Message
    from orchestrator.model.intake import Intake

PRODUCTION: wire.Slot = "production"
SLOTS: tuple[wire.Slot, ...] = (PRODUCTION, "staging")
RECONNECT_WITHIN_S = 30.0  # a watch outlives a restart of the daemon
IMAGE_WITHIN_S = 1800.0  # checking an image of many GiB takes minutes
CONVERT_WITHIN_S = 8 * 3600.0  # longer than the daemon itself lets a conversion take
RESTORE_WITHIN_S = 300.0  # checking the records of a backup, or beginning anew with them, takes seconds
REPAIR_WITHIN_S = 900.0  # VMs without a record are given the time to shut down that a role may have
_FRUITLESS_MAX = 20  # watches that end without a word, one after the other: the daemon cannot tell what is asked


class Client(Blobs, Drives, Evidence, Leases, Repository):
    """One daemon: see `asking` for which. Every method raises the errors of `orchestrator.errors`."""

    # The nouns

    def health(self) -> wire.Health:
        """That the daemon answers, and which it is."""
        found: wire.Health = self.call("GET", "/healthz")
        return found

    def services(self, *, seats: bool = False, labels: str = "") -> list[wire.ServiceView]:
        """Services; `seats`: with how many members the balancer has up."""
        found: list[wire.ServiceView] = self.call("GET", "/v1/services", {"seats": seats, "labels": labels})
        return found

    def service(self, name: str, *, seats: bool = False) -> wire.ServiceView:
        """One service."""
        found: wire.ServiceView = self.call("GET", f"/v1/services/{transport.part(name)}", {"seats": seats})
        return found

    def service_file(self, name: str) -> str:
        """One service as YAML that `apply` takes."""
        found: wire.ServiceFile = self.call("GET", f"/v1/services/{transport.part(name)}/file")
        return found["text"]

    def apply(
        self, text: str, *, slot: wire.Slot = PRODUCTION, dry_run: bool = False, expected: int | None = None
    ) -> wire.AppliedView:
        """Applies a document; `expected` is the revision that was read, 0 for "there is none yet"."""
        headers = {"content-type": "application/yaml", **_expecting(expected)}
        query = {"dry_run": dry_run} | ({} if slot == PRODUCTION else {"slot": slot})
        found: wire.AppliedView = self.call("POST", "/v1/services", query, body=text.encode(), headers=headers)
        return found

    def check(self, texts: Sequence[str], slot: wire.Slot = PRODUCTION) -> list[wire.CheckedView]:
        """What applying the documents one after the other would do; nothing is done."""
        wish: wire.Documents = {"documents": list(texts)}
        if slot != PRODUCTION:
            wish["slot"] = slot
        found: list[wire.CheckedView] = self._json("POST", "/v1/services/check", wish, {})
        return found

    def scale(self, service: str, counts: Mapping[str, int], *, expected: int | None = None) -> wire.ServiceView:
        """Changes how many instances roles have: all that are named, or none."""
        path = f"/v1/services/{transport.part(service)}/instances"
        wish: wire.Counts = {"roles": dict(counts)}
        found: wire.ServiceView = self._json("PUT", path, wish, _expecting(expected))
        return found

    def swap(self, service: str, *, force: bool = False) -> list[wire.ServiceView]:
        """Exchanges what is in production and what is in staging; what there is, production first."""
        wish: wire.Swap = {"force": force}
        path = f"/v1/services/{transport.part(service)}/swap"
        found: list[wire.ServiceView] = self._json("POST", path, wish, {})
        return found

    def remove(self, service: str, *, expected: int | None = None, forgets: bool = False) -> wire.ServiceView:
        """Asks for the removal of a service; see `apply`. `forgets`: what cannot be read as well."""
        path = f"/v1/services/{transport.part(service)}"
        query = {"forget_unreadable": "true"} if forgets else {}
        found: wire.ServiceView = self.call("DELETE", path, query, headers=_expecting(expected))
        return found

    def endpoints(self, service: str) -> list[wire.EndpointView]:
        """What a service's endpoints carry, by role."""
        found: list[wire.EndpointView] = self.call("GET", f"/v1/services/{transport.part(service)}/endpoints")
        return found

    def revisions(self, service: str) -> list[wire.RevisionView]:
        """The last versions of a service's file, the oldest first."""
        found: list[wire.RevisionView] = self.call("GET", f"/v1/services/{transport.part(service)}/revisions")
        return found

    def rollout(self, service: str) -> wire.RolloutView:
        """How far a service is on its way to its newest file."""
        found: wire.RolloutView = self.call("GET", f"/v1/services/{transport.part(service)}/rollout")
        return found

    def pause(self, service: str, *, on: bool) -> wire.RolloutView:
        """Pauses the service's rollout, or goes on with it."""
        path = f"/v1/services/{transport.part(service)}/rollout"
        wish: wire.Pause = {"paused": on}
        found: wire.RolloutView = self._json("PUT", path, wish, {})
        return found

    def next_domain(self, service: str) -> wire.RolloutView:
        """Lets the next domain of the service's rollout go."""
        path = f"/v1/services/{transport.part(service)}/rollout/next"
        found: wire.RolloutView = self._json("POST", path, {}, {})
        return found

    def undo(
        self, service: str, *, to: int | None = None, dry_run: bool = False, expected: int | None = None
    ) -> wire.AppliedView:
        """Applies an old revision of a service's file again, as a new one; None: the one before the last."""
        path = f"/v1/services/{transport.part(service)}/rollout/undo"
        headers = {"content-type": "application/json", **_expecting(expected)}
        wish: wire.Undo = {"to": to}
        body = json.dumps(wish).encode()
        found: wire.AppliedView = self.call("POST", path, {"dry_run": dry_run}, body=body, headers=headers)
        return found

    def instances(self, subject: str = "", *, seats: bool = False, labels: str = "") -> list[wire.InstanceView]:
        """Instances of a service or role, or the one named; `seats`: with their standing at the balancer."""
        query = {"subject": subject, "seats": seats, "labels": labels}
        found: list[wire.InstanceView] = self.call("GET", "/v1/instances", query)
        return found

    def instance(self, name: str) -> wire.InstanceView:
        """One instance."""
        found: wire.InstanceView = self.call("GET", f"/v1/instances/{transport.part(name)}")
        return found

    def why(self, name: str) -> list[str]:
        """Sentences."""
        found: wire.Why = self.call("GET", f"/v1/instances/{transport.part(name)}/why")
        return found["sentences"]

    def agent(self, name: str) -> wire.Agent:
        """What the guest's agent says of itself."""
        found: wire.Agent = self.call("GET", f"/v1/instances/{transport.part(name)}/agent")
        return found

    def host_keys(self, name: str) -> wire.HostKeys:
        """The public keys of the guest's sshd."""
        found: wire.HostKeys = self.call("GET", f"/v1/instances/{transport.part(name)}/host-keys")
        return found

    def console(self, name: str, tail_bytes: int) -> bytes:
        """The end of the console's log, as the guest wrote it."""
        query = {"tail_bytes": tail_bytes}
        found: bytes = self.call("GET", f"/v1/instances/{transport.part(name)}/console", query, raw=True)
        return found

    def console_part(self, name: str, most_bytes: int, after: str = "") -> tuple[bytes, str]:
        """The end of the console's log, or what comes first behind a place in it; and the place where that ends."""
        path = f"/v1/instances/{transport.part(name)}/console"
        query = {"tail_bytes": most_bytes, "after": after}
        return self._taken(
            "GET", path, query, lambda answer: (answer.body(), transport.Told(answer.headers)["console-place"])
        )

    def begin_command(self, name: str, command: Sequence[str], given: bytes = b"") -> wire.CommandView:
        """Has a program started in a guest; `given` is its standard input."""
        import base64

        wish: wire.CommandWish = {"command": list(command), "input": base64.b64encode(given).decode()}
        found: wire.CommandView = self._json("POST", f"/v1/instances/{transport.part(name)}/commands", wish, {})
        return found

    def command(self, name: str, command_id: str) -> wire.CommandView:
        """How a program in a guest has ended, or that it runs."""
        path = f"/v1/instances/{transport.part(name)}/commands/{transport.part(command_id)}"
        found: wire.CommandView = self.call("GET", path)
        return found

    def file_part(self, name: str, path: str, offset: int, size_bytes: int) -> bytes:
        """A part of a file in a guest; less than was asked for is its end."""
        query = {"path": path, "offset": offset, "size_bytes": size_bytes}
        found: bytes = self.call("GET", f"/v1/instances/{transport.part(name)}/file", query, raw=True)
        return found

    def put_file_part(self, name: str, path: str, offset: int, data: bytes) -> None:
        """Puts bytes to a place of a file in a guest; at 0 into a new or an emptied one."""
        headers = {"content-type": "application/octet-stream"}
        query = {"path": path, "offset": offset}
        self.call("PUT", f"/v1/instances/{transport.part(name)}/file", query, body=data, headers=headers)

    def act(
        self, verb: wire.Verb, subject: str, *, together: int | None = None, labels: str = "", cold: bool = False
    ) -> wire.Operation:
        """Asks for a restart, reimage, rebuild, stop or start of an instance, a role or a service."""
        wish: wire.Wish = {"verb": verb, "subject": subject, "together": together, "labels": labels}
        wish |= {"cold": True} if cold else {}  # A daemon that does not know of it takes the others.
        found: wire.Operation = self._json("POST", "/v1/operations", wish, {})
        return found

    def protect(self, subject: str, *, on: bool, labels: str = "") -> list[wire.InstanceView]:
        """Protects an instance, a role or a service from every verb and from healing, or ends that."""
        wish: wire.Protection = {"subject": subject, "protected": on, "labels": labels}
        found: list[wire.InstanceView] = self._json("PUT", "/v1/protection", wish, {})
        return found

    def standstills(self) -> list[wire.StandstillView]:
        """Where automation is paused."""
        found: list[wire.StandstillView] = self.call("GET", "/v1/automation")
        return found

    def stand_still(self, service: str = "", *, on: bool) -> list[wire.StandstillView]:
        """Pauses automation of a service, or of all for "", or has it go on; returns where it is paused then."""
        wish: wire.AutomationWish = {"service": service, "paused": on}
        found: list[wire.StandstillView] = self._json("PUT", "/v1/automation", wish, {})
        return found

    def operations(self) -> list[wire.Operation]:
        """Running operations and the last finished ones."""
        found: list[wire.Operation] = self.call("GET", "/v1/operations")
        return found

    def operation(self, operation_id: str) -> wire.Operation:
        """One operation."""
        found: wire.Operation = self.call("GET", f"/v1/operations/{transport.part(operation_id)}")
        return found

    def events(self, subject: str = "", *, after: int = 0, limit: int = 1000) -> list[wire.Event]:
        """The newest events after a number, oldest first."""
        query = {"subject": subject, "after": after, "limit": limit}
        found: list[wire.Event] = self.call("GET", "/v1/events", query)
        return found

    def findings(self) -> list[wire.Finding]:
        """What on the host contradicts the records."""
        found: list[wire.Finding] = self.call("GET", "/v1/verify")
        return found

    def repair(self) -> list[wire.Finding]:
        """Removes what no record knows; returns what that was."""
        found: list[wire.Finding] = self.call("POST", "/v1/verify/repair", within_s=REPAIR_WITHIN_S)
        return found

    def backup(self, target: BinaryIO) -> None:
        """Writes a backup of all records to `target`; raises Unreachable when it ends early."""
        self._taken("POST", "/v1/backup", {}, lambda answer: transport.save(answer, target))

    def restore(self, source: BinaryIO, size_bytes: int) -> wire.Restoring:
        """Gives a backup of so many bytes to the daemon, which begins anew with it; see `last_restore`."""
        headers = {"content-type": "application/octet-stream"}
        request = self._head("POST", "/v1/restore", {}, headers, size_bytes)
        with self._connected(self._connect_within_s) as connection:
            connection.settimeout(RESTORE_WITHIN_S)
            chunks = transport.reading(source, size_bytes, lambda _count: None)
            with transport.ask(connection, request, chunks) as answer:
                found: wire.Restoring = transport.decoded(answer)
                return found

    def last_restore(self) -> wire.Restoring:
        """How far the last backup is that was given to be restored."""
        found: wire.Restoring = self.call("GET", "/v1/restore")
        return found

    def images(self) -> list[wire.Image]:
        """All images."""
        found: list[wire.Image] = self.call("GET", "/v1/images")
        return found

    def image(self, ref: str) -> wire.Image:
        """One image."""
        found: wire.Image = self.call("GET", f"/v1/images/{transport.part(ref)}")
        return found

    def add_image(
        self,
        files: Sequence[tuple[BinaryIO, int]],
        intake: Intake,
        progress: Callable[[int], None] = lambda _count: None,
    ) -> wire.Image:
        """Uploads an image; `progress` is told how many more bytes were sent.

        `files`: the disk and its bytes, and those of its parents, the nearest first, which are `intake.parts`.
        """
        chunks = (chunk for file, size in files for chunk in transport.reading(file, size, progress))
        headers = {"content-type": "application/octet-stream"}
        total = sum(size for _, size in files)
        request = self._head("POST", "/v1/images", intake.query(), headers, total)
        with self._connected(self._connect_within_s) as connection:
            connection.settimeout(CONVERT_WITHIN_S if intake.convert else IMAGE_WITHIN_S)
            with transport.ask(connection, request, chunks) as answer:
                found: wire.Image = transport.decoded(answer)
                return found

    def arrivals(self) -> list[wire.Arrival]:
        """Images that are being added just now."""
        found: list[wire.Arrival] = self.call("GET", "/v1/incoming")
        return found

    def verify_image(self, ref: str) -> wire.Image:
        """Has every byte of an image read again."""
        path = f"/v1/images/{transport.part(ref)}/verify"
        found: wire.Image = self.call("POST", path, within_s=IMAGE_WITHIN_S)
        return found

    def trust_image(self, ref: str) -> wire.Image:
        """Takes back that an image is suspect."""
        found: wire.Image = self.call("POST", f"/v1/images/{transport.part(ref)}/trust")
        return found

    def suggest(self, ref: str, deadlines: wire.Deadlines) -> wire.Image:
        """Keeps what an image's test measured; see model.Deadlines."""
        found: wire.Image = self._json("PUT", f"/v1/images/{transport.part(ref)}/suggested", deadlines, {})
        return found

    def keep_tried(self, ref: str, tried: transport.Json) -> wire.Image:
        """Keeps by which roads an image's reimages went, or None; see model.Tried."""
        found: wire.Image = self._json("PUT", f"/v1/images/{transport.part(ref)}/tried", tried, {})
        return found

    def tag_image(self, name: str, ref: str) -> wire.Tagged:
        """Gives a name to an image, and takes it from the one that it meant."""
        path = f"/v1/images/{transport.part(ref)}/names/{transport.part(name)}"
        found: wire.Tagged = self.call("PUT", path)
        return found

    def remove_image(self, ref: str) -> None:
        """Removes an image."""
        self.call("DELETE", f"/v1/images/{transport.part(ref)}")

    def tokens(self) -> list[wire.TokenView]:
        """Who may come from the network."""
        found: list[wire.TokenView] = self.call("GET", "/v1/tokens")
        return found

    def create_token(self, wish: wire.TokenWish) -> wire.NewToken:
        """Makes a token; its secret is in the answer, and nowhere else."""
        found: wire.NewToken = self._json("POST", "/v1/tokens", wish, {})
        return found

    def remove_token(self, name: str) -> wire.TokenView:
        """Takes a token away."""
        found: wire.TokenView = self.call("DELETE", f"/v1/tokens/{transport.part(name)}")
        return found

    # Watching: kinds and values are those of api.frames; ("again", None, "") says that what was told before is void.

    def watch_instances(
        self, subject: str = "", *, labels: str = "", until: float | None = None
    ) -> Iterator[Message]:
        """Instances as they change; `until` on clock.monotonic_s, then WaitedTooLong is raised."""
        return self._followed("/v1/instances/watch", {"subject": subject, "labels": labels}, until)

    def watch_operation(self, operation_id: str, *, until: float | None = None) -> Iterator[Message]:
        """An operation until it is over; the last kind is "end"."""
        return self._followed(f"/v1/operations/{transport.part(operation_id)}/watch", {}, until)

    def watch_events(self, subject: str = "", *, after: int = 0, until: float | None = None) -> Iterator[Message]:
        """Events as they are told, from a number on."""
        return self._followed("/v1/events/watch", {"subject": subject, "after": after}, until)

    def _followed(self, path: str, query: Mapping[str, object], until: float | None) -> Iterator[Message]:
        last_id, connect_within_s, resumes, fruitless = "", self._connect_within_s, False, 0
        while fruitless < _FRUITLESS_MAX:
            headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
            with self._connected(connect_within_s, until) as connection:
                connection.settimeout(READ_WITHIN_S)
                with transport.ask(connection, self._head("GET", path, query, headers, 0)) as answer:
                    if answer.status != 200:
                        transport.decoded(answer)
                    if resumes and not last_id:
                        yield "again", None, ""
                    fruitless += 1
                    for message in transport.messages(connection, answer.stream, until):
                        last_id, fruitless = message[2], 0
                        yield message
                        if message[0] == "end":
                            return
            connect_within_s, resumes = RECONNECT_WITHIN_S, True
            clock.pause(transport.RETRY_EVERY_S)
        raise transport.broken("a watch ended again and again")


def _expecting(expected: int | None) -> dict[str, str]:
    if expected is None:
        return {}
    return {"if-match": f'"{expected}"'} if expected else {"if-none-match": "*"}
