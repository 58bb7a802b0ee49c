"""What a file looks like: the magics of all formats that a program might take it for, from their specifications."""

from __future__ import annotations

from orchestrator.imagefiles.reading import SECTOR, Source

ISO_MAGIC_AT = 0x8001  # ISO 9660 volume descriptor, sector 16
# Format by the bytes that a file of it begins with.
_MAGICS = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "VMDK",
    b"COWD": "VMDK of ESX 2",
    b"\xbe\xba\xfe\xca\0\0\0\0": "SESparse VMDK",
    b"# Disk DescriptorFile": "VMDK descriptor",
    b"conectix": "VHD",
    b"cxsparse": "VHD",
    b"vhdxfile": "VHDX",
    b"QED\x00": "QED",
    b"LUKS\xba\xbe": "LUKS",
    b"SKUL\xba\xbe": "LUKS",
    b"WithoutFreeSpace": "Parallels",
    b"WithouFreSpacExt": "Parallels",
    b"Bochs Virtual HD Image": "Bochs",
    b"#!/bin/sh\n#V2.0 Format": "cloop",
    b"\x3a\xff\x26\xed": "Android sparse image",
    b"VMA\0": "Proxmox backup",
    b"partclone-image": "partclone image",
    b"PaRtImAgE-VoLuMe": "partimage image",
    b"EVF\x09\x0d\x0a\xff\0": "EWF",
    b"EVF2\x0d\x0a\x81\0": "EWF",
    b"LVF\x09\x0d\x0a\xff\0": "EWF",
    b"AFF10\x0d\x0a\0": "AFF",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    **{bytes([0x50 + number]) + b"\x2a\x4d\x18": "zstd" for number in range(16)},  # a frame to skip: RFC 8878, 3.1.2
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PK\x07\x08": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4",
    b"LZIP": "lzip",
    b"LRZI": "lrzip",
    b"\x89LZO\0\x0d\x0a\x1a\x0a": "lzop",
    b"\x5d\0\0": "lzma",
    b"\x1f\x9d": "compress (.Z)",
    b"\x1f\xa0": "compress (.Z)",
    b"070701": "cpio",
    b"070702": "cpio",
    b"070707": "cpio",
    b"!<arch>\n": "ar",
    b"\xed\xab\xee\xdb": "rpm",
    b"MSCF\0\0\0\0": "cab",
    b"MSWIM\0\0\0": "WIM",
    b"WLPWM\0\0\0": "WIM",
    b"hsqs": "squashfs",
    b"sqsh": "squashfs",
    b"\x45\x3d\xcd\x28": "cramfs",
    b"-rom1fs-": "romfs",
    b"\x7fELF": "ELF program",
    b"MZ": "DOS or Windows program",
    b"QEVM": "saved state of a QEMU",
    b"vhdsfile": "VHD set",
    b"\x89PNG\x0d\x0a\x1a\x0a": "PNG picture",
    b"SQLite format 3\0": "SQLite database",
    b"%PDF-": "PDF",
    b"-----BEGIN ": "PEM or PGP text",
}
# Format by bytes that stand elsewhere, from the beginning or, where negative, from the end.
_ELSEWHERE = (
    (64, b"\x7f\x10\xda\xbe", "VDI"),
    (257, b"ustar", "tar"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS"),
    (ISO_MAGIC_AT, b"CD001", "ISO 9660"),
    # ECMA-167, volume recognition sequence: a UDF disc may have no ISO 9660 beside it.
    *((ISO_MAGIC_AT + sector * 2048, b"NSR0", "UDF") for sector in range(4)),
    (-SECTOR, b"conectix", "VHD"),
    (-SECTOR, b"koly", "DMG"),
)
_TEXT_BYTES = 64 * 1024
_PRINTABLE_AT_LEAST = 32
_CHECKSUM_AT, _CHECKSUM_BYTES = 148, 8  # of a tar's first header
_UNPACK = {
    "gzip": "gunzip FILE",
    "xz": "unxz FILE",
    "zstd": "unzstd FILE",
    "bzip2": "bunzip2 FILE",
    "zip": "unzip FILE",
    "7z": "7z x FILE",
    "rar": "unrar x FILE",
    "lz4": "unlz4 FILE",
    "lzip": "lzip -d FILE",
    "lrzip": "lrunzip FILE",
    "lzop": "lzop -d FILE",
    "lzma": "unlzma FILE",
    "compress (.Z)": "uncompress FILE",
    "tar": "tar xf FILE",
    "cpio": "cpio -id < FILE",
    "cab": "cabextract FILE",
    "ar": "ar x FILE",
    "rpm": "rpm2cpio FILE | cpio -id",
    "partclone image": "partclone.restore -C -s FILE -O disk.raw",
    "Proxmox backup": "vma extract FILE DIRECTORY",
}
_CONVERT = {"VDI": "vdi", "QED": "qed", "Parallels": "parallels", "Bochs": "bochs", "cloop": "cloop", "DMG": "dmg"}
_MEDIUM = (
    "this is an installation medium, not a disk that was installed; of Windows' media: vmrole image build windows"
)
_OTHER_HINTS = {
    "VMDK descriptor": "this text only names the disk: add NAME-flat.vmdk with --format raw, or make one file, "
    "qemu-img convert -f vmdk -O qcow2 FILE disk.qcow2, or ovftool",
    "VMDK of ESX 2": "convert it where it was made, with vmkfstools or ovftool",
    "SESparse VMDK": "it is a snapshot of ESXi: clone the disk there, vmkfstools -i",
    "LUKS": "decrypt it first: what boots from it could not ask for the key",
    "ISO 9660": _MEDIUM,
    "UDF": _MEDIUM,
    "WIM": "a WIM holds files, not a disk: vmrole image build windows makes a disk from installation media",
    "Android sparse image": "make a raw disk of it: simg2img FILE disk.raw",
    "EWF": "make a raw disk of it: ewfexport -t disk -f raw FILE",
    "AFF": "make a raw disk of it: affconvert -r FILE",
    "partimage image": "restore it to a disk with partimage first",
    "squashfs": "it is a file system without a boot loader: install it onto a disk first",
    "cramfs": "it is a file system without a boot loader: install it onto a disk first",
    "romfs": "it is a file system without a boot loader: install it onto a disk first",
    "EROFS": "it is a file system without a boot loader: install it onto a disk first",
    "ELF program": "name a disk image; for QEMU's firmware and kernels there is no place here",
    "HTML or XML": "was this an error page of a download? fetch the file again, and compare its digest: --sha256",
    "JSON": "was this an answer of an error of a download? fetch the file again, and compare its digest: --sha256",
    "PDF": "name a disk image",
    "PEM or PGP text": "name the disk image itself, not its signature or key",
}


def looks_like(source: Source) -> set[str]:
    """Every format whose magic stands where it would have to stand."""
    head = source.at(0, min(source.size, _TEXT_BYTES), "beginning")
    looks = {name for magic, name in _MAGICS.items() if head.startswith(magic)}
    for at, magic, name in _ELSEWHERE:
        start = at if at >= 0 else source.size + at
        if 0 <= start <= source.size - len(magic) and source.at(start, len(magic), "magic") == magic:
            looks.add(name)
    if _is_old_tar(head):
        looks.add("tar")
    if _is_vmdk_text(head):
        looks.add("VMDK descriptor")
    return looks or _texts(head)  # A VDI begins with "<<< Oracle VM VirtualBox Disk Image >>>".


def hint(looks: str) -> str:
    """What to do with a file of that format, "" where that is not known."""
    if looks in _UNPACK:
        return f"unpack it first: {_UNPACK[looks]}"
    if looks in _CONVERT:
        return f"make another of it: qemu-img convert -f {_CONVERT[looks]} -O qcow2 FILE disk.qcow2, then add that"
    return _OTHER_HINTS.get(looks, "")


def _is_old_tar(head: bytes) -> bool:
    """A tar of before 1988 has no magic, but a sum of its first header, in octal digits."""
    field = head[_CHECKSUM_AT : _CHECKSUM_AT + _CHECKSUM_BYTES]
    digits = field.strip(b" \0")
    if len(head) < SECTOR or not digits or digits.strip(b"01234567"):
        return False
    return int(digits, 8) == sum(head[:SECTOR]) - sum(field) + len(field) * ord(" ")


def _texts(head: bytes) -> set[str]:
    """What a server sends in the place of a file. No boot sector begins with so many printable characters."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:_PRINTABLE_AT_LEAST]
    if len(start) < _PRINTABLE_AT_LEAST or not all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        return set()
    return {name for begin, name in ((b"<", "HTML or XML"), (b"{", "JSON")) if start.startswith(begin)}


def _is_vmdk_text(head: bytes) -> bool:
    """A descriptor may begin with comments and blank lines; programs that guess go by the first line after them."""
    for line in head.splitlines():
        stripped = line.strip(b" \t\r\n\v\f")
        if stripped and not stripped.startswith(b"#"):
            return stripped.replace(b" ", b"").replace(b"\t", b"").lower().startswith(b"version=")
    return False
