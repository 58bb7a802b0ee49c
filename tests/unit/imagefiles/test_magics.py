"""What is no disk is told by its name, with what to do about it, instead of being taken for a raw disk."""

from __future__ import annotations

import gzip
import io
import lzma
import subprocess
import tarfile
from pathlib import Path

import pytest

from orchestrator import imagefiles
from orchestrator.errors import ImageRejected
from orchestrator.imagefiles import SourceFormat
from tests.world.disk_files import MIB, noise

CAP = 1 << 40
VMDK_LINES = b'CID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 2048 FLAT "/etc/shadow" 0\n'


def refused(data: bytes, claimed: SourceFormat | None = SourceFormat.RAW, *, convert: bool = False) -> ImageRejected:
    """The refusal of bytes."""
    with pytest.raises(ImageRejected) as caught:
        imagefiles.inspect(io.BytesIO(data), claimed, virtual_size_max=CAP, convert=convert)
    return caught.value


def placed(at: int, magic: bytes) -> bytes:
    """A disk of 1 MiB with bytes at a place; from its end where that is negative."""
    data = bytearray(MIB)
    start = at if at >= 0 else MIB + at
    data[start : start + len(magic)] = magic
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "at", "magic", "hint"),
    [
        ("tar", 257, b"ustar\x0000", "tar xf"),
        ("tar", 257, b"ustar  \0", "tar xf"),
        ("7z", 0, b"7z\xbc\xaf\x27\x1c", "7z x"),
        ("lz4", 0, b"\x04\x22\x4d\x18", "unlz4"),
        ("lz4", 0, b"\x02\x21\x4c\x18", "unlz4"),
        ("lzop", 0, b"\x89LZO\0\x0d\x0a\x1a\x0a", "lzop"),
        ("lzip", 0, b"LZIP\1", "lzip"),
        ("lrzip", 0, b"LRZI\0\6", "lrunzip"),
        ("lzma", 0, b"\x5d\0\0\x80\0", "unlzma"),
        ("rar", 0, b"Rar!\x1a\x07\1\0", "unrar"),
        ("compress", 0, b"\x1f\x9d\x90", "uncompress"),
        ("WIM", 0, b"MSWIM\0\0\0", "image build windows"),
        ("squashfs", 0, b"hsqs", "boot loader"),
        ("squashfs", 0, b"sqsh", "boot loader"),
        ("EROFS", 1024, b"\xe2\xe1\xf5\xe0", "boot loader"),
        ("Android", 0, b"\x3a\xff\x26\xed", "simg2img"),
        ("DMG", -512, b"koly", "qemu-img convert -f dmg"),
        ("EWF", 0, b"EVF\x09\x0d\x0a\xff\0", "ewfexport"),
        ("AFF", 0, b"AFF10\x0d\x0a\0", "affconvert"),
        ("cpio", 0, b"070701", "cpio"),
        ("zstd", 0, b"\x50\x2a\x4d\x18\4\0\0\0", "unzstd"),
        ("zstd", 0, b"\x5f\x2a\x4d\x18\4\0\0\0", "unzstd"),
        ("DOS or Windows program", 0, b"MZ\x90\0", "disk image"),
        ("saved state of a QEMU", 0, b"QEVM\0\0\0\3", "disk image"),
        ("VHD set", 0, b"vhdsfile", "disk image"),
        ("SQLite", 0, b"SQLite format 3\0", "disk image"),
        ("cpio", 0, b"070707", "cpio"),
        ("ELF", 0, b"\x7fELF\2\1", "disk image"),
        ("HTML", 0, b"<!DOCTYPE html><html><head><title>404 Not Found</title>", "fetch the file again"),
        ("HTML", 0, b"\xef\xbb\xbf\r\n<html><body><h1>Service unavailable</h1></body>", "fetch the file again"),
        ("JSON", 0, b'{"message": "Not Found", "status": "404", "x": 1}', "fetch the file again"),
        ("SESparse", 0, b"\xbe\xba\xfe\xca\0\0\0\0", "vmkfstools"),
        ("UDF", 0x8801, b"NSR03", "installation medium"),
        ("UDF", 0x8001, b"NSR02", "installation medium"),
        ("ISO 9660", 0x8001, b"CD001", "installation medium"),
        ("cab", 0, b"MSCF\0\0\0\0", "cabextract"),
        ("rpm", 0, b"\xed\xab\xee\xdb", "rpm2cpio"),
        ("Proxmox", 0, b"VMA\0", "vma extract"),
        ("zip", 0, b"PK\x03\x04", "unzip"),
        ("VDI", 64, b"\x7f\x10\xda\xbe", "qemu-img convert -f vdi -O qcow2"),
        ("QED", 0, b"QED\0", "qemu-img convert -f qed -O qcow2"),
        ("Parallels", 0, b"WithoutFreeSpace", "qemu-img convert -f parallels -O qcow2"),
        ("LUKS", 0, b"LUKS\xba\xbe", "decrypt"),
    ],
)
def test_what_is_no_disk_is_named(name: str, at: int, magic: bytes, hint: str) -> None:
    """Whatever the file is said to be, the answer says what it is and what helps."""
    data = placed(at, magic)
    for error in (refused(data), refused(data, None), refused(data, None, convert=True)):
        assert name in str(error)
        assert hint in error.hint


@pytest.mark.parametrize("kind", ["vdi", "qed", "parallels"])
def test_what_the_hint_says_makes_a_disk_of_another_program_s(tmp_path: Path, kind: str) -> None:
    """As QEMU writes it, whatever words it begins with: the command of the hint gives a file that is taken."""
    file, made = tmp_path / "disk", tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, file, "8M"], check=True)
    for claimed in (None, SourceFormat.RAW):
        error = refused(file.read_bytes(), claimed)
        assert error.hint.startswith("make another of it: ")
    command = error.hint.removeprefix("make another of it: ").partition(",")[0]
    words = [{"FILE": str(file), "disk.qcow2": str(made)}.get(word, word) for word in command.split()]
    subprocess.run(words, check=True, capture_output=True)
    with made.open("rb") as source:
        found = imagefiles.inspect(source, None, virtual_size_max=CAP)
    assert found.virtual_size_bytes == 8 * MIB


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_appliance_is_a_tar(form: int) -> None:
    """Also one that a program of the last century has written, without a magic."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        member = tarfile.TarInfo("box.vmdk")
        member.size = MIB
        archive.addfile(member, io.BytesIO(noise(MIB, 1)))
    data = packed.getvalue()
    assert "tar" in str(refused(data))
    old = bytearray(data)
    old[257:265] = bytes(8)
    header = old[:512]
    header[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(header)
    if form != tarfile.PAX_FORMAT:
        assert "tar" in str(refused(bytes(old)))


def test_a_raw_disk_is_no_text_and_no_tar() -> None:
    """Zeros, noise, a boot sector, words: all that is not one of them stays a raw disk."""
    for data in (bytes(MIB), noise(MIB, 1), b"\xeb\x63\x90".ljust(MIB, b"\0"), b"boot".ljust(MIB, b"\0"), b"#" * MIB):
        found = imagefiles.inspect(io.BytesIO(data), SourceFormat.RAW, virtual_size_max=CAP)
        assert found.virtual_size_bytes == MIB


@pytest.mark.parametrize(
    "before",
    [
        b"version=1\n",
        b"# a comment\nversion=1\n",
        b"#\n#\n\n  \n# more\nversion=2\n",
        b"# a comment\r\n\r\nversion=3\r\n",
        b" \nversion=1\n",
        b"#" + b"x" * 3000 + b"\nversion=1\n",
        b"# c\n version = 1\n",
        b"# c\nVersion=1\n",
        b"\n" * 600 + b"version=1\n",
    ],
)
@pytest.mark.parametrize("padding", [b"\0", b"\n", b" "])
def test_a_text_that_names_a_disk_is_no_raw_disk(before: bytes, padding: bytes) -> None:
    """A program that guesses would open the file that it names, whatever comments and blank lines stand before."""
    data = (before + VMDK_LINES).ljust(MIB, padding)
    error = refused(data)
    assert error.reason == "second-magic"
    assert "-flat.vmdk" in error.hint
    assert "VMDK descriptor" in str(refused(data, None))


def test_nothing_is_no_disk() -> None:
    """An empty file is not called raw."""
    for claimed in (None, *SourceFormat):
        error = refused(b"", claimed, convert=claimed not in (None, SourceFormat.RAW))
        assert "empty" in str(error)
        assert "--format raw" not in error.hint


def test_compressed_files_say_how_to_unpack() -> None:
    """As real programs write them."""
    assert "gunzip" in refused(gzip.compress(noise(MIB, 1)), None).hint
    assert "unxz" in refused(lzma.compress(noise(MIB, 1)), None).hint
