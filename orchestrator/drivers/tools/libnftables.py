"""What `nft -f -` does, in this process: its own library, which is asked for less than starting the program costs.

A process waits at its end until the kernel has disposed of what its transaction took away, some 10 to 30 ms, and so
does whoever waits for it. The library keeps its socket, and nobody waits. See libnftables(3).
"""

from __future__ import annotations

import ctypes
import logging
import threading
from typing import Final

from orchestrator.drivers.tools.command import run
from orchestrator.errors import CommandFailed

log = logging.getLogger(__name__)
LIBRARY: Final = "libnftables.so.1"  # Debian's nftables depends on it: it is what the program calls.
_ARGV: Final = ("nft", "-f", "-")


class Nftables:
    """Runs transactions; the first makes what the next ones use again. Thread-safe."""

    def __init__(self, library: str = LIBRARY) -> None:
        """`library` as the dynamic linker finds it; where there is none, the program is run."""
        self._lock = threading.Lock()
        self._context: ctypes.c_void_p | None = None
        try:
            self._library: ctypes.CDLL | None = ctypes.CDLL(library)
        except OSError as error:
            log.debug("nft is run for each transaction: %s", error)
            self._library = None
            return
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        self._library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p

    def apply(self, text: str) -> None:
        """All of it or, with CommandFailed, nothing."""
        with self._lock:
            if self._library is None:
                run(_ARGV, stdin=text)
            else:
                self._run(self._library, text)

    def ask(self, question: str) -> str:
        """What is answered to one command; CommandFailed where what it asks about is not there."""
        with self._lock:
            if self._library is None:
                return run(["nft", question])
            context = self._run(self._library, question)
            answer: bytes | None = self._library.nft_ctx_get_output_buffer(context)
            return (answer or b"").decode(errors="replace")

    def _run(self, library: ctypes.CDLL, text: str) -> ctypes.c_void_p:
        if self._context is None:
            self._context = self._made(library)
        if library.nft_run_cmd_from_buffer(self._context, text.encode()) != 0:
            said = library.nft_ctx_get_error_buffer(self._context) or b""
            raise CommandFailed(_ARGV, 1, said.decode(errors="replace"))
        return self._context

    def close(self) -> None:
        """Gives back what it has kept; it may be used again."""
        with self._lock:
            if self._library is not None and self._context is not None:
                self._library.nft_ctx_free(self._context)
                self._context = None

    @staticmethod
    def _made(library: ctypes.CDLL) -> ctypes.c_void_p:
        context = ctypes.c_void_p(library.nft_ctx_new(0))
        if not context or library.nft_ctx_buffer_error(context) or library.nft_ctx_buffer_output(context):
            raise CommandFailed(_ARGV, 1, "libnftables has no memory")
        return context
