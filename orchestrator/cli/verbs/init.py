"""`vmrole init`: the first vmrole.toml of a host."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import render
from orchestrator.cli.options import examples
from orchestrator.errors import Conflict, InvalidInput, Problem, VmroleError

if TYPE_CHECKING:
    from orchestrator.host.doctor.check import Check

_MODE: Final = 0o644  # what is secret does not stand in it
_QUESTIONS: Final = {
    "vip_interface": "Interface for the addresses of services",
    "vip_pool": "Networks that they are taken from, or nothing for those of the interface",
    "state_dir": "Directory for images and disks",
    "socket_group": "Group whose members may use vmrole",
}


@click.command(
    epilog=examples("vmrole init", "vmrole init --vip-interface enp3s0", "vmrole init --config /srv/vmrole.toml")
)
@click.option("--vip-interface", metavar="NAME", help="Where services get their addresses; nothing is asked then.")
@click.option(
    "--vip-pool", metavar="NETWORKS", help="Networks that those are taken from; the interface's unless given."
)
@click.option("--state-dir", metavar="PATH", help="For images, disks and records; /var/lib/vmrole unless given.")
@click.option("--socket-group", metavar="NAME", help="Its members may use vmrole; the group vmrole unless given.")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The file to write; VMROLE_CONFIG or /etc/vmrole/vmrole.toml unless given.",
)
def init(file: Path | None, **flags: str | None) -> None:
    """Writes the first configuration of this host, of what it asks on a terminal or is given by options.

    Each answer is looked at as `vmrole doctor` does. All other keys stand in the file with their defaults, switched
    off. A file that exists is never replaced.
    """
    from orchestrator.host import config, config_file

    target = file or Path(os.environ.get(config.NAMED_BY) or config.DEFAULT_FILE)
    if os.path.lexists(target):
        raise _taken(target)
    given = {key: value for key, value in flags.items() if value is not None}
    problems = [problem for key, value in given.items() if (problem := _problem(key, value))]
    if problems:
        raise InvalidInput("what the options say cannot be the configuration of this host", problems=tuple(problems))
    answers = given if "vip_interface" in given else _asked(given)
    unsaid = config.defaults()
    _write(target, config_file.text({key: answers[key] for key in answers if answers[key] != str(unsaid[key])}))
    render.show([render.plain(f"{target} is written. Whether the host is fit: {_doctor(file)}")])


def _asked(given: dict[str, str]) -> dict[str, str]:
    """What was given, and an answer to each other question. Raises InvalidInput where nobody can be asked."""
    from orchestrator.host import config
    from orchestrator.host.doctor import host

    names = ", ".join(host.interfaces()) or "(this host has none)"
    if sys.stdin is None or not sys.stdin.isatty() or not render.is_terminal():
        hint = f"say --vip-interface NAME, of: {names}; --vip-pool, --state-dir and --socket-group have defaults"
        raise InvalidInput("this is no terminal, so nothing can be asked", hint=hint)
    render.say(f"Interfaces of this host: {names}")
    unsaid = config.defaults()
    return {
        key: given[key] if key in given else _answer(key, question, str(unsaid[key]))
        for key, question in _QUESTIONS.items()
    }


def _answer(key: str, question: str, default: str) -> str:
    """What somebody at the terminal says, once nothing is wrong with it; nothing stands for the default."""
    while True:
        answer = str(click.prompt(question, default=default, show_default=bool(default), err=True)).strip() or default
        problem = _problem(key, answer)
        if problem is None:
            return answer
        render.say(str(problem))


def _problem(key: str, value: str) -> Problem | None:
    """Why the host cannot have the value; a mere drawback is told on stderr."""
    from orchestrator.host import config
    from orchestrator.host.doctor import Verdict, untried

    if not value.isprintable() or config.masked(value) != value:
        return Problem(f"{config.masked(ascii(value))[:80]} cannot be written", key=key, hint="use plain words")
    if fault := config.fault(key, value):
        return Problem(fault[0], key=key, hint=fault[1])
    look = _checks().get(key)
    if look is None:
        return None
    check = untried(look(value), is_root=os.geteuid() == 0)
    match check.verdict:
        case Verdict.FAIL:
            return Problem(check.message, key=key, hint=check.remedy)
        case Verdict.WARN:
            render.say(f"{key}: {check.message} ({check.remedy})")
        case Verdict.PASS:
            pass
    return None


def _checks() -> dict[str, Callable[[str], Check]]:
    """Those of `vmrole doctor`, each of a value for its key."""
    from orchestrator.host.config import Config
    from orchestrator.host.doctor import host

    return {
        "vip_interface": lambda name: host.vip_interface(Config(vip_interface=name)),
        "state_dir": lambda path: host.state_dir(Config(state_dir=Path(path))),
        "socket_group": lambda name: host.socket_group(Config(socket_group=name)),
    }


def _doctor(file: Path | None) -> str:
    """What looks at a host of this file; of one in conf.d, which says a part of it, at that of the whole."""
    from orchestrator.host.config import DEFAULT_FILE, PARTS

    main = file.parent.parent / Path(DEFAULT_FILE).name if file and file.parent.name == PARTS else file
    if main is None or (main != file and main == Path(DEFAULT_FILE)):
        return "vmrole doctor"
    return f"vmrole doctor --config {shlex.quote(str(main))}"


def _taken(file: Path) -> Conflict:
    """The refusal to replace a file."""
    from orchestrator.host.config import PARTS

    if file.parent.name == PARTS:
        hint = f"give another name in {file.parent}, or move it away"
    else:
        part = file.parent / PARTS / "50-host.toml"
        hint = (
            f"write what is to be different into {part}, which comes after it (see vmrole config show): "
            f"vmrole init --config {shlex.quote(str(part))}; or move it away"
        )
    return Conflict(f"{file} exists, and is not replaced", hint=hint)


def _write(file: Path, text: str) -> None:
    """The file whole, or none; one that came meanwhile stays as it is."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        name = f".{file.name}."
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix=name, dir=file.parent) as temporary:
            os.fchmod(temporary.fileno(), _MODE)
            temporary.write(text)
            temporary.flush()
            os.fsync(temporary.fileno())
            os.link(temporary.name, file)
    except FileExistsError as error:
        if not os.path.lexists(file):  # What is to be its directory is a file.
            raise VmroleError(f"{file.parent} is no directory", hint="name another file with --config") from error
        raise _taken(file) from error
    except OSError as error:
        hint = "write it as root, or name another file with --config"
        raise VmroleError(f"{file} cannot be written: {error.strerror}", hint=hint) from error
