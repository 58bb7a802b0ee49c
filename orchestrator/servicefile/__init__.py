"""The service file: YAML text in, ServiceSpec out, or every fault at once with its line, key and what would be right.

YAML 1.2, so that a MAC address stays a string and `no` is a word. Nothing in the file is trusted: its size, depth
and expanded size are bounded before it is looked at. It is read by itself, without a look at anything else; the
images, secrets and records that it names are looked up in a step of its own, and the faults of both told together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from orchestrator.errors import InvalidInput, Problem
from orchestrator.model import Image, ServiceSpec
from orchestrator.servicefile.answers import computer_faults as computer_faults
from orchestrator.servicefile.draft import STORAGE_NAME_MAX as STORAGE_NAME_MAX
from orchestrator.servicefile.draft import Draft, read_draft
from orchestrator.servicefile.reader import Reader
from orchestrator.servicefile.resolution import WINDOWS_SETUP_S as WINDOWS_SETUP_S
from orchestrator.servicefile.resolution import Known as Known
from orchestrator.servicefile.resolution import RoleNow, SecretFault, no_fault, no_role
from orchestrator.servicefile.resolution import resolve as resolve
from orchestrator.servicefile.resolution import role_faults as role_faults
from orchestrator.servicefile.tree import Map, line_in, read_tree


def read(source: str) -> Draft:
    """What the file says by itself. Pure; raises InvalidInput only for a text that is no tree of values."""
    return draft_of(*read_tree(source))


def draft_of(tree: Map, faults: Sequence[Problem]) -> Draft:
    """What a tree that was read, with `faults` in it, says by itself. Pure."""
    reader = Reader(tree)
    reader.problems.extend(faults)
    return read_draft(reader)


def parse(
    source: str,
    find_image: Callable[[str], Image | None],
    secret_fault: SecretFault = no_fault,
    role_now: RoleNow = no_role,
) -> ServiceSpec:
    """The service that the file describes, read and resolved. Raises InvalidInput with all problems found."""
    return resolve(read(source), Known(find_image=find_image, secret_fault=secret_fault, role_now=role_now))


def line_of(source: str, key: str) -> int | None:
    """The line (1-based) on which `key` ("roles.web.size") or its nearest parent stands; None when unreadable."""
    try:
        return line_in(read_tree(source)[0], key)
    except InvalidInput:
        return None


@contextlib.contextmanager
def placed_in(text: str) -> Iterator[None]:
    """What is wrong with a service gets the lines of its file."""
    try:
        yield
    except InvalidInput as error:
        placed = tuple(replace(one, line=line_of(text, one.key)) for one in error.problems)
        raise InvalidInput(str(error), problems=placed, hint=error.hint) from error
