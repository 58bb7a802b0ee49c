"""The copy of the answer file that Setup keeps, annotates after each pass, and clears of secrets.

Source: Windows Setup Automation Overview: the file is cached in %WINDIR%\\Panther, processed passes are annotated,
and sensitive data of a pass is removed at its end. What is put in place of a secret is seen in public copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element

from vmrole_images.setup_simulator.guest import answerfile
from vmrole_images.setup_simulator.guest.drive import Drive
from vmrole_images.setup_simulator.guest.search import CACHE, CACHE_RANK, Found

DELETED: Final = "*SENSITIVE*DATA*DELETED*"
_SENSITIVE: Final = frozenset(
    (
        "administratorpassword",
        "password",
        "offlineadministratorpassword",
        "machinepassword",
        "accountdata",
        "productkey",
    )
)


def keep(system: Drive, found: Found) -> None:
    """Makes the file found the cached one; one found in the cache stays as it is."""
    if found.rank != CACHE_RANK:
        system.write(CACHE, answerfile.dump(found.file))


def mark(system: Drive, name: str) -> None:
    """Annotates the pass in the cached file as processed and takes its secrets out."""
    content = system.read(CACHE)
    if content is None:
        return
    file = answerfile.parse(content)
    settings = file.settings(name)
    if settings is None:
        return
    settings.set(answerfile.PROCESSED, "true")
    for element in list(_sensitive(settings)):
        for child in list(element):
            element.remove(child)
        element.text = DELETED
    system.write(CACHE, answerfile.dump(file))


def _sensitive(element: Element) -> Iterator[Element]:
    for one in element.iter():
        if isinstance(one.tag, str) and one.tag.rpartition("}")[2].lower() in _SENSITIVE:
            yield one
