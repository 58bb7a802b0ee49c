"""The partitions that Windows' own Setup is to make, and the one that it installs to.

Setup numbers the partitions of a wiped disk as it makes them, without extended ones. What already stands on a disk
that is not wiped nobody here knows, so its numbers are not judged.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from vmrole_unattend.windows.checks.file import TRUE, Deployment, File
from vmrole_unattend.windows.checks.place import Home, Place, Report, short
from vmrole_unattend.windows.checks.table import NUMBER_MAX

_EFI_MIN_MIB, _SIZE_MAX_MIB = 100, 1 << 26  # the last one is 64 TiB
_SETUP_OWN = "X"  # the letter of the drive that Setup runs from
_FORMATS = ("ntfs", "fat", "fat32", "exfat")
_NOT_IN_FAT = re.compile(r'[*?/\\|.,;:+=\[\]<>"]')
_PRIMARIES_MAX = 4  # of a disk with a master boot record
_GUID = re.compile(r"\{?[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}?")
_BYTE = re.compile(r"0x[0-9A-Fa-f]{1,2}")
_FAT = ("fat", "fat32", "exfat")
_LABEL_CHARS_MAX = {"ntfs": 32, **dict.fromkeys(_FAT, 11)}
_GPT, _MBR = ("efi", "msr"), ("extended", "logical")


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """One <Disk>: what is made on it, in the order of the Orders, and what is changed."""

    place: Place
    created: tuple[Place, ...]
    modified: tuple[Place, ...]

    @property
    def number(self) -> str:
        """Its DiskID."""
        return self.place.said("diskid")

    @property
    def wiped(self) -> bool:
        """Whether nothing is on it but what is made here."""
        return self.place.said("willwipedisk").casefold() in TRUE

    @property
    def gpt(self) -> bool:
        """Whether it surely has a GUID partition table."""
        return any(_type(one) in _GPT for one in self.created)

    @property
    def numbered(self) -> tuple[Place, ...]:
        """The partitions that have an ID, the first of them 1."""
        return tuple(one for one in self.created if _type(one) != "extended")


def check(file: File, report: Report) -> None:
    """Everything about the layout of disks; of a generalized image none is made."""
    if file.use is Deployment.GENERALIZED:
        return
    for home in file.named("Setup"):
        disks = [_disk(place) for place in home.find("diskconfiguration/disk")]
        for disk in disks:
            if disk.place.child("diskid") is None:
                report.doubt(disk.place, "disk", "the disk has no DiskID", "add <DiskID>0</DiskID> for the first one")
            for subject in (_created, _extends, _tables, _modified):
                subject(disk, report)
        _letters(disks, report)
        _target(home, disks, report)


def _letters(disks: list[Disk], report: Report) -> None:
    """No two volumes have one letter."""
    given: set[str] = set()
    for partition in (one for disk in disks for one in disk.modified):
        place, letter = partition.child("letter"), partition.said("letter").upper()
        if place is not None and _is_letter(letter) and letter in given:
            report.doubt(place, "partition", f"the letter {letter} is given to two partitions", "choose another one")
        given.add(letter)


def _disk(place: Place) -> Disk:
    def listed(group: str, item: str) -> tuple[Place, ...]:
        found = place.child(group)
        every = [] if found is None else [one for one in found.children if one.name.casefold() == item]
        return tuple(sorted(every, key=_order))

    return Disk(place, listed("createpartitions", "createpartition"), listed("modifypartitions", "modifypartition"))


def _order(partition: Place) -> int:
    order = partition.said("order")
    return int(order[:9]) if order.isdecimal() else 0


def _type(partition: Place) -> str:
    return partition.said("type").casefold() or "primary"


def _is_true(place: Place, name: str) -> bool:
    return place.said(name).casefold() in TRUE


def _created(disk: Disk, report: Report) -> None:
    for partition in disk.created:
        size, extend = partition.child("size"), partition.said("extend").casefold()
        text = size.text if size is not None else ""
        if text and extend in TRUE:
            message = "the partition has a Size and is to Extend: Setup makes none, and ends"
            report.doubt(partition, "partition", message, "keep one of both")
        elif not text and extend in ("", "false", "0"):
            report.doubt(partition, "partition", "the partition has no size", "write Size, or Extend true")
        elif size is not None and text.isdecimal() and not text.strip("0"):
            report.doubt(size, "partition", "the Size is 0", "write it in megabytes")
        elif size is not None and text.isdecimal() and int(text[:12]) > _SIZE_MAX_MIB:
            if int(text[:12]) <= NUMBER_MAX:  # Beyond it is no number of Setup's, which is told.
                report.doubt(size, "partition", f"no disk holds {text} MB", "write megabytes, not bytes")
        elif size is not None and _type(partition) == "efi" and text.isdecimal() and int(text[:9]) < _EFI_MIN_MIB:
            message = f"an EFI partition has {_EFI_MIN_MIB} MB at least"
            report.doubt(size, "partition", message, "write 260, which is enough on every disk")
    for items in (disk.created, disk.modified):
        _gaps(items, report)


def _gaps(items: tuple[Place, ...], report: Report) -> None:
    """Whether the Orders begin at 1 and leave none out; what is none, or is there twice, is told elsewhere."""
    numbers = [_order(one) for one in items]
    if 0 in numbers or len(set(numbers)) < len(numbers):
        return
    for item, number, right in zip(items, numbers, range(1, len(items) + 1), strict=True):
        if number != right:
            message = f"the Order {number} comes where {right} is missing"
            report.doubt(item, "order", message, "number the items 1, 2, 3, and so on")
            return


def _extends(disk: Disk, report: Report) -> None:
    """Who takes the rest of a disk has to come last."""
    outer = [one for one in disk.created if _type(one) != "logical"]
    for at, partition in enumerate(outer):
        if _is_true(partition, "extend") and not partition.said("size") and at + 1 < len(outer):
            message = "the partition takes all that is left of the disk, and others come after it"
            report.doubt(partition, "partition", message, "give it the last Order, or a Size")
            break
    made = any(_is_true(one, "extend") for one in disk.created)
    for partition in disk.modified:
        if not _is_true(partition, "extend"):
            continue
        if disk.gpt:
            message = "a partition of a disk with GPT cannot be extended later"
            report.doubt(partition, "partition", message, "write Extend true where the partition is created")
        elif made:
            message = "CreatePartition and ModifyPartition both Extend"
            report.doubt(partition, "partition", message, "keep one of both")


def _tables(disk: Disk, report: Report) -> None:
    types = [_type(one) for one in disk.created]
    foreign = next((one for one in disk.created if _type(one) in _MBR), None)
    if disk.gpt and foreign is not None:
        message = f"a disk with an {'EFI' if 'efi' in types else 'MSR'} partition has no {_type(foreign)} ones"
        report.doubt(foreign, "partition", message, "write Primary")
    if types.count("extended") > 1:
        second = [one for one in disk.created if _type(one) == "extended"][1]
        report.doubt(second, "partition", "a disk has one extended partition at most", "write Logical within it")
    if "logical" in types and disk.wiped and "extended" not in types:
        first = next(one for one in disk.created if _type(one) == "logical")
        report.doubt(first, "partition", "a logical partition needs an extended one around it", "create that first")
    primaries = [one for one in disk.created if _type(one) in ("primary", "extended")]
    if not disk.gpt and len(primaries) > _PRIMARIES_MAX:
        message = f"a disk without an EFI partition has {_PRIMARIES_MAX} primary partitions at most"
        report.doubt(primaries[_PRIMARIES_MAX], "partition", message, "create an EFI partition, or a logical one")


def _modified(disk: Disk, report: Report) -> None:
    for partition in disk.modified:
        for name, (is_right, wrong, mend) in _SHAPES.items():
            place = partition.child(name)
            if place is not None and place.text and not is_right(place.text) and not report.awaits(place, place.text):
                report.doubt(place, "partition", wrong.format(short(place.text)), mend)
        _named(disk, partition, report)
        _volume(partition, report)
        if _is_true(partition, "active") and disk.gpt:
            active = partition.child("active")
            report.note(active or partition, "partition", "Active means nothing on a disk with GPT", "remove it")
        label = partition.child("label")
        if label is not None and label.text and disk.wiped and partition.child("format") is None:
            report.doubt(label, "partition", "a Label is given to no partition without Format", "add <Format>")
        most = _LABEL_CHARS_MAX.get(partition.said("format").casefold())
        if label is not None and most and len(label.text) > most and not report.awaits(label, label.text):
            message = f"the Label has {len(label.text)} characters"
            report.doubt(label, "partition", message, f"at most {most} on {partition.said('format')}")
        kind = partition.said("typeid")
        if (disk.gpt and _BYTE.fullmatch(kind)) or (not disk.gpt and disk.wiped and _GUID.fullmatch(kind)):
            table = "GPT" if disk.gpt else "a master boot record"
            message = f"the TypeID is not one of a disk with {table}"
            report.doubt(partition, "partition", message, "a GUID with GPT, else such as 0x27")


def _volume(partition: Place, report: Report) -> None:
    """The file system of a partition, its letter and its label."""
    form, letter, label = (partition.child(one) for one in ("format", "letter", "label"))
    kind = form.text.casefold() if form is not None else ""
    if form is not None and form.text and kind not in _FORMATS and not report.awaits(form, form.text):
        report.doubt(form, "partition", f"Setup formats nothing as {short(form.text)}", "write NTFS or FAT32")
    if letter is not None and letter.text.upper() == _SETUP_OWN:
        report.doubt(letter, "partition", "X is the drive that Setup itself runs from", "choose another letter")
    if label is not None and kind in _FAT and (sign := _NOT_IN_FAT.search(label.text)) is not None:
        report.doubt(label, "partition", f"a label of {kind.upper()} cannot hold {sign[0]!r}", "rename it")


def _named(disk: Disk, partition: Place, report: Report) -> None:
    """What is to be changed must be there, and be of a kind that can be changed so."""
    number = partition.child("partitionid")
    if number is None:
        report.doubt(partition, "partition", "ModifyPartition has no PartitionID", "add <PartitionID>")
        return
    made = _made(disk, number, report, "there is no partition {} on the disk")
    form = partition.said("format").casefold()
    if made is not None and _type(made) == "efi" and form == "ntfs":
        report.doubt(partition, "partition", "an EFI partition is never NTFS, and would not start", "write FAT32")
    if made is not None and _type(made) == "msr" and form:
        report.doubt(partition, "partition", "a Microsoft reserved partition has no format", "remove <Format>")


def _made(disk: Disk, number: Place, report: Report, message: str) -> Place | None:
    """The partition of that ID, where all of them are known; says so where there is none."""
    if not disk.wiped or not number.text.isdecimal():
        return None
    at = int(number.text[:9])
    if 1 <= at <= len(disk.numbered):
        return disk.numbered[at - 1]
    what = f"it has {len(disk.numbered)}, without an extended one" if disk.numbered else "nothing is created on it"
    report.doubt(number, "partition", f"{message.format(at)}: {what}", "count them in the order of creation")
    return None


def _target(home: Home, disks: list[Disk], report: Report) -> None:
    """The partition to install to."""
    for image in home.find("imageinstall/osimage"):
        target, somewhere = image.child("installto"), image.child("installtoavailablepartition")
        anywhere = somewhere is not None and somewhere.text.casefold() in TRUE
        if target is not None and somewhere is not None and anywhere:
            message = "InstallTo and InstallToAvailablePartition are both there: the installation fails"
            report.error(somewhere, "install-to", message, "keep one of both")
        if target is None:
            continue
        number, partition = target.child("diskid"), target.child("partitionid")
        for name, given in (("DiskID", number), ("PartitionID", partition)):
            if given is None:
                report.doubt(target, "install-to", f"InstallTo has no {name}", f"add <{name}>")
        if number is None or partition is None or not number.text.isdecimal():
            continue
        disk = next((one for one in disks if _value(one.number) == _value(number.text)), None)
        if disk is None:
            if disks and not any(report.awaits(one.place, one.number) for one in disks):
                message = f"the disk {number.text} is not in DiskConfiguration"
                report.doubt(number, "install-to", message, f"perhaps {disks[0].number or 0}")
            continue
        made = _made(disk, partition, report, "Windows is to be installed to partition {}, which is not there")
        if made is not None and _type(made) in ("efi", "msr"):
            message = f"Windows cannot be installed to the {made.said('type').upper()} partition"
            report.doubt(partition, "install-to", message, "name the primary one")
        for changed in (one for one in disk.modified if one.said("partitionid") == partition.text):
            if made is not None and _type(made) == "primary" and changed.said("format").casefold() in _FAT:
                message = (
                    f"Windows is installed to NTFS alone, and partition {partition.text} is to be something else"
                )
                report.doubt(changed, "install-to", message, "write <Format>NTFS</Format>")


def _value(text: str) -> str:
    return text.lstrip("0") or "0"


def _is_letter(text: str) -> bool:
    return re.fullmatch("[C-Zc-z]", text) is not None


def _is_type(text: str) -> bool:
    return _GUID.fullmatch(text) is not None or _BYTE.fullmatch(text) is not None


_SHAPES: dict[str, tuple[Callable[[str], bool], str, str]] = {
    "letter": (_is_letter, "the letter of a partition is one of C to Z, not {}", "write it without a colon"),
    "typeid": (_is_type, "this is no type of a partition: {}", "a GUID with GPT, else such as 0x27"),
}
