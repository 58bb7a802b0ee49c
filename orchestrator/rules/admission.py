"""What an image's test makes of what it saw: the canary's service file, how long its phases took, and the verdicts.

Pure: the command line deploys the canary by the ordinary verbs and hands over what the ledger and the agent said.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypedDict

from orchestrator.model import AnswerFormat, Deadlines, Fitness, Os, Road
from orchestrator.model.phase import FIRST, Traits, traits_of
from orchestrator.rules import no_agent, roads
from orchestrator.rules.patience import STOP_WITHIN_S

ROOM = 3.0  # A suggested deadline is so many times what the slowest canary took; a busy host is slower than this one.
LEAST_S = 60.0
GENERATIONS = 3  # the first deployment and two reimages
CANARY = "canary"


# As the API tells of them, and no more than is read here: the client's own types have these keys and others.


class Told(TypedDict):
    """A line of the canary's ledger; see model.Event. An empty phase: it tells of none."""

    at_s: float
    phase: str
    generation: int
    boot: int


class Tested(TypedDict):
    """The image that is tested; see model.Image."""

    sha256: str
    os: Literal["linux", "windows"]
    answers: Literal["nocloud", "configdrive", "unattend", "none"]


class Heard(TypedDict):
    """What the agent said of itself and of its guest; see model.Agent."""

    host_name: str
    system: str
    version: str
    forbidden: list[str]
    marks: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One generation of the canary. `phases_s` by phase, in the order in which they were gone through (seconds)."""

    generation: int
    phases_s: Mapping[str, float]
    boots: int

    @property
    def total_s(self) -> float:
        """From the overlay to the rotation."""
        return sum(self.phases_s.values())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One question that was put to the image. `good` None: a fact; with `advice`, one that is better changed."""

    subject: str
    good: bool | None
    detail: str
    advice: str = ""


def service_file(
    service: str,
    image: Tested,
    *,
    vcpus: int,
    memory: str,
    within: str = "",
    answers: str = "",
    road: Road = Road.COLD,
    storage: bool = False,
) -> str:
    """A service of one instance without endpoints: it runs off rotation. `answers` is YAML, as below `answers:`.
    `road`: the warmest that its reimages may take. `storage`: whether it has some that outlives them.

    Its guest may take much longer to shut down than those of a role that says nothing: that is to be measured.
    """
    lines = [
        f"service: {service}",
        "roles:",
        f"  {CANARY}:",
        f'    image: "{image["sha256"]}"',
        f'    size: {{vcpus: {vcpus}, memory: "{memory}"}}',
        f"    stop: {{within: {math.ceil(ROOM * STOP_WITHIN_S[Os(image['os'])])} s}}",
    ]
    if road is not Road.COLD:
        lines += [f"    reimage: {road}"]
    if storage:
        lines += ["    localStorage: {canary: {size: 32 MiB}}"]
    if within:
        lines += [f'    ready: {{within: "{within}"}}']
    if within and _has_setup(image):
        lines += [f'    setup: {{within: "{within}"}}']
    if answers.strip():
        lines += ["    answers:", textwrap.indent(textwrap.dedent(answers).rstrip(), " " * 6)]
    return "\n".join(lines) + "\n"


def laps(events: Iterable[Told]) -> list[Lap]:
    """One for each generation that came to serve; `events` are the canary's, oldest first (see model.Event).

    An event tells of the phase that was entered at its time. What came before the overlay, the stop and the erasing
    of the generation before, is no part of a lap.
    """
    found: list[Lap] = []
    phases_s: dict[str, float] = {}
    last: Told | None = None
    for event in events:
        if not event["phase"]:
            continue
        if event["phase"] == FIRST or (last is not None and event["generation"] != last["generation"]):
            phases_s, last = {}, None
        if last is not None and event["phase"] != last["phase"]:
            phases_s[last["phase"]] = phases_s.get(last["phase"], 0.0) + event["at_s"] - last["at_s"]
        if traits_of(event["phase"]).serves and phases_s:
            found.append(Lap(generation=event["generation"], phases_s=phases_s, boots=event["boot"]))
            phases_s, last = {}, None
            continue
        if last is None or event["phase"] != last["phase"]:
            last = event
    return found


def suggested(seen: Sequence[Lap]) -> Deadlines:
    """Deadlines for the image; `seen` holds at least one lap."""
    setup_s = max(_in_s(lap, lambda traits: traits.sets_up) for lap in seen)
    ready_s = max(_in_s(lap, lambda traits: traits.awaits_services) for lap in seen)
    return Deadlines(setup_s=_with_room(setup_s), ready_s=_with_room(ready_s))


def _in_s(lap: Lap, counts: Callable[[Traits], bool]) -> float:
    return sum(took_s for phase, took_s in lap.phases_s.items() if counts(traits_of(phase)))


def _with_room(slowest_s: float) -> float:
    return max(LEAST_S, float(math.ceil(ROOM * slowest_s)))


def shutdowns_s(events: Iterable[Told]) -> list[float]:
    """How long each planned stop took (seconds), from the asking to the end of the VM; `events` as for `laps`."""
    found = []
    asked_at_s = None
    for event in events:
        if traits_of(event["phase"]).shuts_down:
            asked_at_s = event["at_s"] if asked_at_s is None else asked_at_s
        elif event["phase"]:
            if traits_of(event["phase"]).erases and asked_at_s is not None:
                found.append(event["at_s"] - asked_at_s)
            asked_at_s = None
    return found


def findings(
    image: Tested,
    hostname: str,
    agents: Sequence[Heard],
    events: Sequence[Told],
    restarts: bool,
) -> list[Observation]:
    """The verdicts: was the answer file honoured, did setup end, was it the same twice more, what may be asked, what
    has it of its image that it is to have of its own, and how long does it take to shut down.

    `agents` holds what the agent said of itself in each generation, at least one; `events` as for `laps`.
    """
    agent, seen = agents[0], laps(events)
    told = str(agent["host_name"])
    boots = sorted({lap.boots for lap in seen})
    forbidden = ", ".join(agent["forbidden"])
    named = told.lower() == hostname.lower() if told and _has_setup(image) else None
    return [
        Observation(subject="system", good=None, detail=f"{agent['system'] or 'unknown'}, agent {agent['version']}"),
        Observation(subject="agent calls", good=None if forbidden else True, detail=_calls(forbidden)),
        Observation(
            subject="name",
            good=named,
            detail=f"asked for {hostname}, the guest says {told}" if told else "the agent does not tell the name",
        ),
        *_own(image, [one["marks"] for one in agents]),
        _shutdown(image, shutdowns_s(events)),
        Observation(
            subject="setup restart",
            good=all(lap.boots >= 2 for lap in seen) if restarts else None,
            detail=f"boots in a generation: {', '.join(map(str, boots))}",
        ),
        Observation(
            subject="reimage",
            good=len(seen) == GENERATIONS,
            detail=f"{len(seen)} of {GENERATIONS} generations of {image['sha256'][:12]} came to serve",
        ),
    ]


def _calls(forbidden: str) -> str:
    return f"forbidden or unknown: {forbidden}" if forbidden else "all that vmrole uses are allowed"


def warmest(road: str, *, storage: bool = False) -> Observation:
    """By which road a reimage went that was to be warm, as its record tells: "warm, from its checkpoint", or a colder
    one and why. `storage`: whether the canary had local storage then.
    """
    taken = _taken(road)
    advice = f"a role of it that says reimage: warm takes the {taken} road all the same"
    if _is_the_host_s(road):
        advice = "that is this host's, so it is not kept with the image: mend it, and try again"
    subject = "warm reimage" + (", with local storage" if storage else "")
    good = True if taken is Road.WARM else None
    return Observation(subject=subject, good=good, detail=road, advice="" if good else advice)


def woken(by: str) -> str:
    """What the ledger says of a guest that was restored; `by`: what made its randomness anew, "" for not known."""
    return f"{_WOKEN}{by}" if by else "its clock is right"


def randomness(told: Iterable[str]) -> Iterator[Observation]:
    """By what a guest that was restored had its randomness made anew, from the ledger's lines; none: it never was."""
    by = [line.partition(_WOKEN)[2] for line in told if _WOKEN in line]
    if by:
        detail = f"that of a guest that was restored was made anew by {by[-1]}"
        yield Observation(subject="randomness", good=True, detail=detail)


_WOKEN: Final = "its clock is right; its randomness was made anew by "


def fitness(road: str) -> Fitness | None:
    """What such a road says of the image; None where that holds for every image, or the host was in the way."""
    taken, why = _taken(road), road.partition(": ")[2]
    if taken is Road.WARM:
        return Fitness()
    return None if not why or roads.known(why) or _is_the_host_s(road) else Fitness(warmest=taken, why=why)


def _is_the_host_s(road: str) -> bool:
    return any(words in road for words in _OF_THE_HOST)


def _taken(road: str) -> Road:
    return Road(road.partition(",")[0].partition(":")[0])


# In why there was no warmer road: full disks, other programs, a host that came up meanwhile.
_OF_THE_HOST: Final = (
    "no room", "out of reach", "of its checkpoint", "checkpoint is too old", "has started again", "another QEMU",
    "another processor", "another template", "another address", "protected", "healed", "its VM", "its QEMU",
    "somebody",
)  # fmt: skip


def mute(image: Tested) -> Observation:
    """The verdict on an image whose canary no agent has spoken for: what is missing, and the line that puts it in."""
    return Observation(
        subject="agent",
        good=False,
        detail="no agent has answered in the guest, so nobody can say when its setup and its services are complete",
        advice=no_agent.HINT[Os(image["os"])],
    )


_BAKED: Final = (
    ("machine-id", "machine-id", "empty it as the last thing in the image: truncate -s 0 /etc/machine-id"),
    (
        "SSH host keys",
        "SSH host key",
        "whoever has the image can pretend to be any of its instances; remove them as the last thing in the image: "
        "rm /etc/ssh/ssh_host_*, which cloud-init makes anew",
    ),
)


def _has_setup(image: Tested) -> bool:
    return AnswerFormat(image["answers"]) is not AnswerFormat.NONE


def _own(image: Tested, marks: Sequence[Mapping[str, str]]) -> list[Observation]:
    """Whether each generation has a mark of its own; what two of them share, they have from their image."""
    found = []
    for subject, prefix, advice in _BAKED:
        if subject == "machine-id" and Os(image["os"]) is Os.WINDOWS:
            continue
        mine = [{kind: mark for kind, mark in one.items() if kind.startswith(prefix)} for one in marks]
        shared = sorted(
            {
                kind
                for one, other in itertools.combinations(mine, 2)
                for kind in one.keys() & other.keys()
                if one[kind] == other[kind]
            }
        )
        if shared:
            told = f"the same in two generations, so it comes from the image: {', '.join(shared)}"
            found.append(Observation(subject=subject, good=None, detail=told, advice=advice))
        elif sum(map(bool, mine)) < 2:
            found.append(
                Observation(subject=subject, good=None, detail="the guest has none, or its agent does not show it")
            )
        else:
            found.append(Observation(subject=subject, good=True, detail="another in each generation"))
    return found


def _shutdown(image: Tested, took_s: Sequence[float]) -> Observation:
    """How long the guest takes to shut down, beside the time that it has in a role that says nothing."""
    within_s = STOP_WITHIN_S[Os(image["os"])]
    if not took_s:
        return Observation(subject="shutdown", good=None, detail="no planned stop was seen")
    slowest_s = max(took_s)
    told = f"{slowest_s:.1f} s at most; a role that says nothing gives {within_s:g} s"
    if slowest_s <= within_s / 2:
        return Observation(subject="shutdown", good=True, detail=told)
    advice = (
        f"say in each role of it: stop: {{within: {math.ceil(ROOM * slowest_s / 60)} min}}; it is ended after that"
    )
    return Observation(subject="shutdown", good=None if slowest_s < within_s else False, detail=told, advice=advice)
