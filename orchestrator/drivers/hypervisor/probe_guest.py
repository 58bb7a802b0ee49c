"""Two tiny guests that print a word on their serial line: one of our own, and Linux with a one-file initramfs.

Nothing here runs them. Both are bytes made here, so that finding out needs no download and no build.
"""

from __future__ import annotations

import struct
from typing import Final

# probe_guest.S, assembled; the word and a zero follow it. Multiboot: QEMU's -kernel loads it.
_OURS: Final = bytes.fromhex(
    "02b0ad1b00000100fe4f51e40000100000001000000000000000000020001000fabc00001800b980f0fa0269c06d4ec6414975f7"
    "bf0000200031c0b9000c0000f3abc7050000200003102000c7050010200003202000bf00202000b8830000008907050000200083"
    "c70881ff0030200075eeb8000020000f22d80f20e083c8200f22e0b9800000c00f320d000100000f300f20c00d010000800f22c0"
    "0f0115c0011000eaaa0010000800b8100000008ed88ed08ec0b9800000c00f32a9000400000f84c800000031c00fa285c00f84bc"
    "000000b8930110006689042500021900c1e810668904250602190066c7042502021900080066c7042504021900008e0f011c25c8"
    "011000b011e620e6a0b020e621b028e6a1b004e621b002e6a1b001e621e6a1b0ffe6a1b0fee621b034e643b09ce640b02ee640fb"
    "f4833c25d20110000a72f5fa48c7c00000004048c7c30320200048891c2508102000b9e8030000ba000010008b3402393275240f"
    "20da0f22dae2ec488d355c00000066bafd03eca82074fb66baf803ac84c07403eeebebfaf4ebfc50ff0425d2011000b020e62058"
    "48cf660f1f4400000000000000000000ffff0000009aaf00ffff00000092cf001700a801100066900f0200001900000000000000"
    "0000"
)

_LOAD_AT: Final = 0x400000
_ELF_HEADER_BYTES = 64
_PROGRAM_HEADER_BYTES = 56


def own(word: str) -> bytes:
    """A multiboot kernel that works unpaged, enters long mode, takes timer interrupts and then prints `word`."""
    return _OURS + word.encode("ascii") + b"\0"


def initramfs(word: str) -> bytes:
    """A cpio archive (newc) whose /init prints `word` and restarts the machine, with the console that it needs."""
    entries = (
        _cpio("dev", 0o040755, b""),
        _cpio("dev/console", 0o020600, b"", device=(5, 1)),
        _cpio("init", 0o100755, _init(word)),
        _cpio("TRAILER!!!", 0, b""),
    )
    return b"".join(entries)


def _init(word: str) -> bytes:
    """A static x86-64 ELF program: write(1, word), reboot(RESTART)."""
    text = word.encode("ascii") + b"\n"
    code_after = (
        b"\xba"
        + struct.pack("<I", len(text))  # mov edx, length
        + b"\x0f\x05"  # syscall
        + b"\xb8\xa9\0\0\0"  # mov eax, 169: reboot(2)
        + b"\xbf\xad\xde\xe1\xfe"  # mov edi, 0xfee1dead
        + b"\xbe\x69\x19\x12\x28"  # mov esi, 672274793
        + b"\xba\x67\x45\x23\x01"  # mov edx, 0x01234567: restart
        + b"\x0f\x05"
        + b"\xeb\xfe"  # jmp $: leaving would be a panic
    )
    code = (
        b"\xb8\x01\0\0\0"  # mov eax, 1: write(2)
        + b"\xbf\x01\0\0\0"  # mov edi, 1
        + b"\x48\x8d\x35"
        + struct.pack("<i", len(code_after))  # lea rsi, [rip + text]
        + code_after
    )
    entry = _ELF_HEADER_BYTES + _PROGRAM_HEADER_BYTES
    size = entry + len(code) + len(text)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, _LOAD_AT + entry, _ELF_HEADER_BYTES, 0, 0, _ELF_HEADER_BYTES,
        _PROGRAM_HEADER_BYTES, 1, 0, 0, 0,
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_AT, _LOAD_AT, size, size, 0x1000)
    return header + segment + code + text


def _cpio(name: str, mode: int, body: bytes, device: tuple[int, int] = (0, 0)) -> bytes:
    """One entry: the header of cpio's newc format, all numbers eight hexadecimal digits, all parts padded to four."""
    named = name.encode("ascii") + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(body), 0, 0, *device, len(named), 0)
    head = b"070701" + b"".join(f"{number:08x}".encode("ascii") for number in numbers) + named
    return _padded(head) + _padded(body)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
