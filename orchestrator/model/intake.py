"""What its user says of an image that is added: one value, from the command line to the repository."""

from __future__ import annotations

import dataclasses

from orchestrator.errors import InvalidInput
from orchestrator.imagefiles import CHAIN_MAX, SourceFormat
from orchestrator.model import AnswerFormat, Hardware, Os, image_name, is_sha256


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """How a stream of bytes becomes an image. Raises InvalidInput when it cannot be meant.

    To be converted, the stream may hold the parents of a differencing disk after it, the nearest first; `parts` says
    how many bytes each has, the disk itself included.
    """

    name: str
    os: Os = Os.LINUX
    format: SourceFormat | None = None  # None: seen by the file's own bytes; raw has to be said
    sha256: str | None = None  # of the file as it comes
    convert: bool = False
    parts: tuple[int, ...] = ()
    answers: AnswerFormat | None = None  # None: what the system itself reads
    hardware: Hardware = dataclasses.field(default_factory=Hardware)
    size_bytes: int | None = None  # of the whole stream, where that is known before

    def __post_init__(self) -> None:
        image_name(self.name)
        if self.os is not Os.WINDOWS and self.answers is AnswerFormat.UNATTEND:
            raise InvalidInput("only Windows reads Unattend.xml", hint="say --os windows, or --answers nocloud")
        if self.os is Os.WINDOWS and self.answers is AnswerFormat.NONE:
            raise InvalidInput("Windows asks a person what no answer says", hint="leave --answers out")
        if self.sha256 is not None and not is_sha256(self.sha256):
            raise InvalidInput(f"{self.sha256[:80]!r} is not a digest", hint="64 lower-case hexadecimal digits")
        if len(self.parts) > CHAIN_MAX or (self.parts and not self.convert):
            raise InvalidInput(
                f"{len(self.parts)} parts", hint=f"a disk to be converted and up to {CHAIN_MAX - 1} parents"
            )
        if self.parts and self.size_bytes not in (None, sum(self.parts)):
            raise InvalidInput(
                f"parts of {sum(self.parts)} bytes in all, and {self.size_bytes} are sent",
                hint="parts: how many bytes each file has",
            )

    @property
    def answer_format(self) -> AnswerFormat:
        """What the image reads its answers from."""
        return self.answers or (AnswerFormat.UNATTEND if self.os is Os.WINDOWS else AnswerFormat.NOCLOUD)

    def query(self) -> dict[str, object]:
        """As the API takes it; what is empty or false may be left out."""
        return {
            "name": self.name,
            "os": self.os.value,
            "format": self.format.value if self.format else "",
            "sha256": self.sha256 or "",
            "convert": self.convert,
            "parts": ",".join(map(str, self.parts)),
            "answers": self.answers.value if self.answers else "",
            "firmware": self.hardware.firmware.value,
            "disk": self.hardware.disk_bus.value,
            "tpm": self.hardware.tpm,
        }
