"""Why there are two readers of YAML: a service file and what a guest is given are written in two languages."""

from __future__ import annotations

import time

import pytest
from vmrole_unattend import _cloud_yaml

from orchestrator.errors import InvalidInput
from orchestrator.servicefile.tree import read_tree


@pytest.mark.parametrize(
    ("word", "here", "in_the_guest"),
    [
        ("no", "no", False),
        ("on", "on", True),
        ("0644", 644, 0o644),
        ("0o17", 0o17, "0o17"),
        ("1e3", 1000.0, "1e3"),
        ("12:34:56", "12:34:56", 45296),
        ("1_000", "1_000", 1000),
    ],
)
def test_a_word_is_what_its_reader_takes_it_for(word: str, here: object, in_the_guest: object) -> None:
    """By the core schema of YAML 1.2 in a service file; as PyYAML, which cloud-init reads with, in user-data."""
    text = f"key: {word}\n"
    tree, problems = read_tree(text)
    assert (repr(tree["key"]), problems) == (repr(here), ())
    assert repr(_cloud_yaml.read(text).value) == repr({"key": in_the_guest})


def test_tags_and_merges_are_user_datas() -> None:
    """In a service file a tag has no meaning, and a merge is a key like any other; user-data has both."""
    with pytest.raises(InvalidInput, match="no meaning here"):
        read_tree("key: !!binary aGVsbG8=\n")
    assert _cloud_yaml.read("key: !!binary aGVsbG8=\n").value == {"key": b"hello"}
    text = "base: &base\n  one: 1\nkey:\n  <<: *base\n  two: 2\n"
    assert read_tree(text)[0]["key"] == {"<<": {"one": 1}, "two": 2}
    assert _cloud_yaml.read(text).value == {"base": {"one": 1}, "key": {"one": 1, "two": 2}}


@pytest.mark.parametrize("around", ["key: !{} x\n", "key: !<{}> x\n", "!{} key: x\n", "key: [!{} x]\n"])
def test_a_long_tag_costs_no_more_than_a_long_word(around: str) -> None:
    """It is refused at its first characters: decoded, one of a megabyte would take a quarter of a minute."""
    name = "a" * 100_000
    began = time.process_time()
    read_tree(f"key: {name}\n")
    word_s = time.process_time() - began
    began = time.process_time()
    with pytest.raises(InvalidInput, match="no meaning here") as caught:
        read_tree(around.format(name))
    assert caught.value.hint == "remove it"
    with pytest.raises(_cloud_yaml.Broken, match="no meaning here"):
        _cloud_yaml.read(around.format(name))
    assert time.process_time() - began < 2 * word_s + 0.05


@pytest.mark.parametrize("number", ["1:" * 3_000 + "1.5", "0x" + "f" * 5_000, "1" * 5_000, "1:" * 3_000 + "1"])
def test_a_number_that_nobody_can_show_is_refused(number: str) -> None:
    """In user-data, where base 60 and 16 make numbers that Python does not write in decimals, nor keep as a float."""
    with pytest.raises(_cloud_yaml.Broken, match="cannot be read as the number"):
        _cloud_yaml.read(f"key: {number}\n")
    assert isinstance(read_tree(f"key: {number}\n")[0]["key"], str)
