"""The parts of a console's log that a follower is given: every byte once, whatever becomes of the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.api import console_log


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two lines."""
    path = tmp_path / "web-0.shop.log"
    path.write_bytes(b"first\nsecond\n")
    return path


def rest(log: Path, place: str, bytes_most: int = 4) -> bytes:
    """All that is behind a place now, in small parts."""
    text = b""
    while (part := console_log.after(log, place, bytes_most)).text:
        assert len(part.text) <= bytes_most
        text, place = text + part.text, part.place
    return text


def append(log: Path, text: bytes) -> None:
    """As the keeper of consoles writes it."""
    with log.open("ab") as file:
        file.write(text)


def test_what_comes_is_given_once(log: Path) -> None:
    """The end first, then what was written since, in order; nothing while nothing was."""
    first = console_log.end(log, 7)
    assert first.text == b"second\n"
    assert rest(log, first.place) == b""
    append(log, b"third\nfourth\n")
    assert rest(log, first.place) == b"third\nfourth\n"
    assert re.fullmatch(console_log.PLACE_PATTERN, first.place)


def test_the_end_of_an_empty_log_is_a_place(log: Path) -> None:
    """A VM that has just started has written nothing yet."""
    log.write_bytes(b"")
    place = console_log.end(log, 10).place
    append(log, b"first")
    assert rest(log, place) == b"first"


def test_nothing_is_lost_where_it_rolls_over(log: Path) -> None:
    """The rest of the file that was the log, then the one that is."""
    place = console_log.end(log, 100).place
    append(log, b"last of old\n")
    log.rename(f"{log}.0")
    log.write_bytes(b"first of new\n")
    assert rest(log, place) == b"last of old\nfirst of new\n"


@pytest.mark.parametrize("same_file", [True, False])
@pytest.mark.parametrize("text", [b"", b"a", b"another machine, which wrote more than the first\n" * 20])
def test_another_log_is_given_from_its_beginning(log: Path, text: bytes, same_file: bool) -> None:
    """A reimage makes a new one, whose file may have the number of the one that went."""
    place = console_log.end(log, 100).place
    if not same_file:
        log.rename(f"{log}.kept")  # so that the number is taken
    log.write_bytes(text)
    assert (log.stat().st_ino == int(place.split("-")[1])) is same_file
    assert rest(log, place) == text


def test_the_same_words_in_another_file_are_another_log(log: Path) -> None:
    """Two boots of an image say the same at first."""
    place = console_log.end(log, 100).place
    text = log.read_bytes()
    log.rename(f"{log}.kept")
    log.write_bytes(text)
    assert rest(log, place) == text


def test_a_log_that_is_not_there_is_told(log: Path) -> None:
    """Also where a former one lies about."""
    place = console_log.end(log, 100).place
    log.rename(f"{log}.0")
    with pytest.raises(FileNotFoundError):
        console_log.after(log, place, 10)
    with pytest.raises(FileNotFoundError):
        console_log.end(log, 10)
