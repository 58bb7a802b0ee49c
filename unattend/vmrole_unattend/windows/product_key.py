"""The shape of a product key; whether Microsoft knows it, nobody here can say."""

from __future__ import annotations

import re

from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.secret import Secret

_KEY = re.compile(r"[A-Z0-9]{5}(?:-[A-Z0-9]{5}){4}")


def product_key(secret: Secret) -> str:
    """The key in capitals; raises AnswersInvalid, without the key, for what is none. Setup fails on an empty one."""
    key = secret.reveal().strip().upper()
    if not _KEY.fullmatch(key):
        raise AnswersInvalid(
            "this is no product key", where="productKey", hint="five groups of five letters and digits, with '-'"
        )
    return key
