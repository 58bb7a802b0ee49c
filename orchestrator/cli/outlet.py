"""Bytes that a guest wrote, on their way to files, pipes and terminals."""

from __future__ import annotations

import codecs
import io
from typing import Self, TextIO

from orchestrator.cli import render


class Outlet:
    """Where a guest's bytes are written to: as they are into files and pipes, and to a terminal as `render.lines_of`
    has them, also where a letter or the end of a line comes in two parts. A `with`: what came last is written then.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        letters = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(letters, translate=True) if stream.isatty() else None

    def write(self, part: bytes, /) -> None:
        """All of it, at once. Raises OSError as the stream does."""
        if self._decoder is None:
            self._stream.flush()
            self._stream.buffer.write(part)
        else:
            self._stream.write(render.lines_of(self._decoder.decode(part)))
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._decoder is not None:
            self._stream.write(render.lines_of(self._decoder.decode(b"", final=True)))
            self._stream.flush()
