"""A program for the guest: has its kernel make its randomness anew, of all that was written to its random device.

A shell has no ioctl(2), the image no interpreter that has one, and its builder no compiler: so it is written down as
the processor reads it. It exits with 0 where the kernel has done it, with 1 where it refuses.
"""

from __future__ import annotations

import struct
from typing import Final

_LOADED_AT: Final = 0x400000
_HEADERS: Final = 64 + 56  # of the file, and of its one segment
RNDRESEEDCRNG: Final = 0x5207
_CODE: Final = bytes.fromhex(
    "b802000000"  # mov eax, 2: open(2)
    "488d3d2a000000"  # lea rdi, [the path]
    "31f6"  # xor esi, esi: O_RDONLY
    "0f05"  # syscall
    "85c0"  # test eax, eax
    "7816"  # js refused
    "89c7"  # mov edi, eax
    f"be{RNDRESEEDCRNG.to_bytes(4, 'little').hex()}"  # mov esi, RNDRESEEDCRNG
    "31d2"  # xor edx, edx
    "b810000000"  # mov eax, 16: ioctl(2)
    "0f05"  # syscall
    "31ff"  # xor edi, edi
    "85c0"  # test eax, eax
    "7405"  # je ended
    "bf01000000"  # refused: mov edi, 1
    "b83c000000"  # ended: mov eax, 60: exit(2)
    "0f05"  # syscall
)
_PATH: Final = b"/dev/urandom\0"


def program() -> bytes:
    """The program, as an ELF executable for x86-64 that needs nothing else."""
    size = _HEADERS + len(_CODE) + len(_PATH)
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bits, little-endian
    entry = _LOADED_AT + _HEADERS
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOADED_AT, _LOADED_AT, size, size, 0x1000)
    return header + segment + _CODE + _PATH
