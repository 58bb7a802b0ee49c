"""The screen of a VM as a picture that everybody can look at."""

from __future__ import annotations

import struct
import zlib

import pytest

from orchestrator.drivers.hypervisor.last_words import png
from orchestrator.errors import Permanent

PIXELS = bytes(range(18))  # 3 x 2


def chunks(picture: bytes) -> dict[bytes, bytes]:
    """Of a PNG, by kind, each with its checksum compared; RFC 2083."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = {}, 8
    while at < len(picture):
        size, kind = struct.unpack(">I4s", picture[at : at + 8])
        content = picture[at + 8 : at + 8 + size]
        assert struct.unpack(">I", picture[at + 8 + size : at + 12 + size]) == (zlib.crc32(kind + content),)
        found[kind] = content
        at += 12 + size
    return found


@pytest.mark.parametrize("head", [b"P6\n3 2\n255\n", b"P6 3 2 255 "])
def test_a_screen_is_a_png(head: bytes) -> None:
    """Three bytes a pixel, each line without a filter."""
    found = chunks(png(head + PIXELS))
    assert list(found) == [b"IHDR", b"IDAT", b"IEND"]
    assert found[b"IHDR"] == struct.pack(">IIBBBBB", 3, 2, 8, 2, 0, 0, 0)
    assert zlib.decompress(found[b"IDAT"]) == b"\0" + PIXELS[:9] + b"\0" + PIXELS[9:]


@pytest.mark.parametrize(
    "ppm",
    [
        b"",
        b"GIF89a",
        b"P6\n3 2\n65535\n" + PIXELS,
        b"P6\n3 2\n255\n" + PIXELS[:-1],
        b"P6\n0 2\n255\n",
        b"P6\n99999 99999\n255\n" + PIXELS,
        b"P5\n3 2\n255\n" + PIXELS,
    ],
)
def test_what_is_no_screen_is_refused(ppm: bytes) -> None:
    """Cut off, of another kind, larger than any: nothing is made of it, and no memory taken for it."""
    with pytest.raises(Permanent):
        png(ppm)
