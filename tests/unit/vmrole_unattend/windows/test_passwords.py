"""Passwords as answer files hide them: Microsoft's own examples, and what cannot be a password."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vmrole_unattend import AnswersInvalid
from vmrole_unattend.secret import Secret
from vmrole_unattend.windows.passwords import ACCOUNT, ADMINISTRATOR, PASSWORD_CHARS_MAX, decode, encode


@pytest.mark.parametrize(
    ("password", "element", "value"),
    [
        ("pw", ADMINISTRATOR, "cAB3AEEAZABtAGkAbgBpAHMAdAByAGEAdABvAHIAUABhAHMAcwB3AG8AcgBkAA=="),
        ("Password12346", ACCOUNT, "UABhAHMAcwB3AG8AcgBkADEAMgAzADQANgBQAGEAcwBzAHcAbwByAGQA"),
    ],
)
def test_microsofts_examples(password: str, element: str, value: str) -> None:
    """The examples of Microsoft's reference, both ways."""
    assert encode(Secret(password), element) == value
    assert decode(value, element) == Secret(password)


@given(st.text(st.characters(min_codepoint=0xA0, exclude_categories=["Cs"]), min_size=1, max_size=PASSWORD_CHARS_MAX))
def test_every_password_comes_back(password: str) -> None:
    """Whatever script it is written in."""
    assert decode(encode(Secret(password), ADMINISTRATOR), ADMINISTRATOR) == Secret(password)


@pytest.mark.parametrize("password", ["", "canary\x00", "canary\n", "canary\ud800", "canary" * 30])
def test_what_cannot_be_a_password_is_refused_without_it(password: str) -> None:
    """The refusal holds no piece of the password, nor does what led to it."""
    with pytest.raises(AnswersInvalid) as caught:
        encode(Secret(password), ACCOUNT)
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


@pytest.mark.parametrize("value", ["", "?", "aGFsbG8=", "cAB3AA=="])
def test_other_texts_are_no_passwords(value: str) -> None:
    """What does not end in the element's name was not made for it."""
    assert decode(value, ADMINISTRATOR) is None
