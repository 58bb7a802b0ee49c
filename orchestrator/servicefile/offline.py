"""A service file read where no image can be looked up: each is taken for what the file's roles make of it.

What only the image itself tells stays unseen: whether there is one, its size, its disk's bus. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.errors import Problem
from orchestrator.model import AnswerFormat, DiskFormat, Image, Os, ServiceSpec
from orchestrator.servicefile import draft_of
from orchestrator.servicefile.resolution import Known, no_fault, no_role, resolve
from orchestrator.servicefile.tree import Map, read_tree

_OF_WINDOWS = ("services", "delayed")  # below `ready`; Linux has units


def check(source: str, read: tuple[Map, tuple[Problem, ...]] | None = None) -> ServiceSpec:
    """The service that the file describes; raises InvalidInput with every fault that needs no host to be seen.

    `read` is what `read_tree` made of the text, where somebody has asked that already.
    """
    tree, faults = read or read_tree(source)  # once: a large text costs a second
    kinds = dict(_kinds(tree))

    def find_image(reference: str) -> Image:
        return _stand_in(kinds.get(reference, (Os.LINUX, AnswerFormat.NOCLOUD)))

    return resolve(draft_of(tree, faults), Known(find_image=find_image, secret_fault=no_fault, role_now=no_role))


def _kinds(tree: Map) -> Iterator[tuple[str, tuple[Os, AnswerFormat]]]:
    """What the roles say of the images that they name; of two that differ one is wrong, and the last is believed."""
    roles = tree.get("roles")
    for role in roles.values() if isinstance(roles, Map) else ():
        if isinstance(role, Map) and isinstance(reference := role.get("image"), str):
            kind = _kind(_below(role, "answers"), _below(role, "ready"))
            if kind is not None:
                yield reference, kind


def _kind(answers: Map, ready: Map) -> tuple[Os, AnswerFormat] | None:
    if "unattend" in answers:
        return Os.WINDOWS, AnswerFormat.UNATTEND
    if "adminPassword" in answers or any(key in ready for key in _OF_WINDOWS):
        return Os.WINDOWS, AnswerFormat.CONFIG_DRIVE
    return None


def _below(role: Map, key: str) -> Map:
    value = role.get(key)
    return value if isinstance(value, Map) else Map()


def _stand_in(kind: tuple[Os, AnswerFormat]) -> Image:
    os, answers = kind
    return Image(
        sha256="0" * 64,
        format=DiskFormat.QCOW2,
        os=os,
        size_bytes=0,
        virtual_size_bytes=0,
        names=(),
        added_at_s=0.0,
        answers=answers,
    )
