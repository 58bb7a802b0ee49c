"""What a guest may do to the terminal of whoever looks: draw, where somebody sits at its console; else nothing."""

from __future__ import annotations

import io
import itertools
import os
import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.cli import render
from orchestrator.cli.outlet import Outlet
from orchestrator.cli.screen import AFTERWARDS, Screen
from tests.world.api_daemon import SHOP, Daemon
from tests.world.command_line import VMROLE

ENDS_S = 120.0
SIGN = "\ufffd"
# What editors, pagers, menus and shells on a serial line draw with.
DRAWN = (
    "ä\b\a\r\n\t",
    "\x1b[1;31mred\x1b[m",
    "\x1b[38;2;1;22;255m\x1b[38:5:7m",
    "\x1b[?1049h\x1b[2J\x1b[H\x1b[12;40H\x1b[K\x1b[?1049l",
    "\x1b[?25l\x1b[?12;25h\x1b[?1h\x1b=\x1b[?1l\x1b>\x1b[4h\x1b[4l",
    "\x1b[5A\x1b[B\x1b[C\x1b[D\x1b[3P\x1b[2@\x1b[L\x1b[M\x1b[4X\x1b[2;20r",
    "\x1b7\x1b8\x1bM\x1bD\x1bE\x1bH\x1b[s\x1b[u",
    "\x1b(0lqqk\x1b(B\x0e\x0f\x1b)0",
)
# What has a terminal do more than draw.
OBEYED = (
    "\x1b]0;owned\x07",
    "\x1b]52;c;cm0gLXJmIC8K\x07",
    "\x1bPtmux;\x1b\\",
    "\x1b_Ga=q\x1b\\",
    "\x1b^x\x1b\\",
    "\x1bXx\x1b\\",
    "\x1b[6n",
    "\x1b[5n",
    "\x1b[c",
    "\x1b[>c",
    "\x1b[=c",
    "\x1b[?6n",
    "\x1b[>q",
    "\x1b[21t",
    "\x1b[5i",
    "\x1b[?5i",
    "\x1b[4i",
    "\x1b[x",
    "\x1b[?1000h",
    "\x1b[?25;1003h",
    "\x1b[?2004;9h",
    "\x1b[20h",
    "\x1b[1$p",
    "\x1b[?u",
    "\x1b[>1u",
    "\x1b[1000000b",
    "\x1b[99999S",
    "\x1b[1 q",
    "\x1b[!p",
    "\x1bZ",
    "\x1bc",
    "\x1b#8",
    "\x1b(K",
    "\x1b%G",
    "\x1b[" + "1;" * 100 + "m",
    "\x9b6n",
    "\x9d0;x\x9c",
    "\x90q\x9c",
    "\x05",
    "\x7f",
    "\u202e",
)
_DRAWING = re.compile(
    "\x1b(?:[78=>DEHM]|[()][0AB]|\\[[0-9;:]*[@A-HIJ-MPSTXZ`adefgmrsu]|\\[\\?[0-9;]*[JK]|\\[(?:4|\\?[0-9;]+)[hl])"
)


def through(text: bytes, cuts: Sequence[int] = ()) -> str:
    """What a terminal is shown of it when it comes in parts."""
    screen, places = Screen(), [0, *cuts, len(text)]
    parts = [screen.shown(text[begin:end]) for begin, end in itertools.pairwise(places)]
    return b"".join(parts).decode()


@pytest.mark.parametrize("text", DRAWN)
def test_a_console_draws(text: str) -> None:
    """Whole, and however it comes."""
    data = text.encode()
    assert through(data) == text
    assert through(data, range(1, len(data))) == text


@pytest.mark.parametrize("text", OBEYED)
def test_a_console_does_no_more_than_draw(text: str) -> None:
    """Nothing is obeyed, all of it is there to be seen, and what comes behind is drawn again."""
    data = text.encode()
    for cuts in ((), range(1, len(data))):
        shown = through(data + b"ok\x1b[1mbold", cuts)
        assert shown.endswith("ok\x1b[1mbold")
        begin = shown.removesuffix("ok\x1b[1mbold")
        assert SIGN in begin
        assert not [char for char in begin if not char.isprintable() and char not in "\a"], begin
        assert [char for char in begin if char not in SIGN + "\a"] == [char for char in text if char.isprintable()]


def test_no_bytes_make_a_console_do_more() -> None:
    """Thousands of them, of what sequences are made of: each escape that gets through begins one that draws."""
    chance = random.Random(12)
    signs = [*"\x1b\x1b\x1b[[[]PX^_?>=!$;;:0123456789nctqphlmHJKriuZ(0B \x9b\x9d\x07\u00e4\x18\x1a"]
    signs += [f"\x1b[?{mode}{end}" for mode in (1, 3, 25, 1000, 1006, 2004) for end in "hl"]
    signs += ["\x1b[6n", "\x1b[0c", "\x1b[21t", "\x1b[1;99999r", "\x1b[>1u", "\x1b[5i"]
    for _ in range(3000):
        text = "".join(chance.choices(signs, k=chance.randrange(1, 60)))
        data = text.encode()
        shown = through(data, sorted(chance.sample(range(len(data)), chance.randrange(0, min(8, len(data))))))
        left = _DRAWING.sub("", shown)
        assert not [char for char in left if not char.isprintable() and char != "\a"], (text, shown)
        for private in re.findall("\x1b\\[(\\?[0-9;]+)[hl]", shown):
            modes = set(private.removeprefix("?").split(";"))
            assert modes <= {"1", "7", "12", "25", "47", "1047", "1048", "1049", "2004"}, text


def test_broken_letters_are_signs() -> None:
    """Also one that is cut off by an escape."""
    assert through(b"\xc3\x1b[1mx\xff\xe2\x82") == f"{SIGN}\x1b[1mx{SIGN}"


def on_a_terminal(*command: str, typed: bytes = b"", **environment: str) -> bytes:
    """All that a terminal got of a command, which has it for its input, output and errors; each line's end as it is
    written there.
    """
    ours, theirs = os.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        try:
            process = subprocess.Popen(
                command, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(os.environ, **environment)
            )
        finally:
            os.close(theirs)
        terminal.write(typed)
        seen = b""
        while True:
            try:
                seen += terminal.read(4096)
            except OSError:  # EIO: nobody has the terminal open any more.
                process.wait(ENDS_S)
                return seen


def test_who_sits_at_a_console_sees_a_guest_draw_and_no_more(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What virsh prints goes by the screen; the exit status is its own; the terminal is left as a shell wants it."""
    daemon.control.apply(SHOP)
    virsh = tmp_path / "virsh"
    virsh.write_text("#!/bin/sh\necho \"$@\"\nprintf '\\033[1mlogin\\033]0;owned\\007'\nexit 7\n")
    virsh.chmod(0o755)
    monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
    path = f"{tmp_path}:{os.environ['PATH']}"
    code = "import sys\nfrom orchestrator.cli.main import main\nprint('status', main(sys.argv[1:]))"
    seen = on_a_terminal(
        VMROLE[0], "-c", code, "console", "web-0", "--connect", "qemu:///x", typed=b"typed\n", PATH=path
    )
    assert b"--connect qemu:///x console web-0.shop\r\n\x1b[1mlogin\xef\xbf\xbd]0;owned\x07" + AFTERWARDS in seen
    assert b"status 7" in seen


class Terminal(io.StringIO):
    """A stream that is one."""

    def isatty(self) -> bool:
        """It says so."""
        return True


def test_a_terminal_is_shown_no_data_that_it_obeys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a verb prints, and whatever it forgot to make plain; into a pipe it goes as it is."""
    text = "a\tb\r\nc\x1b[2J\x9b2J\u202ed\re"
    terminal, pipe = Terminal(), io.StringIO()
    monkeypatch.setattr("sys.stdout", terminal)
    render.show([text])
    render.write(text)
    harmless = f"a    b\nc{SIGN}[2J{SIGN}2J{SIGN}d{SIGN}e"
    assert terminal.getvalue() == f"{harmless}\n{harmless}"
    monkeypatch.setattr("sys.stdout", pipe)
    render.show([text])
    assert pipe.getvalue() == f"{text}\n"


def test_bytes_of_a_guest_are_text_on_a_terminal_alone(tmp_path: Path) -> None:
    """In parts that cut letters and the ends of lines; the end of a Windows' line is one, a lone return none."""
    data = "ü\r\nb\r\x1b]0;x\x07\t€".encode() + b"\xe2\x82"
    terminal = Terminal()
    with Outlet(terminal) as outlet:
        for at in range(len(data)):
            outlet.write(data[at : at + 1])
    assert terminal.getvalue().replace("\n", "|") == f"ü|b|{SIGN}]0;x{SIGN}    €{SIGN}"
    with (tmp_path / "a").open("w+") as file:
        file.write("before ")
        with Outlet(file) as outlet:
            outlet.write(data)
    assert (tmp_path / "a").read_bytes() == b"before " + data


@pytest.mark.parametrize("form", ["table", "json"])
def test_the_doctor_shows_nothing_that_a_terminal_obeys(tmp_path: Path, form: str) -> None:
    """What programs say of themselves; nothing but its own colours gets through."""
    for name in ("haproxy", "ip", "nft", "qemu-img", "virsh"):
        (tmp_path / name).write_text("#!/bin/sh\nprintf '\\033]0;owned\\007\\302\\2332J\\n' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    settings = tmp_path / "vmrole.toml"
    settings.write_text(f'accelerator = "tcg"\nstate_dir = "{tmp_path}/state"\nrun_dir = "{tmp_path}/run"\n')
    seen = on_a_terminal(*VMROLE, "doctor", "--config", str(settings), "-o", form, PATH=str(tmp_path)).decode()
    assert "owned" in seen
    left = re.sub("\x1b\\[(?:[0-9]{1,2}|0)m", "", seen)
    assert not [char for char in left if not char.isprintable() and char not in "\r\n"]
