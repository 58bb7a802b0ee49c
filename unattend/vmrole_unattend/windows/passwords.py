"""How Windows hides a password in an answer file: not encryption, only no text that a glance gives away.

Source: Microsoft's reference of AdministratorPassword and LocalAccount/Password, with its own examples.
"""

from __future__ import annotations

import base64

from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.secret import Secret

PASSWORD_CHARS_MAX = 127  # the longest that Windows' own dialogs take
ADMINISTRATOR = "AdministratorPassword"
ACCOUNT = "Password"  # of a local account and of AutoLogon


def encode(password: Secret, element: str) -> str:
    """The Value below `element` for PlainText=false: base64 of UTF-16LE of the password and the element's name.

    Raises AnswersInvalid, without a piece of it, for a password that Windows cannot have.
    """
    text = plain(password)
    return base64.b64encode((text + element).encode("utf-16-le")).decode("ascii")


def plain(password: Secret) -> str:
    """The text of a password that Windows can have, for the elements that cannot hide it; raises AnswersInvalid."""
    text = password.reveal()
    if not text:
        raise _refused("it is empty")
    if len(text) > PASSWORD_CHARS_MAX:
        raise _refused(f"it is longer than {PASSWORD_CHARS_MAX} characters")
    # What XML cannot hold, a keyboard cannot type; a lone surrogate has no encoding.
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) < 0xE000 for char in text):
        raise _refused("it holds a character that cannot be typed")
    return text


def decode(value: str, element: str) -> Secret | None:
    """What `encode` made `value` of; None when it is something else."""
    try:
        text = base64.b64decode(value, validate=True).decode("utf-16-le")
    except ValueError:
        return None
    return Secret(text.removesuffix(element)) if text.endswith(element) else None


def _refused(why: str) -> AnswersInvalid:
    return AnswersInvalid(f"the password cannot be used: {why}", where="password", hint="choose another one")
