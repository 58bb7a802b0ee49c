"""A service file is read by itself; what it names is looked up afterwards, and the faults of both told together."""

from __future__ import annotations

import dataclasses

import pytest
from vmrole_unattend.secret import SecretRef

from orchestrator import servicefile
from orchestrator.errors import InvalidInput
from orchestrator.model import AnswerFormat, DiskBus, Image, Os, Role
from tests.world.images import MICRO
from tests.world.service_files import GOOD

ROLE = "service: shop\nroles: {web: {image: micro, "
WINDOWS = dataclasses.replace(MICRO, os=Os.WINDOWS, answers=AnswerFormat.CONFIG_DRIVE)


class Asked:
    """Knows everything, and notes in which order it was asked."""

    def __init__(self, image: Image | None = MICRO, why_not: str = "") -> None:
        self.questions: list[str] = []
        self._image = image
        self._why_not = why_not

    def known(self) -> servicefile.Known:
        """What it hands in."""
        return servicefile.Known(find_image=self._find, secret_fault=self._fault, role_now=self._now)

    def _find(self, reference: str) -> Image | None:
        self.questions.append(reference)
        return self._image

    def _fault(self, service: str, secret: SecretRef) -> str:
        self.questions.append(f"{service}: {secret}")
        return self._why_not

    def _now(self, service: str, role: str) -> Role | None:
        self.questions.append(f"{service}: {role}")
        return None


def told(source: str, asked: Asked) -> list[tuple[str, str]]:
    """Key and message of each fault, in their order."""
    with pytest.raises(InvalidInput) as refused:
        servicefile.resolve(servicefile.read(source), asked.known())
    return [(problem.key.removeprefix("roles.web."), problem.message) for problem in refused.value.problems]


def test_reading_follows_no_reference() -> None:
    """What a file names stands in its draft as a name, and the draft is the same whatever there is on the host."""
    draft = servicefile.read(GOOD)
    assert [(role.reference, role.role.image_sha256) for role in draft.roles] == [("micro", "")]
    assert not draft.faults
    twice = dataclasses.replace(MICRO, sha256="f" * 64)
    for image in (MICRO, twice):
        spec = servicefile.resolve(draft, servicefile.Known(find_image={"micro": image}.get))
        assert spec.roles[0].image_sha256 == image.sha256


def test_a_faulty_draft_is_no_exception() -> None:
    """Reading tells faults with their lines in the draft, so that those of what it names can join them."""
    draft = servicefile.read(GOOD.replace("instances: 3", "instances: many"))
    assert [(fault.key, fault.line) for fault in draft.faults] == [("roles.web.instances", 6)]


def test_each_image_is_asked_for_once() -> None:
    """Two roles of one image get the same, even if its name is given to another in between."""
    asked = Asked()
    source = "service: shop\nroles:\n  web: {image: micro}\n  db: {image: micro}\n"
    servicefile.resolve(servicefile.read(source), asked.known())
    assert asked.questions == ["micro"]


def test_a_reference_that_is_none_is_not_followed() -> None:
    """A faulty reference is told as that, and nobody is asked for it."""
    asked = Asked()
    assert told(ROLE.replace("micro", "Not A Name") + "}}", asked)[0][0] == "image"
    assert asked.questions == []


def test_secrets_are_asked_for_after_images() -> None:
    """A secret is looked for when all images are known, and each that the file names."""
    asked = Asked(WINDOWS)
    source = ROLE + "answers: {userData: {secret: a}, adminPassword: {secret: b}}}}"
    servicefile.resolve(servicefile.read(source), asked.known())
    assert asked.questions == ["micro", "shop: secret a", "shop: secret b"]


def test_faults_of_a_line_keep_their_order() -> None:
    """On one line a fault of what the file names stands where the file names it, between those of the file itself."""
    nvme = dataclasses.replace(MICRO, hardware=dataclasses.replace(MICRO.hardware, disk_bus=DiskBus.NVME))
    asked = Asked(nvme, "there is none")
    answers = "answers: {publicKeys: 1, userData: {secret: a}, installAgent: 1}"
    rest = f"{answers}, size: {{x: 1, memory: 1, diskRate: 1 MiB/s}}}}}}"
    assert [key for key, _ in told(ROLE + rest, asked)] == [
        "size.x", "size.diskRate", "size.memory", "answers.publicKeys", "answers.userData", "answers.installAgent",
    ]  # fmt: skip


def test_an_image_that_there_is_not_hides_no_fault() -> None:
    """What is wrong with the file itself is told beside the image that there is not."""
    faults = told(ROLE + "size: {vcpus: 0}, setup: {within: 1}}}", Asked(None))
    assert [key for key, _ in faults] == ["image", "size.vcpus", "setup.within"]
