"""What a file is that was taken for an answer file and is none: known by how it begins. Reads no XML."""

from __future__ import annotations

import re

_BYTES = (
    (b"PK\x03\x04", "a zip archive", "unpack it, and name the file within"),
    (b"\x1f\x8b", "packed with gzip", "unpack it with gunzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it, and name the file within"),
    (b"MSCF", "a cabinet of Windows", "unpack it, and name the file within"),
    (b"MSWIM\0\0\0", "an image of Windows (WIM)", "name the answer file, not the image"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an office program", "save it as plain text"),
    (b"%PDF-", "a PDF", "save the answer file as plain text"),
)

_TEXTS = (
    (
        re.compile(r"<!doctype\s+html\b|<html\b", re.IGNORECASE),
        "a web page",
        "download the file itself (raw), not the page that shows it",
    ),
    (re.compile(r"```"), "fenced as in Markdown", "remove the lines with ```"),
    (re.compile(r"\{\\rtf"), "a document of a word processor (RTF)", "save it as plain text"),
    (re.compile(r"version https://git-lfs\.github\.com/"), "a pointer of Git LFS", "fetch the file: git lfs pull"),
    (
        re.compile(r"(;[^\n]*\n\s*)*\[(unattended|data|guiunattended|userdata|sysprep)\]", re.IGNORECASE),
        "in the form of Windows XP (Unattend.txt, sysprep.inf)",
        "write it anew as XML; Windows reads no other since Vista",
    ),
    (re.compile(r'\{\s*["}]|\[\s*[{\]]'), "JSON", "an answer file is XML"),
    (
        re.compile(r"(404: )?not found|access denied|<Error><Code>", re.IGNORECASE),
        "the answer of a web server that has no such file",
        "download it anew, from the right address",
    ),
)


def by_bytes(source: bytes) -> tuple[str, str] | None:
    """What a file of no text is, and what to do; None for what may be text."""
    return next(((what, mend) for start, what, mend in _BYTES if source.startswith(start)), None)


def by_text(text: str) -> tuple[str, str] | None:
    """What a text is that is no answer file, and what to do; None for what may be one."""
    start = text.lstrip("\ufeff \t\r\n")[:2048]
    return next(((what, mend) for pattern, what, mend in _TEXTS if pattern.match(start)), None)
