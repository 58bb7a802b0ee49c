"""YAML is read as cloud-init reads it: what its reader refuses is told, and what it takes is not."""

from __future__ import annotations

import time

import pytest
from vmrole_unattend import _cloud_yaml, cloud_check


@pytest.mark.parametrize(
    "text",
    [
        "runcmd: !!python/object/apply:os.system [id]",
        "runcmd: !here [a]",
        "a: !here {b: c}",
        "a: !here b",
        "!here a: b",
        "a: !!python/tuple [b]",
        "a: !!str [b]",
        "a: !!bool x",
        "a: !!timestamp x",
        "a: 2020-13-01",
        "2020-13-01: a",
        "!!bool x: a",
        "a:\n  <<: [1]",
        "a:\n  <<: 1",
        "runcmd: [a,\tb]",
        "{\n\t'runcmd': ['a']\n}",
        "a: [b\t]",
        "a:\tb",
        "a: b\tc",
    ],
)
def test_what_cloudinits_reader_refuses_is_told(text: str) -> None:
    """Each of them was tried on cloud-init 22.4's safeyaml.load: it passes over the whole part."""
    with pytest.raises(_cloud_yaml.Broken):
        _cloud_yaml.read(text)
    (finding,) = cloud_check.check(f"#cloud-config\n{text}\n")
    assert (finding.code, finding.mend) == ("yaml", "cloud-init would pass over the whole part")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: !!python/unicode b", {"a": "b"}),
        ("a: ! [b]", {"a": ["b"]}),
        ("a: ! b", {"a": "b"}),
        ("a: !!seq [b]", {"a": ["b"]}),
        ("a: !!map {b: c}", {"a": {"b": "c"}}),
        ("'=': 1\n=: 2", {"=": 2}),
        ("a: [b, # it\tis\n c]", {"a": ["b", "c"]}),
        ('a: ["b\tc"]', {"a": ["b\tc"]}),
    ],
)
def test_what_it_takes_is_taken(text: str, value: object) -> None:
    """By the same."""
    assert _cloud_yaml.read(text).value == value


@pytest.mark.parametrize(
    "text",
    [
        "#cloud-config\n" + "".join(f"k{number}: 1\n" for number in range(300)),
        "#cloud-config-archive\n" + '- "#cloud-config\\n{a: 1}"\n' * 300,
        "#cloud-config\npackages:\n" + "- a b\n" * 300,
        "#include\n" + "nowhere\n" * 300,
    ],
    ids=["keys", "archive", "packages", "addresses"],
)
def test_what_is_said_of_a_text_has_an_end(text: str) -> None:
    """And that there is more is said."""
    began = time.process_time()
    findings = cloud_check.check(text)
    assert len(findings) <= cloud_check.FINDINGS_MAX + 2
    assert [one.code for one in findings].count("more") == 1
    assert time.process_time() - began < 5


def test_what_is_not_looked_at_is_not_called_wrong() -> None:
    """cloud-init itself has no such limit."""
    more = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 20)}]\n" for n in range(1, 9))
    (finding,) = cloud_check.check(f"#cloud-config\nx0: &x0 [a]\n{more}")
    assert "would pass over" not in finding.mend
    assert "looked at" in finding.mend
