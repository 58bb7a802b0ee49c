"""What Windows' own Setup asks when the file does not say it, and what names the image that it installs."""

from __future__ import annotations

import re

from vmrole_unattend.windows.answers import Windows
from vmrole_unattend.windows.checks.file import Deployment, File
from vmrole_unattend.windows.checks.place import Home, Place, Report, short

_INDEX = "/image/index"


def check(file: File, report: Report) -> None:
    """Everything about an installation from media."""
    if file.use is Deployment.GENERALIZED:
        return
    _is_heeded(file, report)
    for home in file.named("Setup"):
        for place in home.find("imageinstall/osimage/installfrom/metadata"):
            _image(place, report)
            _release(place, file, report)
        begun = [place for place in home.places if place.name.casefold() in ("diskconfiguration", "imageinstall")]
        if home.phase != "windowspe" or not begun:
            continue  # It wants to be asked, or is half of a file.
        _license(home, report)
        _disk(home, report)
        _language(file, home, report)
        for place in home.every:
            if place.name.casefold() == "willshowui" and place.text.casefold() == "always":
                message = "WillShowUI is Always: Setup shows the page, and waits"
                report.warning(place, "asks", message, "write OnError")


def _is_heeded(file: File, report: Report) -> None:
    """What people who install Windows 11 by such files report; no page of Microsoft's says it."""
    if file.use is not Deployment.INSTALL or file.windows is not Windows.W11:
        return
    if any(home.phase == "windowspe" for home in file.homes):
        return
    specialize = next((home for home in file.homes if home.phase == "specialize"), None)
    if specialize is not None:
        message = "without a pass windowsPE, Setup of Windows 11 is reported to run nothing of specialize"
        report.note(
            specialize, "pass", message, "add a pass windowsPE, be it with one component that changes nothing"
        )


def _license(home: Home, report: Report) -> None:
    accepted = next(home.find("userdata/accepteula"), None)
    if accepted is None:
        message = "AcceptEula is missing: Setup shows the license, and waits"
        report.doubt(home, "asks", message, "add <UserData><AcceptEula>true</AcceptEula></UserData>")
    elif accepted.text.casefold() in ("false", "0"):
        report.doubt(accepted, "asks", "AcceptEula is false: Setup shows the license, and waits", "write true")


def _disk(home: Home, report: Report) -> None:
    if not any(home.find("diskconfiguration/disk/createpartitions")):
        return
    images = list(home.find("imageinstall/osimage"))
    if any(image.child("installto") or _is_anywhere(image) for image in images):
        return
    message = "nothing says where to install to: Setup asks for a partition, and waits"
    report.doubt(images[0] if images else home, "asks", message, "add <InstallTo> with DiskID and PartitionID")


def _is_anywhere(image: Place) -> bool:
    return image.said("installtoavailablepartition").casefold() not in ("", "false", "0")


def _language(file: File, home: Home, report: Report) -> None:
    international = [one for one in file.named("International-Core-WinPE") if one.phase == "windowspe"]
    if not any(place.text for one in international for place in one.find("setupuilanguage/uilanguage")):
        message = "SetupUILanguage is missing: Setup asks for a language, and waits"
        mend = "add <SetupUILanguage><UILanguage>en-US</UILanguage></SetupUILanguage>"
        where = international[0] if international else home
        report.doubt(where, "asks", message, f"{mend} to Microsoft-Windows-International-Core-WinPE")


_RELEASE = re.compile(r"windows\s+(?:server\s+)?(20\d\d(?:\s*r2)?|\d{1,2}(?:\.1)?)\b", re.IGNORECASE)


def _release(place: Place, file: File, report: Report) -> None:
    """An image by its name, and the release that the file is said to be for."""
    value = place.child("value")
    named = _RELEASE.match(value.text) if value is not None and "name" in place.said("key").casefold() else None
    if value is None or named is None or file.windows is None:
        return
    release = re.sub(r"\s", "", named[1]).casefold()
    if release != file.windows.value:
        message = f"the image is called {short(value.text)}, and the file is for Windows {file.windows}"
        report.doubt(value, "image", message, "name an image of that release, or say the other with --os")


def _image(place: Place, report: Report) -> None:
    key, value = place.child("key"), place.child("value")
    if key is None or value is None or not value.text:
        missing = "Key" if key is None else "Value"
        report.doubt(place, "image", f"MetaData has no {missing}, so it names no image", f"add <{missing}>")
    elif not key.text.casefold().startswith("/image/") and not report.awaits(key, key.text):
        report.doubt(key, "image", f"{key.text[:40]!r} is no key of an image", "write /IMAGE/INDEX or /IMAGE/NAME")
    elif key.text.casefold() == _INDEX and not value.text.isdecimal() and not report.awaits(value, value.text):
        report.doubt(value, "image", "the index of an image is a number", "write it, or the key /IMAGE/NAME")
    elif key.text.casefold() == _INDEX and value.text.isdecimal() and not value.text.strip("0"):
        report.note(value, "image", "there is no image 0", "images are numbered from 1")
