"""A service that a test has deployed, and its instances: asked, waited for, and told of when something fails."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.client import clock, commands, states
from orchestrator.client.client import Client
from orchestrator.errors import NotFound, VmroleError, WaitedTooLong

if TYPE_CHECKING:
    from orchestrator.client import wire

COMMAND_S = 60.0
CONSOLE_BYTES = 4096
LINES_MAX = 20  # of a console, beside a failure
GONE_LOOK_S = 0.2
_NAME = re.compile(r"^service:[ \t]*([\"']?)([a-z0-9-]+)\1[ \t]*(?:#.*)?$", re.MULTILINE)


class CommandFailed(AssertionError):
    """A command in a guest had another exit status than 0; the message has what it printed."""


class NotServing(AssertionError):
    """A service or an instance has not come to where a test waits for it; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How a command in a guest ended, and what it printed, as text."""

    status: int
    stdout: str
    stderr: str


class Instance:
    """One instance of a service that a test has deployed. What it is now is asked anew each time."""

    def __init__(self, client: Client, name: str, within_s: float) -> None:
        self.name = name
        self._client = client
        self._within_s = within_s

    def __repr__(self) -> str:
        return f"<instance {self.name}>"

    @property
    def view(self) -> wire.InstanceView:
        """All that the daemon tells of it, as `vmrole get instances NAME -o json` does."""
        return self._client.instance(self.name)

    @property
    def phase(self) -> str:
        """How far it is: "serving" when all is well."""
        return str(self.view["phase"])

    @property
    def address(self) -> str:
        """Its private address, which its host alone reaches."""
        return self.view["address"]

    @property
    def generation(self) -> int:
        """Which VM of the instance this is: one more with each reimage."""
        return self.view["generation"]

    @property
    def boot(self) -> int:
        """Which start of the operating system in this generation: one more with each restart."""
        return self.view["boot"]

    def run(
        self, command: str | Sequence[str], *, stdin: str = "", check: bool = True, timeout_s: float = COMMAND_S
    ) -> Outcome:
        """Runs a command in the guest as the user of its agent: a text by /bin/sh -c, a list as it is.

        Raises CommandFailed when it has another exit status than 0 and `check`, WaitedTooLong after `timeout_s`.
        """
        __tracebackhide__ = True
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        ended = commands.run(self._client, self.name, words, given=stdin.encode(), within_s=timeout_s)
        outcome = Outcome(ended.status, ended.output.decode(errors="replace"), ended.errors.decode(errors="replace"))
        if check and outcome.status != 0:
            printed = "\n".join(part for part in (outcome.stdout.rstrip(), outcome.stderr.rstrip()) if part)
            said = command if isinstance(command, str) else " ".join(command)
            raise CommandFailed(f"{self.name}: {said!r} has exit status {outcome.status}\n{printed}".rstrip())
        return outcome

    def restart(self, *, timeout_s: float | None = None) -> None:
        """Restarts it, which keeps everything, and waits until it serves again."""
        self._operate("restart", timeout_s)

    def reimage(self, *, timeout_s: float | None = None) -> None:
        """Makes its VM anew from the image, which keeps local storage alone, and waits until it serves again."""
        self._operate("reimage", timeout_s)

    def rebuild(self, *, timeout_s: float | None = None) -> None:
        """Makes its VM anew, local storage too, and waits until it serves again."""
        self._operate("rebuild", timeout_s)

    def stop(self, *, timeout_s: float | None = None) -> None:
        """Shuts it down and waits until it is off."""
        self._operate("stop", timeout_s)

    def start(self, *, timeout_s: float | None = None) -> None:
        """Starts it again and waits until it serves."""
        self._operate("start", timeout_s)

    def wait(self, *, timeout_s: float | None = None) -> None:
        """Waits until it serves."""
        _until(self._client, self.name, states.settled, self._end(timeout_s))

    def why(self) -> str:
        """In sentences: what it waits for, since when, and what came before."""
        return "\n".join(_plain(line) for line in self._client.why(self.name))

    def console(self, size_bytes: int = CONSOLE_BYTES) -> str:
        """The end of its serial console, without what a terminal would obey; "" before its VM has started."""
        try:
            text = self._client.console(self.name, size_bytes).decode(errors="replace")
        except NotFound:
            return ""
        return "\n".join(_plain(line) for line in text.splitlines())

    def _operate(self, verb: wire.Verb, timeout_s: float | None) -> None:
        __tracebackhide__ = True
        until = self._end(timeout_s)
        operation = self._client.act(verb, self.name)
        with _told(self._client, self.name):
            for kind, value, _ in self._client.watch_operation(operation["id"], until=until):
                if kind == "end" and value["progress"] != "done":
                    told = f"{verb} of {self.name} {value['progress']}: {value['message']}"
                    raise NotServing(f"{told}\n{_story(self._client, self.name)}")

    def _end(self, timeout_s: float | None) -> float:
        return clock.monotonic_s() + (self._within_s if timeout_s is None else timeout_s)


class Service:
    """A service that a test has deployed: `service["web-0"]` and `service.instances` are its instances."""

    def __init__(self, client: Client, name: str, within_s: float) -> None:
        self.name = name
        self._client = client
        self._within_s = within_s

    def __repr__(self) -> str:
        return f"<service {self.name}>"

    def __getitem__(self, name: str) -> Instance:
        """The instance of that name, `web-0`; KeyError when there is none."""
        for instance in self.instances:
            if name in (instance.name, instance.name.partition(".")[0]):
                return instance
        raise KeyError(f"{name}: {self.name} has {', '.join(one.name for one in self.instances) or 'no instances'}")

    def __iter__(self) -> Iterator[Instance]:
        return iter(self.instances)

    @property
    def instances(self) -> list[Instance]:
        """All of them, by role and number."""
        return [Instance(self._client, row["name"], self._within_s) for row in self._client.instances(self.name)]

    @property
    def vip(self) -> str:
        """The address at which its endpoints are."""
        return self._client.service(self.name)["vip"]

    def wait(self, *, timeout_s: float | None = None) -> None:
        """Waits until every instance serves; raises NotServing, which says why it never will, or does not in time."""
        within_s = self._within_s if timeout_s is None else timeout_s
        _until(self._client, self.name, states.settled, clock.monotonic_s() + within_s)

    def delete(self) -> None:
        """Deletes it with all it has, and waits until nothing of it is left."""
        until = clock.monotonic_s() + self._within_s
        try:
            self._client.remove(self.name)
            while self._client.service(self.name):
                if clock.monotonic_s() > until:
                    left = ", ".join(f"{row['name']} is {row['phase']}" for row in self._client.instances(self.name))
                    raise NotServing(
                        f"{self.name} has been asked to go, and has not: {left or 'its record is there'}"
                    )
                clock.pause(GONE_LOOK_S)
        except NotFound:
            return

    def story(self) -> Mapping[str, str]:
        """For each instance why it is as it is, and the end of its console: what belongs beside a failure."""
        return {instance.name: _story(self._client, instance.name) for instance in self.instances}


def deploy(client: Client, text: str, within_s: float, *, suffix: str = "") -> Service:
    """Applies a service file, its name with `suffix` behind it, as a new service; does not wait.

    Raises Conflict when there is a service of that name: it is somebody's.
    """
    text = _NAME.sub(lambda line: f"service: {line[2]}{suffix}", text, count=1)
    applied = client.apply(text, expected=0)
    assert applied["service"] is not None
    return Service(client, applied["service"]["name"], within_s)


def _until(client: Client, subject: str, true: Callable[[wire.InstanceView], bool], until: float) -> None:
    __tracebackhide__ = True
    rows: dict[str, wire.InstanceView] = {}
    complete = False
    with _told(client, subject):
        for kind, value, _ in client.watch_instances(subject, until=until):
            if kind == "instance":
                rows[value["name"]] = value
            elif kind == "gone":
                rows.pop(value["name"], None)
            elif kind == "again":
                rows, complete = {}, False
            complete = complete or kind == "current"
            failed = [row for row in rows.values() if states.hopeless(row)]
            if failed:
                told = "; ".join(f"{row['name']} failed: {row['failure']}" for row in failed)
                raise NotServing(f"{told}\n{_story(client, failed[0]['name'])}")
            if complete and rows and all(true(row) for row in rows.values()):
                return


class _told:  # noqa: N801 - it is used as a function
    """A time that is over is told with who is not there yet, and why."""

    def __init__(self, client: Client, subject: str) -> None:
        self._client = client
        self._subject = subject

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        __tracebackhide__ = True
        if isinstance(error, WaitedTooLong):
            rows = [row for row in self._client.instances(self._subject) if not states.settled(row)]
            late = ", ".join(f"{row['name']} is {row['phase']}" for row in rows)
            story = f"\n{_story(self._client, rows[0]['name'])}" if rows else ""
            raise NotServing(f"the time was over: {late or self._subject}{story}") from error


def _story(client: Client, name: str) -> str:
    """Why an instance is as it is, and the end of its console; never raises, for it is told beside another fault."""
    instance = Instance(client, name, 0.0)
    try:
        console = instance.console().splitlines()[-LINES_MAX:]
        return "\n".join([instance.why(), *(["its console ends with:", *console] if console else [])])
    except VmroleError as error:
        return f"{name} cannot be asked: {_plain(str(error))}"


def _plain(text: str) -> str:
    """A line without what a terminal would obey."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text.replace("\t", "    "))
