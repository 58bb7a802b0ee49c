"""What wipes a disk, and what extends one."""

from __future__ import annotations

import re

from vmrole_unattend.windows.checks.file import TRUE, Deployment, File
from vmrole_unattend.windows.checks.place import Home, Report

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
    """What a file does to disks without Setup's partitions, which `layout` looks at."""
    for home in file.named("Deployment"):
        for extend in home.find("extendospartition"):
            if extend.said("extend") and extend.said("size"):
                message = "Extend and Size are both there: Setup logs an error, and ends"
                report.error(extend, "extend", message, "keep Extend, which takes all that is free, or Size")
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
