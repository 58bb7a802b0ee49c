"""Partitions, and what wipes a disk."""

from __future__ import annotations

import re
from collections.abc import Iterable

from unattend.windows.checks.file import TRUE, Deployment, File
from unattend.windows.checks.place import Home, Place, Report

_WIPES = re.compile(
    r"\bdiskpart\b|\bformat(\.com)?\s+(/\S+\s+)*\w:|\b(clear|initialize)-disk\b|\bformat-volume\b", re.IGNORECASE
)
_LAYS = (
    "diskconfiguration/disk/createpartitions",
    "imageinstall/osimage/installto",
    "windowsdeploymentservices/imageselection/installto",
)
_SOMEWHERE = "imageinstall/osimage/installtoavailablepartition"


def check(file: File, report: Report) -> None:
    """Everything about disks."""
    for home in file.named("Setup"):
        _partitions(home.find("diskconfiguration/disk/createpartitions/createpartition"), report)
    if file.use is Deployment.GENERALIZED:
        check_generalized(file.homes, report)


def check_generalized(homes: list[Home], report: Report) -> None:
    """A file for a generalized image: what could destroy another disk, should it ever meet Windows' own Setup."""
    for home in homes:
        if home.phase != "windowspe":
            continue
        for place in home.every:
            wipes = place.name.casefold() == "willwipedisk" and place.text.casefold() in TRUE
            lays = place.key in _LAYS or (place.key == _SOMEWHERE and place.text.casefold() in TRUE)
            formats = place.name.casefold() == "format" and "modifypartition" in place.key
            runs = place.name.casefold() == "path" and "command/" in place.key and _WIPES.search(place.text)
            if wipes or lays or formats or runs:
                message = "the windowsPE pass installs on a disk or wipes it; a generalized image is never installed"
                mend = "remove the pass windowsPE: it would act if the machine ever started from Windows media"
                report.error(place, "disk-wipe", message, mend)
                return


def _partitions(found: Iterable[Place], report: Report) -> None:
    for partition in found:
        size, extend = partition.said("size"), partition.said("extend").casefold()
        if size and extend in TRUE:
            message = "the partition has a Size and is to Extend: Setup makes none, and ends"
            report.doubt(partition, "partition", message, "keep one of both")
        elif not size and extend in ("", "false", "0"):
            report.doubt(partition, "partition", "the partition has no size", "write Size, or Extend true")
