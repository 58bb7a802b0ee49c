"""`vmrole image test`: a canary of the image, off rotation, deployed and reimaged twice by the ordinary verbs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import Duration, examples, format_option
from orchestrator.cli.progress import Progress, progress
from orchestrator.cli.reading import read_text
from orchestrator.cli.waiting import end_of, until_gone, until_over, until_serving
from orchestrator.client.client import Client
from orchestrator.errors import NotFound, Transient, VmroleError
from orchestrator.model import Road
from orchestrator.rules import admission

if TYPE_CHECKING:
    from orchestrator.client import wire

CLEAN_UP_S = 300.0
_SIGNS = {True: "PASS", False: "FAIL", None: "INFO"}


@click.command("test", epilog=examples("vmrole image test ws2022 --answers answers.yaml"))
@click.argument("ref", shell_complete=names.image)
@click.option("--answers", default="", metavar="FILE", help="A file with what stands below `answers:`.")
@click.option("--vcpus", type=click.IntRange(1, 64), default=1, show_default=True, help="How many the canary has.")
@click.option(
    "--memory", default="", metavar="SIZE", help="Its memory: 512 MiB for Linux and 4 GiB for Windows unless given."
)
@click.option(
    "--within", default="", metavar="TIME", help="How long setup, and then services, may take; 20 min unless given."
)
@click.option(
    "--warm", is_flag=True, help="Try reimages from a checkpoint as well: takes a cold one and the warmest there is."
)
@click.option("--timeout", type=Duration(), help="At most so long for the whole test: 90s, 2h. Exit status 4 then.")
@format_option("text", "json")
@click.pass_obj
def test(
    client: Client,
    ref: str,
    answers: str,
    vcpus: int,
    memory: str,
    within: str,
    warm: bool,
    timeout: float | None,
    form: str,
) -> int:
    """Tests an image: boots a canary, reimages it twice, and says whether services can be made of it.

    What was measured becomes the image's suggested deadlines. Exit status 1 when something is not as it should be.
    """
    image = client.image(ref)
    size = memory or ("4 GiB" if image["os"] == "windows" else "512 MiB")
    said = read_text(answers, hint="name a file of answers") if answers else ""
    service = f"{admission.CANARY}-{image['sha256'][:12]}"
    describe = functools.partial(
        admission.service_file,
        service,
        image,
        vcpus=vcpus,
        memory=size,
        within=within,
        answers=said,
    )
    until = end_of(timeout)
    try:
        with _deployed(client, service, describe(), until) as canary:
            agents = [client.agent(canary["name"])]
            for _ in range(admission.GENERATIONS - 1):
                until_over(client, client.act("reimage", canary["name"]), until, progress())
                agents.append(client.agent(canary["name"]))
            events = client.events(canary["name"])
            restarts = bool(client.service(service)["roles"][0]["setup"]["restart"])
            roads = _tried(client, image, describe, canary["name"], until) if warm else []
    except _Mute as mute:
        _show(image, [admission.mute(image)], [], form)
        raise mute.why from None
    seen = admission.laps(events)
    found = admission.findings(image, canary["hostname"], agents, events, restarts)
    found += [*roads, _digest(client, image)]
    if all(one.good is not False for one in found) and seen:
        measured = admission.suggested(seen)
        image = client.suggest(image["sha256"], {"setup_s": measured.setup_s, "ready_s": measured.ready_s})
    _show(image, found, seen, form)
    return 1 if any(one.good is False for one in found) else 0


class _Mute(Exception):
    """A canary that failed, and for which no agent has spoken in all its generations."""

    def __init__(self, why: VmroleError) -> None:
        super().__init__(str(why))
        self.why = why


class _Hints:
    """A progress that says once what a canary waits for, when a remedy for the image is known before the end."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self._said = False

    def tell(self, row: wire.InstanceView) -> None:
        """See Progress."""
        self._inner.tell(row)
        if not self._said and row["cause"] and row["cause"]["kind"] == "no-agent":
            self._said = True
            render.say(f"{row['name']}: {render.plain(row['waiting'])}")

    def __enter__(self) -> _Hints:
        self._inner.__enter__()
        return self

    def __exit__(self, *ends: object) -> None:
        self._inner.__exit__(*ends)


def _is_mute(client: Client, canary: wire.InstanceView) -> bool:
    """Whether no agent answers, nor ever has: each boot that one has told of is counted."""
    if canary["boot"] or canary["boot_id"]:
        return False
    try:
        client.agent(canary["name"])
    except Transient:
        return True
    return False


@contextlib.contextmanager
def _deployed(client: Client, service: str, text: str, until: float | None) -> Iterator[wire.InstanceView]:
    """The canary while it serves. Whatever happens, it is removed; a failed one has left its sentence behind."""
    client.apply(text, expected=0)
    try:
        until_serving(client, service, until, _Hints(progress()))
        yield client.instances(service)[0]
    except VmroleError as error:
        canaries = client.instances(service)
        for one in canaries:  # Its evidence goes with it; what it said last shall not.
            for sentence in client.why(one["name"]):
                render.say(sentence)
        if canaries and all(_is_mute(client, one) for one in canaries):
            raise _Mute(error) from error
        raise
    finally:
        client.remove(service)
        until_gone(client, service, end_of(CLEAN_UP_S), progress())


def _tried(
    client: Client, image: wire.Image, describe: Callable[..., str], canary: str, until: float | None
) -> list[admission.Observation]:
    """By which roads the canary is reimaged, without local storage and with some, which has to be taken from its
    guest and given back; kept with the image, as far as it is the image's.
    """
    client.keep_tried(image["sha256"], None)  # Else nothing is tried that did not go the last time.
    plain = _warmest(client, describe(road=Road.WARM), canary, until)
    with_storage = _warmest(client, describe(road=Road.WARM, storage=True), canary, until) if _stores(image) else ""
    if (found := admission.fitness(plain)) is not None:
        storage = admission.fitness(with_storage) if with_storage else None
        kept = {"plain": dataclasses.asdict(found), "storage": dataclasses.asdict(storage) if storage else None}
        client.keep_tried(image["sha256"], kept)
    told = [admission.warmest(plain)]
    told += [admission.warmest(with_storage, storage=True)] if with_storage else []
    return [*told, *admission.randomness(one["message"] for one in client.events(canary))]


def _stores(image: wire.Image) -> bool:
    """Whether its guests can be told to let go of local storage."""
    return image["os"] == "linux"


def _warmest(client: Client, text: str, canary: str, until: float | None) -> str:
    """By which road the canary is reimaged, once it has a checkpoint: that is measured, not guessed."""
    rolled_out = client.apply(text)["operation"]
    until_over(client, rolled_out or client.act("reimage", canary, cold=True), until, progress())
    until_over(client, client.act("reimage", canary), until, progress())
    return client.instances(canary)[0]["road"] or Road.COLD


def _digest(client: Client, image: wire.Image) -> admission.Observation:
    try:
        client.verify_image(image["sha256"])
    except NotFound:
        raise
    except VmroleError as error:
        return admission.Observation(subject="image", good=False, detail=str(error))
    return admission.Observation(subject="image", good=True, detail="its bytes are what they were")


def _show(image: wire.Image, found: list[admission.Observation], seen: list[admission.Lap], form: str) -> None:
    if form == "json":
        report: dict[str, Any] = {
            "image": image,
            "findings": [dataclasses.asdict(one) for one in found],
            "generations": [dataclasses.asdict(lap) for lap in seen],
        }
        render.show([render.dump(report, form)])
        return
    render.show(render.plain(line) for one in found for line in _lines(one))
    phases = list(dict.fromkeys(phase for lap in seen for phase in lap.phases_s))
    columns: list[render.Column[admission.Lap]] = [("GENERATION", lambda lap: str(lap.generation))]
    columns += [(phase.upper(), functools.partial(_seconds, phase)) for phase in phases]
    columns.append(("TOTAL", lambda lap: f"{lap.total_s:.1f} s"))
    render.show(render.table(columns, seen))
    if image["suggested"]:
        words = ", ".join(f"{key.removesuffix('_s')} {value:.0f} s" for key, value in image["suggested"].items())
        render.show([f"suggested deadlines, kept with the image: {words}"])


def _lines(finding: admission.Observation) -> Iterator[str]:
    sign = "WARN" if finding.good is None and finding.advice else _SIGNS[finding.good]
    yield f"{sign}  {finding.subject}: {finding.detail}"
    if finding.advice:
        yield f"      {finding.advice}"


def _seconds(phase: str, lap: admission.Lap) -> str:
    return f"{lap.phases_s.get(phase, 0.0):.1f} s"
