"""What an error of ours is to whoever typed the command: its exit status and its lines on stderr."""

from __future__ import annotations

from typing import Final

from orchestrator.cli import render
from orchestrator.errors import (
    ConfigError,
    Conflict,
    Denied,
    InvalidInput,
    NotFound,
    Problem,
    VmroleError,
    WaitedTooLong,
)

# What the command ends with; ssh and what finds something say for themselves what else.
STATUSES: Final = {
    0: "done",
    1: "error",
    2: "usage or a faulty file",
    3: "not found",
    4: "the time was over",
    5: "conflict",
    6: "denied",
    78: "faulty configuration",
    130: "interrupted",
}


def statuses() -> str:
    """All of them in a sentence."""
    return f"Exit status: {', '.join(f'{status} {meaning}' for status, meaning in STATUSES.items())}."


def exit_status(error: VmroleError) -> int:
    """The exit status of an error; the table is in `errors`."""
    match error:
        case InvalidInput():
            return 2
        case NotFound():
            return 3
        case WaitedTooLong():
            return 4
        case Conflict():
            return 5
        case Denied():
            return 6
        case ConfigError():
            return 78
        case _:
            return 1


def report(error: VmroleError) -> None:
    """Says on stderr what went wrong, then what to do."""
    told = str(error)  # Of a configuration a line for each fault; of all else one, whatever a file is called.
    render.say(f"error: {told if isinstance(error, ConfigError) else render.plain(told)}")
    if isinstance(error, InvalidInput) and not (len(error.problems) == 1 and error.problems[0].message == str(error)):
        report_problems(error, "")
    if error.hint:
        render.say(f"hint: {render.plain(error.hint)}")


def report_problems(error: InvalidInput, file: str, document: str = "") -> None:
    """A line for each problem, in the manner of compilers: `shop.yaml:12: roles.web.size: what is wrong`."""
    for one in error.problems:
        render.say(render.plain(problem_line(one, file, document)))


def problem_line(problem: Problem, file: str, document: str = "") -> str:
    """A problem in one line."""
    place = ":".join(str(part) for part in (file, problem.line) if part)
    words = [word for word in (place, document, problem.key, problem.message) if word]
    hint = f" ({problem.hint})" if problem.hint else ""
    return ": ".join(words) + hint
