"""`vmrole answers diff`: what a merge of the user's Unattend.xml with ours decides. Needs no daemon and no secret."""

from __future__ import annotations

import dataclasses

import click
from vmrole_unattend import AnswersInvalid
from vmrole_unattend.secret import Secret, SecretRef
from vmrole_unattend.windows import check, document, explain, merge
from vmrole_unattend.windows import render as windows_render
from vmrole_unattend.windows.answers import Answers, Architecture, Machine, Windows
from vmrole_unattend.windows.checks import welcome
from vmrole_unattend.windows.checks.place import homes

from orchestrator.cli import gathering, render
from orchestrator.cli.options import examples, format_option
from orchestrator.cli.reading import read_bytes, read_text
from orchestrator.errors import InvalidInput, NotFound, Problem
from orchestrator.model import AnswerFormat, label
from orchestrator.servicefile.answers import WhoseAnswers, complete, read_answers
from orchestrator.servicefile.reader import Reader
from orchestrator.servicefile.tree import Map, read_tree

_SOMEWHERE = "/unattend.xml"  # The file is named by the command; this one is never read.
_STAND_IN = "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"  # for every secret: what is shown of one is *** anyway
_ROLE = "web"


@click.command(
    epilog=examples(
        "vmrole answers diff --service shop.yaml --role web", "vmrole answers diff Unattend.xml --computer-name WEB0"
    )
)
@click.argument("file", type=click.Path(), required=False)
@click.option("--service", metavar="FILE", help="The service file whose wishes are merged in.")
@click.option("--role", metavar="NAME", default="", help="Whose in it; may be left out when only one brings answers.")
@click.option(
    "--answers",
    "wishes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Instead of a service file: one key below `unattend:`, e.g. timeZone=UTC; may be given several times.",
)
@click.option("--computer-name", metavar="NAME", default="", help="The same as --answers computerName=NAME.")
@click.option("--os", "release", type=click.Choice([one.value for one in Windows]), help="The image's release.")
@click.option("--arch", type=click.Choice([one.value for one in Architecture]), help="The image's architecture.")
@format_option("text", "json", "yaml")
def diff(
    file: str | None,
    service: str | None,
    role: str,
    wishes: tuple[str, ...],
    computer_name: str,
    release: str | None,
    arch: str | None,
    form: str,
) -> int:
    """Says what merging vmrole's answers into the Unattend.xml FILE decides, and shows the change without secrets.

    FILE may be - for stdin; without it, the one that the service file has under `xml:` is taken. Without --service,
    the answers are the defaults and what --answers says. Nothing is written, and the secrets that a service file
    names are not read.
    """
    if service is not None and (wishes or computer_name):
        raise click.UsageError("--service says the wishes; leave --answers and --computer-name out")
    if service is None and file is None:
        raise click.UsageError("name an Unattend.xml, or a service file that has one by --service")
    given = read_bytes(file, hint="name an answer file") if file is not None else None
    said = [*wishes, *([f"computerName={computer_name}"] if computer_name else [])]
    try:
        answers, machine, own = _wishes(
            read_text(service, hint="name a service file") if service else _service_file(said), role
        )
    except InvalidInput as error:
        return gathering.refuse_file(error if service else _of_options(error), service or "--answers")
    if release:
        answers = dataclasses.replace(answers, windows=Windows(release))
    if arch:
        answers = dataclasses.replace(answers, architecture=Architecture(arch))
    try:
        ours = windows_render.render(dataclasses.replace(answers, own_xml_from=None), machine, _stand_in)
    except AnswersInvalid as refused:
        return gathering.refuse_file(_problem(refused), service or "--answers")
    theirs, name = (own.encode(), f"{service}: xml") if given is None else (given, str(file))
    if given is None and not theirs:
        hint = "name the Unattend.xml: one that the service file has elsewhere is not read"
        raise NotFound(f"{service} has no xml for {machine.role}", hint=hint)
    try:
        merged = merge.merge(theirs, ours)
        change = explain.changes(theirs, merged.xml, name.rpartition("/")[2])
    except AnswersInvalid as refused:
        return gathering.refuse_file(_problem(refused), name)
    _explain(merged, change, name, form)
    return _refusals(theirs, merged.xml if service else b"", answers, name)


def _explain(merged: merge.Merged, change: str, file: str, form: str) -> None:
    if form == "text":
        render.show(explain.lines(merged.decisions) or ["nothing is different"])
        render.show(["", *change.split("\n")] if change else [])
    else:
        rows = [{**dataclasses.asdict(one), "kept": one.kept.value} for one in merged.decisions]
        render.show([render.dump({"file": file, "decisions": rows, "change": change}, form)])


def _refusals(theirs: bytes, merged: bytes, answers: Answers, file: str) -> int:
    """Says why a service with this file would be refused, if it would; the exit status.

    `merged` is empty where nobody says all that a service would: what it does not answer then tells nothing.
    """
    found = check.check(theirs, windows=answers.windows, edition=answers.edition, architecture=answers.architecture)
    errors = [one for one in found if one.severity is check.Severity.ERROR]
    for one in errors:
        render.say(render.plain(f"{file}:{one.line}: {one.path}: {one.message} ({one.mend})"))
    asked = welcome.question(homes(document.parse(merged).root), answers.edition) if merged else ""
    if asked:
        errors.append(
            check.Diagnostic(severity=check.Severity.ERROR, line=0, path="", code="", message=asked, mend="")
        )
        render.say(render.plain(f"{file}, merged: {asked}"))
    if errors:
        render.say("hint: a service with this file is refused; mend it, and look with: vmrole answers check")
    return 1 if errors else 0


def _service_file(wishes: list[str]) -> str:
    """A service file with one role that wishes this, so that the keys are read as they are there."""
    keys = []
    for wish in wishes:
        key, sign, value = wish.partition("=")
        if not sign or not key.isalnum() or "\n" in value:
            raise click.UsageError(f"{wish!r} is not KEY=VALUE")
        if key == "xml":
            raise click.UsageError("the XML is FILE's to say; leave xml out of --answers")
        keys.append(f"        {key}: {value}\n")
    unattend = "".join(["unattend:\n", *keys]) if keys else "unattend: {}\n"
    return f"service: vmrole\nroles:\n  {_ROLE}:\n    answers:\n      {unattend}"


def _wishes(text: str, wanted: str) -> tuple[Answers, Machine, str]:
    """What the role wishes, its first instance, which may never have been deployed, and the file that it brings.

    Only this role is read: what else the service file says, and which images there are, changes nothing here.
    """
    tree, faults = read_tree(text)
    reader = Reader(tree)
    reader.problems.extend(faults)
    roles = _roles(tree)
    having = [name for name, role in roles.items() if _unattend(role) is not None and wanted in ("", name)]
    if len(having) != 1 and not reader.problems:
        names = ", ".join(name for name, role in roles.items() if _unattend(role) is not None) or "none"
        if not wanted:
            raise click.UsageError(f"say by --role whose answers; roles that have some for Windows: {names}")
        raise NotFound(f"no role {wanted} has answers for Windows", hint=f"these have: {names}")
    answers, service, own = None, str(tree.get("service", "")), ""
    if having:
        label(service)
        label(having[0])
        role = roles[having[0]]
        unattend = _unattend(role)
        assert unattend is not None
        own = str(xml) if not isinstance(xml := unattend.get("xml", ""), Map) else ""
        unattend["xml"], unattend.lines["xml"] = _somewhere(), unattend.lines.get("xml", 1)
        whose, at = WhoseAnswers(service=service, role=having[0], instances=1), f"roles.{having[0]}"
        given = read_answers(reader, role, at, AnswerFormat.UNATTEND, whose)
        answers = complete(reader, role, at, AnswerFormat.UNATTEND, whose, given, lambda: None).unattend
    if reader.problems or answers is None:
        raise InvalidInput("the service file has faults", problems=tuple(reader.problems))
    return answers, _machine(service, having[0]), own


def _somewhere() -> Map:
    """The user's own file as the service file names one that holds secrets."""
    named = Map()
    named["file"], named.lines["file"] = _SOMEWHERE, 1
    return named


def _roles(tree: Map) -> dict[str, Map]:
    roles = tree.get("roles")
    named = roles.items() if isinstance(roles, Map) else ()
    return {name: role for name, role in named if isinstance(role, Map)}


def _unattend(role: Map) -> Map | None:
    """What stands under `answers: {unattend: …}`."""
    answers = role.get("answers")
    unattend = answers.get("unattend") if isinstance(answers, Map) else None
    return unattend if isinstance(unattend, Map) else None


def _machine(service: str, role: str) -> Machine:
    return Machine(
        role=role,
        index=0,
        service=service,
        instance=f"{role}-0.{service}",
        generation=1,
        instance_id="00000000-0000-4000-8000-000000000000",
        mac="52:54:00:00:00:01",
        address="192.0.2.10/24",  # of documentation: the daemon gives the real one
        gateway="192.0.2.1",
        dns=("192.0.2.1",),
    )


def _of_options(error: InvalidInput) -> InvalidInput:
    """The faults of what --answers says, without the lines of the file that was made of it."""
    problems = (dataclasses.replace(one, key=one.key.rpartition("unattend.")[2], line=None) for one in error.problems)
    return InvalidInput("the answers have faults", problems=tuple(problems), hint=error.hint)


def _problem(refused: AnswersInvalid) -> InvalidInput:
    where = refused.where.removeprefix("line ")
    line = int(where) if where.isdigit() else None
    problem = Problem(refused.message, key="" if line else refused.where, line=line, hint=refused.hint)
    return InvalidInput("the answers cannot be merged", problems=(problem,))


def _stand_in(secret: SecretRef) -> Secret:  # noqa: ARG001 - none is read
    return Secret(_STAND_IN)
