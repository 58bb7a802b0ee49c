"""Names that Windows takes: every rule of its reference, and that no two machines of a role share one."""

from __future__ import annotations

import pytest
from vmrole_unattend import AnswersInvalid
from vmrole_unattend.secret import SecretRef, SecretSource
from vmrole_unattend.windows import names
from vmrole_unattend.windows.answers import Account, Answers

PASSWORD = SecretRef(source=SecretSource.ENV, name="P")


def named(pattern: str, index: int = 3) -> str:
    """The computer name of web-3.shop."""
    return names.computer_name(pattern, role="web", index=index, service="shop")


def test_the_pattern_is_filled() -> None:
    """Role, number and service are put in, and a fixed name stays."""
    assert named("{role}-{index}") == "web-3"
    assert named("{service}{index}x") == "shop3x"
    assert named("FIFTEENBYTES-15") == "FIFTEENBYTES-15"


@pytest.mark.parametrize(
    "pattern",
    [
        "sixteen-bytes-16", "münchen-{index}-xx", "{index}", "123", "-web", "web-", "we b", "web.1", "web_1", "wéb",
        "", "{nobody}", "{index:02}", "{index!r}", "{", "}", "{role}{", "*", "web\n", "{role.x}", "web😀",
    ],
)  # fmt: skip
def test_a_name_that_windows_refuses_is_refused(pattern: str) -> None:
    """Too long in bytes, digits alone, a forbidden character, or a pattern that means nothing."""
    with pytest.raises(AnswersInvalid) as caught:
        named(pattern)
    assert caught.value.where == "computerName"
    assert caught.value.hint


def found(pattern: str = "{role}-{index}", instances: int = 3, *accounts: str) -> list[str]:
    """The faults of a role."""
    answers = Answers(computer_name=pattern, accounts=tuple(Account(name=one, password=PASSWORD) for one in accounts))
    told = names.faults(answers, service="shop", role="web", instances=instances)
    return [str(one) for one in told]


def test_two_machines_never_share_a_name() -> None:
    """One name for all is refused, and good for a role of one."""
    assert found("WEB", 1) == []
    (fault,) = found("WEB", 2)
    assert "instances 0 and 1 would both be called 'WEB'" in fault


def test_the_number_counts_in_the_length() -> None:
    """A name that fits for nine machines and not for ten is refused when there are eleven."""
    assert found("fourteenchars-{index}", 10) == []
    (fault,) = found("fourteenchars-{index}", 11)
    assert "16 bytes" in fault


@pytest.mark.parametrize(
    ("account", "why"),
    [
        ("web-1", "name of a computer"),
        ("WEB-1", "name of a computer"),
        ("Administrator", "Windows' own"),
        ("guest", "Windows' own"),
        ("SYSTEM", "Windows' own"),
        ("a" * 21, "21 characters"),
        ("", "0 characters"),
        ("a@b", "refuses"),
        ("a\\b", "refuses"),
        ("ends.", "refuses"),
        ("tab\t", "refuses"),
    ],
)
def test_an_account_that_windows_refuses_is_refused(account: str, why: str) -> None:
    """Equal to a computer's name, one of Windows' own, too long, or with a forbidden character."""
    (fault,) = found("{role}-{index}", 3, account)
    assert why in fault


def test_accounts_are_compared_without_case() -> None:
    """Windows knows no difference."""
    assert found("{role}-{index}", 3, "operator", "other") == []
    (fault,) = found("{role}-{index}", 3, "operator", "Operator")
    assert "twice" in fault
