"""How far Windows Setup is, from what the guest says. Pure: text in, a `Status` and a sentence out.

The rule: Setup is finished when ImageState is complete, both in-progress flags are zero and the computer has the name
that was asked for, seen twice in one boot. ImageState alone is not enough: an image that was never generalized is
complete from its first moment (Windows Setup States; the flags are what Microsoft's own deployment tools look at).
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import uuid
from typing import Final

from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.model import AnswerFormat, Instance

COMPLETE: Final = "IMAGE_STATE_COMPLETE"
CACHE: Final = r"C:\Windows\Panther\unattend.xml"
CONFIRMING: Final = "Windows Setup has finished; confirming with a second look"
_VALUE_CHARS = 256
_NETBIOS_CHARS = 15
_PATH_CHARS = 100
# A text of UTF-16 has a zero in each of so many bytes at least, whatever it says beside its Latin letters.
_ZEROS = 8
_LEFT_OUT: Final = "(a line that may hold a secret was left out)"
_CUT_OFF: Final = "(a line that was cut off was left out)"
_DMTF: Final = re.compile(r"(\d{14})\.(\d{6})([+-])(\d{3})")  # yyyymmddHHMMSS.mmmmmm±UUU, CIM's date and time
_SECRET: Final = re.compile(
    r"passw|pwd|<value>|productkey|accountdata|credential|\b\w{5}(?:-\w{5}){4}\b", re.IGNORECASE
)
_STATE: Final = re.compile(r"^\s*ImageState\s*=\s*(\w{1,64})\s*$", re.IGNORECASE | re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the guest says, cut but not believed. "" stands for what it did not say."""

    boot: str = ""  # when this boot began, in UTC; "" unless it was a date
    setup_boot: str = ""  # when the boot began in which our disc's script ran
    image_state: str = ""
    system_setup: str = "0"  # SystemSetupInProgress
    oobe: str = "0"  # OOBEInProgress
    computer: str = ""
    instance: str = ""  # whose disc was applied
    generation: str = ""
    answer_file: str = ""  # that Setup took
    storage_problem: str = ""  # what kept local storage from its place, as our script says
    cached: bool = False  # an answer file that is not of this disc lies in Panther

    @property
    def complete(self) -> bool:
        """Whether Setup has ended by its own account."""
        return self.image_state == COMPLETE and self.system_setup == "0" and self.oobe == "0"


def parse(said: str) -> Status | None:
    """What `windows/status.ps1` printed; None when it is not that, or cut off."""
    lines: dict[str, str] = {}
    for line in said.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            lines.setdefault(key.strip(), value.strip()[:_VALUE_CHARS])
    if not {"boot", "image-state", "system-setup", "oobe", "computer", "cached"} <= lines.keys():
        return None
    return Status(
        boot=moment(lines["boot"]),
        setup_boot=moment(lines.get("setup-boot", "")),
        image_state=lines["image-state"],
        system_setup=lines["system-setup"] or "0",
        oobe=lines["oobe"] or "0",
        computer=lines["computer"],
        instance=lines.get("instance", ""),
        generation=lines.get("generation", ""),
        answer_file=lines.get("answer-file", ""),
        storage_problem=harmless(lines.get("storage-problem", ""), _VALUE_CHARS),
        cached=lines["cached"] == "yes",
    )


def by_name_alone(computer: str, instance: Instance) -> Status:
    """For an agent that shows no files: a computer takes its new name with the restart that ends specialize."""
    return Status(
        setup_boot="unknown",
        image_state=COMPLETE,
        computer=computer,
        instance=instance.name,
        generation=str(instance.setup_generation),
    )


def image_state(state_ini: str) -> str:
    """ImageState in the text of State.ini; "" when it is not there."""
    found = _STATE.search(state_ini[:4096])
    return found[1] if found else ""


def text(content: bytes) -> str:
    """The text of a file that a Windows wrote, or of its end: UTF-16 when its first bytes say so or it is full of
    zeros, else UTF-8.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    first, second = content[0::2].count(0), content[1::2].count(0)
    if max(first, second) <= len(content) // _ZEROS:
        return content.decode("utf-8-sig", errors="replace")
    begin = 0 if second >= first else 1  # Half a letter stands before it: without a mark it is little-endian.
    return content[begin:].decode("utf-16-le", errors="replace").removeprefix("\ufeff")


def moment(dmtf: str) -> str:
    """A DMTF date in UTC, so that a time zone that Setup changes makes no other boot of it; "" when it is none."""
    found = _DMTF.fullmatch(dmtf.strip())
    if not found:
        return ""
    try:
        local = datetime.datetime.strptime(found[1], "%Y%m%d%H%M%S").replace(tzinfo=datetime.UTC)
        offset = datetime.timedelta(minutes=int(found[3] + found[4]))
        return f"{local - offset:%Y%m%d%H%M%S}.{found[2]}"
    except (ValueError, OverflowError):
        return ""


def boot_id(instance: Instance, began: str) -> str:
    """The id of the boot that began then; "" when that is not known."""
    return str(uuid.uuid5(uuid.UUID(instance.vm_uuid), began)) if began else ""


def setup_boot_id(status: Status, instance: Instance) -> str:
    """The id of the boot in which this generation's disc was applied; "" when it was not, or when that is not known.

    What an image still has of an instance that it was made from does not count.
    """
    return boot_id(instance, status.setup_boot) if status.boot and _is_ours(status, instance) else ""


def unfinished(status: Status, instance: Instance, wanted: str) -> str:
    """What Setup still does, or why it will not be done; "" when it is complete. `wanted` is the computer's name."""
    applied = _is_ours(status, instance)
    if not status.complete:
        return _at_work(status, in_setup_boot=not applied or status.setup_boot in ("", status.boot))
    if instance.role.answers is AnswerFormat.CONFIG_DRIVE and not (applied and status.setup_boot):
        return "Windows Setup has finished; cloudbase-init does what the config drive asks for"
    if not _same(status.computer, wanted):
        called = harmless(status.computer, _NETBIOS_CHARS * 2) or "nothing"
        return f"the computer is called {called}, not {wanted.upper()}: {_why_not_honoured(status, instance)}"
    if not applied:
        return f"Windows Setup has finished, but {_why_not_honoured(status, instance)}"
    return "" if status.setup_boot else "Windows Setup has finished; the answer disc's own script has not"


def _is_ours(status: Status, instance: Instance) -> bool:
    """Whether the disc that was applied is the one of this generation, or of that which its checkpoint is of."""
    return status.instance == instance.name and status.generation == str(instance.setup_generation)


def _at_work(status: Status, *, in_setup_boot: bool) -> str:
    """The words that a portal shows, and the pass that they stand for; how-configuration-passes-work."""
    state = harmless(status.image_state, 60) or "unknown"
    # Not by OOBEInProgress: whether sysprep leaves it at 1 for the whole of specialize, nobody says.
    match status.image_state:
        case "IMAGE_STATE_UNDEPLOYABLE" | "IMAGE_STATE_COMPLETE" if not in_setup_boot:
            return f"Windows is preparing your computer for first use: oobeSystem pass ({state})"
        case "IMAGE_STATE_UNDEPLOYABLE":
            return f"Windows is getting devices ready: specialize pass ({state})"
        case "IMAGE_STATE_COMPLETE":
            return f"Windows Setup is still in progress ({state}, SystemSetupInProgress)"
        case "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE":
            return f"Windows Setup has not begun yet ({state})"
        case "IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE":
            return f"Windows has been specialized; its restart comes next ({state})"
        case "IMAGE_STATE_GENERALIZE_RESEAL_TO_AUDIT" | "IMAGE_STATE_SPECIALIZE_RESEAL_TO_AUDIT":
            return f"the image goes to audit mode ({state}): generalize it with sysprep /generalize /oobe"
        case _:
            return f"Windows does not say how far Setup is (ImageState {state})"


def _why_not_honoured(status: Status, instance: Instance) -> str:
    """What to do when Setup ended with another name; the cached file is by far the most frequent cause."""
    if _is_ours(status, instance):
        return "the answer file was applied and its name was not; see setuperr.log in the evidence"
    if status.cached:
        return (
            f"the answer file was not honoured: {CACHE} cached in the image was used instead; "
            "remove it and generalize again"
        )
    if status.answer_file:
        used = harmless(status.answer_file, _PATH_CHARS)
        return f"the answer file was not honoured: {used} was used instead; remove it and generalize again"
    return (
        "no answer file was found; is the image generalized (sysprep /generalize /oobe), "
        "and does it have a driver for a SATA CD?"
    )


def _same(computer: str, wanted: str) -> bool:
    """Names of computers compare without case, by their first label and its first 15 characters (NetBIOS)."""
    return _short(computer) == _short(wanted) != ""


def _short(name: str) -> str:
    return name.partition(".")[0][:_NETBIOS_CHARS].casefold()


def masked(log: str, *, begins_within: bool = False, ends_within: bool = False) -> str:
    """A log of Setup without the lines that may hold a secret; those of which a part is missing may hold any."""
    lines = log.splitlines()
    said = [_LEFT_OUT if _SECRET.search(line.replace("\0", "")) else line for line in lines]
    if lines and begins_within:
        said[0] = _CUT_OFF
    if lines and ends_within:
        said[-1] = _CUT_OFF
    return "".join(f"{line}\n" for line in said)
