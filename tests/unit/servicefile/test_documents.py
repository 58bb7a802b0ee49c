"""Where the documents of a text begin and end: as a YAML parser sees it, and with the lines of the whole."""

from __future__ import annotations

import pytest
from ruamel.yaml import YAML

from orchestrator.servicefile.documents import split

TEXTS = {
    "one": "a: 1\n",
    "one that is announced": "--- # first\na: 1\n",
    "two": "a: 1\n---\nb: 2\n",
    "without a last line break": "a: 1\n---\nb: 2",
    "on the line of the mark": "--- {a: 1}\n--- {b: 2}\n",
    "ended": "a: 1\n...\n---\nb: 2\n...\n",
    "without a mark after the end": "a: 1\n...\nb: 2\n",
    "directives": "%YAML 1.2\n---\na: 1\n...\n%YAML 1.2\n---\nb: 2\n",
    "marks that are none": "a: |\n  ---\n  ...\nb: '---x'\nc: ---x\n---a: 3\n",
    "another platform's lines": "a: 1\r\n---\r\nb: 2\r\n",
    "in a block": "a: |\n  text\n\n---\nb: >-\n  more\n...\n",
    "a mark of order": "\ufeffa: 1\n---\nb: 2\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_documents_are_those_that_a_parser_sees(text: str) -> None:
    """Each holds what the parser finds in it, and begins on the line that is said."""
    found = split(text)
    yaml = YAML(typ="safe", pure=True)
    assert [YAML(typ="safe", pure=True).load(one.text) for one in found] == list(yaml.load_all(text))
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    for one in found:
        assert "".join(lines[one.line - 1 :]).startswith(one.text)


@pytest.mark.parametrize("text", ["", "\n\n", "# a\n---\n# b\n...\n", "---\n---\n", "%YAML 1.2\n---\n"])
def test_blanks_and_comments_are_no_document(text: str) -> None:
    """What says nothing is passed over, as other tools do."""
    assert split(text) == ()


def test_a_fault_in_one_hides_none_in_the_next() -> None:
    """A text that is no YAML is divided all the same."""
    found = split("a: [\n---\nb: 'x\n---\nc: 3\n")
    assert [(one.number, one.line, one.text) for one in found] == [
        (1, 1, "a: [\n"),
        (2, 2, "---\nb: 'x\n"),
        (3, 4, "---\nc: 3\n"),
    ]


def test_documents_of_files_that_were_joined_may_each_begin_with_a_byte_order_mark() -> None:
    """Windows' editors write one; it is no part of the first key."""
    for between in ("", "---\n", "...\n"):
        documents = split(f"\ufeffservice: a\n{between}\ufeff---\nservice: b\n")
        assert [one.text.strip("-.\n") for one in documents] == ["service: a", "service: b"]
    assert [one.text for one in split("...\n\ufeffservice: a\n")] == ["service: a\n"]
