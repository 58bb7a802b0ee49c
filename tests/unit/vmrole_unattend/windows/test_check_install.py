"""Answer files for Windows' own Setup: layouts that it cannot make, and what it asks when nobody is there."""

from __future__ import annotations

import pytest
from vmrole_unattend.windows.check import Deployment

from tests.world.answer_files import CREATED, EULA, MODIFIED, codes, install, told

EFI, MSR, REST = CREATED
DISK = "<DiskID>0</DiskID><WillWipeDisk>true</WillWipeDisk>"
KEPT = "<DiskID>0</DiskID><WillWipeDisk>false</WillWipeDisk>"


def primary(order: int, more: str = "<Size>100</Size>", kind: str = "Primary") -> str:
    """A partition to create."""
    return f"<Order>{order}</Order><Type>{kind}</Type>{more}"


def changed(order: int, more: str, number: int | None = None) -> str:
    """A partition to change."""
    return f"<Order>{order}</Order><PartitionID>{number or order}</PartitionID>{more}"


def to(disk: str = "0", partition: str = "3") -> str:
    """Where to install to."""
    return f"<InstallTo><DiskID>{disk}</DiskID><PartitionID>{partition}</PartitionID></InstallTo>"


FIRST, SECOND = to(partition="1"), to(partition="2")
RECOVERY = "<TypeID>de94bba4-06d1-4d40-a16a-bfd50179d6ac</TypeID>"
EXTEND, NTFS = "<Extend>true</Extend>", "<Format>NTFS</Format>"
MBR = (primary(1), primary(2, EXTEND))
SOUND = [
    install(),
    install(created=MBR, modified=(changed(1, "<Active>true</Active>" + NTFS), changed(2, NTFS)), target=SECOND),
    install(created=(), modified=(), disk=KEPT, target=to(partition="7")),
    install(created=(EFI, MSR, primary(3), primary(4, EXTEND)), target=to(partition="4")),
    install(modified=(*MODIFIED[:2], changed(3, NTFS + "<Letter>w</Letter>"))),
    install(
        created=(primary(1), primary(2, kind="Extended"), primary(3, kind="Logical")),
        modified=(changed(1, NTFS), changed(2, NTFS + EXTEND)),
        target=FIRST,
    ),
    install(
        created=(EFI, MSR, primary(3), primary(4, EXTEND)),
        modified=(changed(1, "<Format>FAT32</Format>"), changed(2, RECOVERY, 3)),
        target=to(partition="4"),
    ),
    install(created=MBR, modified=(changed(1, "<TypeID>0x27</TypeID>"),), target=SECOND),
    install(target="<InstallToAvailablePartition>true</InstallToAvailablePartition>"),
    install(modified=(*MODIFIED[:2], changed(3, NTFS + f"<Label>{32 * 'w'}</Label>"))),
    install(
        created=(EFI, MSR, primary(3), primary(4, EXTEND)),
        modified=(
            changed(1, "<Format>FAT32</Format><Letter>W</Letter>", 3),
            changed(2, NTFS + "<Letter>C</Letter>", 4),
        ),
        target=to(partition="4"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("source", SOUND)
@pytest.mark.parametrize("use", [Deployment.INSTALL, Deployment.UNKNOWN])
def test_a_sound_layout_is_silence(source: bytes, use: Deployment) -> None:
    """With GPT and without, on a wiped disk and on one that is kept, with extended partitions."""
    assert codes(source, deployment=use) == []


WRONG = [
    (install(target=to(partition="4")), "install"),
    (install(target=to(partition="0")), "install"),
    (install(created=(), modified=()), "install"),
    (install(target=FIRST), "EFI"),
    (install(target=SECOND), "MSR"),
    (install(target=to(disk="1")), "not in DiskConfiguration"),
    (install(target="<InstallTo><DiskID>0</DiskID></InstallTo>"), "no PartitionID"),
    (install(target="<InstallTo><PartitionID>3</PartitionID></InstallTo>"), "no DiskID"),
    (install(created=(EFI, MSR, primary(3, EXTEND), primary(4)), target=to(partition="4")), "takes all that is left"),
    (install(created=(EFI, MSR, primary(3, EXTEND), primary(4, EXTEND))), "takes all that is left"),
    (install(created=(primary(1, EXTEND, "EFI"), MSR, primary(3))), "takes all that is left"),
    (install(modified=(*MODIFIED[:2], changed(3, NTFS + EXTEND))), "GPT cannot be extended"),
    (install(created=MBR, modified=(changed(1, NTFS), changed(2, NTFS + EXTEND)), target=SECOND), "both Extend"),
    (install(modified=(*MODIFIED[:2], changed(3, NTFS + "<Letter>C:</Letter>"))), "C to Z"),
    (install(modified=(*MODIFIED[:2], changed(3, NTFS + "<Letter>A</Letter>"))), "C to Z"),
    (install(modified=(*MODIFIED[:2], changed(3, NTFS + "<Letter>CD</Letter>"))), "C to Z"),
    (install(modified=(*MODIFIED[:2], changed(3, "<Label>Windows</Label>"))), "Label"),
    (install(modified=(changed(1, "<Format>NTFS</Format>"),)), "EFI partition is never NTFS"),
    (install(modified=(changed(1, "<Format>NTFS</Format>", 2),)), "reserved partition has no format"),
    (install(modified=(changed(1, NTFS, 9),)), "no partition 9"),
    (install(modified=("<Order>1</Order><Format>NTFS</Format>",)), "no PartitionID"),
    (install(created=(primary(1, "<Size>0</Size>", "EFI"), MSR, REST)), "Size is 0"),
    (install(created=(EFI, MSR, primary(4, EXTEND))), "3 is missing"),
    (install(created=(primary(2, kind="EFI"), primary(3, kind="MSR"), primary(4, EXTEND))), "1 is missing"),
    (install(modified=(*MODIFIED[:2], changed(4, NTFS, 3))), "3 is missing"),
    (install(disk="<WillWipeDisk>true</WillWipeDisk>", target=""), "no DiskID"),
    (install(modified=(*MODIFIED[:2], changed(3, NTFS + "<TypeID>27</TypeID>"))), "no type of a partition"),
    (install(modified=(*MODIFIED[:2], changed(3, NTFS + "<TypeID>de94-06d1</TypeID>"))), "no type of a partition"),
    (install(modified=(*MODIFIED[:2], changed(3, NTFS + "<TypeID>0x27</TypeID>"))), "not one of a disk with GPT"),
    (install(created=(EFI, MSR, primary(3, kind="Logical")), modified=()), "no logical ones"),
    (install(created=(*(primary(at, kind="Extended") for at in (1, 2)), primary(3)), modified=(), target=FIRST),
     "one extended"),
    (install(created=(*(primary(at) for at in range(1, 5)), primary(5, EXTEND)), modified=()), "4 primary"),
    (install(created=(primary(1), primary(2, kind="Logical")), modified=(), target=FIRST), "needs an extended"),
    (install(modified=(*MODIFIED[:2], changed(3, "<Format>FAT32</Format>"))), "installed to NTFS alone"),
    (install(modified=(*MODIFIED[:2], changed(3, NTFS + f"<Label>{33 * 'w'}</Label>"))), "33 characters"),
    (install(modified=(changed(1, "<Format>FAT32</Format><Label>EFI partition</Label>"),)), "13 characters"),
    (install(created=(EFI, MSR, primary(3), primary(4, EXTEND)), target=to(partition="4"),
             modified=(changed(1, NTFS + "<Letter>W</Letter>", 3), changed(2, NTFS + "<Letter>w</Letter>", 4))),
     "letter W is given to two"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "word"), WRONG)
def test_a_layout_that_setup_cannot_make_is_told(source: bytes, word: str) -> None:
    """Of a disk that is wiped everything is known."""
    found = [one for one in told(source, deployment=Deployment.INSTALL) if one.code != "asks"]
    assert word in "; ".join(one.message for one in found)
    assert len(found) <= 2, found
    assert {str(one.severity) for one in found} == {"warning"}


def test_active_on_gpt_is_a_note() -> None:
    """Setup ignores it."""
    source = install(modified=(*MODIFIED[:2], changed(3, NTFS + "<Active>true</Active>")))
    assert codes(source, deployment=Deployment.INSTALL) == ["note partition"]


def test_two_targets_end_the_installation() -> None:
    """The one or the other."""
    source = install(target=to() + "<InstallToAvailablePartition>true</InstallToAvailablePartition>")
    assert codes(source, deployment=Deployment.INSTALL) == ["error install-to"]
    source = install(target=to() + "<InstallToAvailablePartition>false</InstallToAvailablePartition>")
    assert codes(source, deployment=Deployment.INSTALL) == []


ASKED = [
    (install(data=""), "license"),
    (install(data="<UserData><FullName>a</FullName></UserData>"), "license"),
    (install(data=EULA.replace("true", "false")), "license"),
    (install(language=""), "language"),
    (install(language="<SetupUILanguage/>"), "language"),
    (install(target=""), "partition"),
    (install(target="<InstallToAvailablePartition>false</InstallToAvailablePartition>"), "partition"),
    (install(more="<DynamicUpdate><Enable>false</Enable><WillShowUI>Always</WillShowUI></DynamicUpdate>"), "page"),
]


@pytest.mark.parametrize(("source", "what"), ASKED)
@pytest.mark.parametrize("use", [Deployment.INSTALL, Deployment.UNKNOWN])
def test_what_setup_asks_is_told(source: bytes, what: str, use: Deployment) -> None:
    """It waits for an answer."""
    (one,) = told(source, deployment=use)
    assert (str(one.severity), one.code, what in one.message) == ("warning", "asks", True)


@pytest.mark.parametrize(
    ("image", "wrong"),
    [
        ("<Key>/IMAGE/INDEX</Key><Value>2</Value>", False),
        ("<Key>/IMAGE/NAME</Key><Value>Windows Server 2022 SERVERSTANDARD</Value>", False),
        ("<Key>/IMAGE/INDEX</Key>", True),
        ("<Key>/IMAGE/INDEX</Key><Value/>", True),
        ("<Value>2</Value>", True),
        ("<Key>/IMAGE/INDEX</Key><Value>two</Value>", True),
        ("<Key>INDEX</Key><Value>2</Value>", True),
    ],
)
def test_an_image_is_named_by_key_and_value(image: str, wrong: bool) -> None:
    """Without one of both Setup asks which."""
    assert codes(install(image=image), deployment=Deployment.INSTALL) == (["warning image"] if wrong else [])


def test_a_key_in_the_wrong_place_is_not_thrown_away() -> None:
    """The text of ProductKey belongs into Key."""
    for text, mend in (
        ("VK7JG-NPHTM-C97JM-9MPGT-3V66T", "put it into <Key>"),
        ("AAAAA-BBBBB-CCCCC-DDDDD-EEEEE", "<Key>"),
    ):
        data = EULA.replace(
            "</UserData>", f"<ProductKey>{text}<WillShowUI>Never</WillShowUI></ProductKey></UserData>"
        )
        (one,) = told(install(data=data), deployment=Deployment.INSTALL)
        assert (one.code, mend in one.mend) == ("stray-text", True)
        assert text not in str(one)


def test_a_generalized_image_is_never_asked_for_its_layout() -> None:
    """It is refused as a whole, in one finding."""
    assert codes(install(target=to(partition="9"), data=""), deployment=Deployment.GENERALIZED) == ["error disk-wipe"]
