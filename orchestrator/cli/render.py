"""Values as text: tables, JSON, YAML, names, lengths of time. Pure, except that `show`, `write` and `say` print.

As in `client`, nothing is imported that `get` does not need.
"""

from __future__ import annotations

import json
import os
import sys
import time

from orchestrator.client.clock import now_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, TextIO, TypeVar

    from orchestrator.errors import VmroleError

    Row = Mapping[str, Any]
    T = TypeVar("T")
    Column = tuple[str, Callable[[T], str]]  # header, and the cell of a value

FORMATS = ("table", "wide", "json", "yaml", "name")


def table(columns: Sequence[Column[T]], rows: Iterable[T], *, headers: bool = True) -> list[str]:
    """Lines with aligned cells; the last column is not padded."""
    cells = [[plain(cell(row)) or "-" for _, cell in columns] for row in rows]
    if headers:
        cells.insert(0, [name for name, _ in columns])
    widths = [max((len(line[at]) for line in cells), default=0) for at in range(len(columns))]
    return [pad(line, widths) for line in cells]


def pad(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line of a table."""
    return "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def plain(text: str) -> str:
    """The text with everything that a terminal could obey replaced: some of it was said by guests."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)


def lines_of(text: str) -> str:
    """The text with its lines, and tabs as blanks; everything else that a terminal could obey is replaced."""
    whole = text.replace("\r\n", "\n").replace("\t", "    ")
    return whole if whole.isprintable() else "\n".join(map(plain, whole.split("\n")))


def as_json(value: object, *, indent: int | None = None) -> str:
    """JSON, in which what a terminal could obey stands as an escape: the same value to whoever reads it."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isascii() and "\x7f" not in text:  # What is below a blank, json has escaped.
        return text
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text).replace(
        "\x7f", "\\u007f"
    )


def dump(value: object, form: str) -> str:
    """JSON, or YAML (which is imported only now)."""
    if form == "json":
        return as_json(value, indent=2)
    import io

    from ruamel.yaml import YAML

    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(json.loads(json.dumps(value)), text)  # It knows no mappings but plain ones.
    return text.getvalue().rstrip("\n")


def show(lines: Iterable[str], *, coloured: bool = False) -> None:
    """Prints data; a terminal is shown it as `lines_of` has it, unless it is `coloured`: plain, but for our colours.

    Raises VmroleError when it cannot be written, BrokenPipeError when nobody reads on.
    """
    write("".join(f"{line}\n" for line in lines), coloured=coloured)


def write(text: str, *, coloured: bool = False) -> None:
    """Prints a part of data, which need not end with a line; as `show` does, and raises as it."""
    if sys.stdout is None:
        from orchestrator.errors import VmroleError

        raise VmroleError("stdout is closed: there is nowhere to print to")
    try:
        sys.stdout.write(lines_of(text) if sys.stdout.isatty() and not coloured else text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> VmroleError:
    """That stdout takes nothing more; what it has not taken is given up."""
    from orchestrator.errors import VmroleError

    abandon(sys.stdout)
    return VmroleError(f"stdout cannot be written: {error.strerror}")


def abandon(stream: TextIO) -> None:
    """Lets the flush at exit succeed: what could not be written is given up."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(line: str) -> None:
    """Prints talk, one line or several, as `plain` has them: it names files, and says what others have said. Where
    stderr takes none, the work goes on without, and the exit status stays what it is.
    """
    if sys.stderr is None:
        return  # print would take stdout instead
    harmless = "\n".join(map(plain, line.replace("\t", " ").split("\n")))
    try:
        print(harmless, file=sys.stderr, flush=True)
    except OSError:
        abandon(sys.stderr)


def is_terminal() -> bool:
    """Whether talk is read on a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def ago(at_s: float) -> str:
    """How long ago: "4s", "12m", "3h20m", "5d"; "" for never."""
    return length(now_s() - at_s) if at_s else ""


def length(seconds: float) -> str:
    """A length of time in as few letters as tables have."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    if whole < 7200:
        return f"{whole // 60}m"
    if whole < 172_800:
        return f"{whole // 3600}h{whole % 3600 // 60}m"
    return f"{whole // 86_400}d"


def size(count_bytes: int) -> str:
    """Bytes with a unit of 1024: "61.2 MiB"."""
    amount = float(count_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def clock(at_s: float) -> str:
    """The local time of an event, with its date when that is not today."""
    then = time.localtime(at_s)
    return time.strftime("%H:%M:%S" if then[:3] == time.localtime(now_s())[:3] else "%Y-%m-%d %H:%M:%S", then)


def tally(errors: int, warnings: int, notes: int) -> str:
    """What a check says last."""
    counts = [(errors, "error"), (warnings, "warning"), (notes, "note")]
    words = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count)
    return words or "nothing is wrong"
