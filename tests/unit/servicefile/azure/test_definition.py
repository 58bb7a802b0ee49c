"""Hostile and mistaken files are refused with their place before anything is made of them."""

from __future__ import annotations

import pytest

from orchestrator.errors import InvalidInput
from orchestrator.servicefile.azure.definition import PARTS_MAX, Schema, read
from orchestrator.servicefile.azure.translate import translate
from tests.world.azure_files import SMALL_CSCFG, SMALL_CSDEF, WISHES, configuration, parsed

_BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>\n'
_MANY = "<Note />" * PARTS_MAX


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", r"^shop.csdef:1: the file is empty"),
        (b" \n", r"^shop.csdef:1: the file is empty"),
        (b"PK\x03\x04\xff\xfe", r"^shop.csdef:1: "),
        (b"x" * 10_000_000, r"^shop.csdef:1: the file has 10000000 bytes"),
        (_BOMB.encode() + SMALL_CSDEF.encode(), r"^shop.csdef:1: .*document type declaration"),
        (b"\n<!-- x -->" + _BOMB.encode() + SMALL_CSDEF.encode(), r"^shop.csdef:2: .*document type declaration"),
        (SMALL_CSDEF.replace("</Endpoints>", "").encode(), r"^shop.csdef:\d+: .*not well-formed"),
        (SMALL_CSDEF.replace('"cache"', '"&cache;"').encode(), r"^shop.csdef:7: .*not well-formed"),
        (SMALL_CSDEF.replace("2008/10", "2009/10").encode(), r"^shop.csdef:1: <ServiceDefinition> of namespace"),
        (b"<ServiceDefinition name='shop' />", r"^shop.csdef:1: <ServiceDefinition> of namespace ''"),
        (b"<unattend />", r"^shop.csdef:1: <unattend> of namespace ''"),
        (SMALL_CSCFG.encode(), r"^shop.csdef:1: this is a ServiceConfiguration, not a ServiceDefinition"),
        (SMALL_CSDEF.replace("<Endpoints>", "<Endpoints>" + _MANY).encode(), r"^shop.csdef:1: \d+ elements"),
        (b"<a>" * 10_000, r"^shop.csdef:1: .*not well-formed"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(source: bytes, message: str) -> None:
    """Empty, binary, huge, hostile, broken, of another schema, or the other file: each has its line and a hint."""
    with pytest.raises(InvalidInput, match=message) as refused:
        read(source, "shop.csdef", Schema.DEFINITION)
    assert refused.value.hint


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_encodings_of_visual_studio_are_read(encoding: str) -> None:
    """With or without a byte-order mark, in UTF-8 or UTF-16."""
    text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>\n{SMALL_CSDEF}'
    root = read(text.encode(encoding), "shop.csdef", Schema.DEFINITION)
    assert [one.get("name") for one in root.all("VirtualMachineRole")] == ["web"]
    assert root.line == 2


def test_the_name_of_a_file_is_one_line() -> None:
    """A file that is called like a line of YAML adds none to the service file."""
    done = translate(
        read(SMALL_CSDEF.encode(), "a\nvip: 192.0.2.1\x1b.csdef", Schema.DEFINITION),
        configuration(SMALL_CSCFG),
        WISHES,
    )
    assert parsed(done.text).vip == WISHES.vip
    assert "\x1b" not in done.text
