"""Passwords as they stand in the file."""

from __future__ import annotations

import base64
import binascii

from vmrole_unattend.windows.checks.file import File
from vmrole_unattend.windows.checks.place import Place, Report
from vmrole_unattend.windows.checks.placeholder import is_all_placeholder
from vmrole_unattend.windows.passwords import PASSWORD_CHARS_MAX

DELETED = "*SENSITIVE*DATA*DELETED*"  # what Setup writes over the passwords of the file that it caches


def check(file: File, report: Report) -> None:
    """Everything about passwords; none is ever quoted."""
    plain: list[Place] = []
    for home in file.homes:
        for place in home.every:
            if place.name.casefold().endswith("password"):
                _password(place, plain, report)
    if plain:
        others = ", ".join(str(one.line) for one in plain[1:])
        message = "a password stands here as plain text" + (f", and on line {others}" if others else "")
        mend = "keep the file from others; PlainText false hides a password from a glance, not from a reader"
        report.warning(plain[0], "password-plain", message, mend)


def _password(place: Place, plain: list[Place], report: Report) -> None:
    value, mark = place.child("value"), place.child("plaintext")
    if place.key == "useraccounts/administratorpassword" and _is_blank(place):
        message = "the administrator's password is empty: a server asks for one, a client lets everybody in"
        report.warning(value or place, "password-blank", message, "give it one")
    if value is None and place.text == DELETED:
        value = place
    if value is None:
        above = place.parent.name.casefold() if place.parent is not None else ""
        if place.text and place.known is not None and above in ("autologon", "localaccount", "useraccounts"):
            mend = "write <Value>…</Value><PlainText>true</PlainText> in it"
            report.error(place, "password-shape", f"{place.name} holds text of its own", mend)
        elif place.text and above == "credentials" and not is_all_placeholder(place.text):
            plain.append(place)
            if _is_encoded(place.text, place.name):
                message = "the value is an encoded password, and is taken as it stands here"
                report.warning(place, "password-encoding", message, "write the password itself")
        elif place.text and above == "credentials":
            report.to_come(place, "a password")
        return
    text = value.text
    if not text or _is_blank(place):
        _nobody_asks(place, report)
        return
    _typed(place, report)
    if text != DELETED and is_all_placeholder(text):
        report.to_come(value, "a password")
        return
    if text == DELETED:
        message = "Setup took the password out: the file is a copy that Windows kept"
        report.warning(value, "password-deleted", message, "write the password anew")
    elif mark is not None and mark.text.casefold() in ("true", "1") and _is_encoded(text, _suffix(place)):
        message = "the value is an encoded password, but PlainText is true: the encoded text is the password then"
        report.warning(value, "password-encoding", message, "write PlainText false")
    elif mark is None or mark.text.casefold() not in ("false", "0"):
        if mark is None or not report.awaits(mark, mark.text):
            plain.append(value)
    else:
        _encoded(value, _suffix(place), report)


def _nobody_asks(place: Place, report: Report) -> None:
    """An account of an administrator without a password; the built-in one's is told apart."""
    above = place.parent
    if above is None or above.name.casefold() != "localaccount" or above.mark("action") == "remove":
        return
    if "administrators" in above.said("group").casefold():
        message = "an administrator's account has an empty password: whoever reaches the screen is let in"
        report.warning(place, "password-blank", message, "give it one")


def _typed(place: Place, report: Report) -> None:
    """What an encoded password holds that nobody can type: its tool was given more than the password."""
    if place.said("plaintext").casefold() not in ("false", "0"):
        return
    text = revealed(place) or ""
    value = place.child("value") or place
    if text.startswith("\ufeff") or any(ord(char) < 0x20 for char in text):
        message = "the encoded password holds a line break or a mark that nobody types"
        report.doubt(value, "password-encoding", message, "encode the password alone: echo adds a line break")
    elif len(text) > PASSWORD_CHARS_MAX:
        message = f"the password has more than {PASSWORD_CHARS_MAX} characters, and Windows' dialogs take no more"
        report.doubt(value, "password-encoding", message, "choose a shorter one")


def _suffix(place: Place) -> str:
    """What stands behind an encoded password: the element's name; of the offline one both names are in use."""
    return "AdministratorPassword" if place.name.casefold() == "offlineadministratorpassword" else place.name


def _is_encoded(text: str, suffix: str) -> bool:
    try:
        decoded = base64.b64decode("".join(text.split()), validate=True).decode("utf-16-le")
    except (binascii.Error, ValueError):
        return False
    return decoded.casefold().endswith(suffix.casefold())


def _encoded(value: Place, suffix: str, report: Report) -> None:
    """base64 of UTF-16LE of the password and the element's name behind it."""
    message = mend = ""
    try:
        raw = base64.b64decode("".join(value.text.split()), validate=True)
        decoded = raw.decode("utf-16-le")
    except (binascii.Error, ValueError):
        message = "PlainText is false, but the value is no base64 of UTF-16"
        mend = "encode it, or write PlainText true"
    else:
        if not decoded.casefold().endswith(suffix.casefold()):
            message = f"the decoded value does not end in {suffix}, so the password is another one"
            mend = f"encode the password with {suffix} behind it"
    if message:
        report.error(value, "password-encoding", message, mend)


def _is_blank(place: Place) -> bool:
    """Whether a password says nothing, as it stands or encoded."""
    value = place.said("value")
    if place.said("plaintext").casefold() in ("false", "0"):
        return not value or value == base64.b64encode(place.name.encode("utf-16-le")).decode()
    return not value and not place.text


def revealed(place: Place) -> str | None:
    """The password itself, to be compared and never shown; None when it cannot be told."""
    value, mark = place.child("value"), place.said("plaintext").casefold()
    text = value.text if value is not None else ""
    if value is None or text == DELETED or (text and is_all_placeholder(text)):
        return None
    if mark not in ("false", "0"):
        return text
    try:
        decoded = base64.b64decode("".join(text.split()), validate=True).decode("utf-16-le")
    except (binascii.Error, ValueError):
        return None
    name = _suffix(place)
    return decoded[: -len(name)] if decoded.casefold().endswith(name.casefold()) else None
