"""A service written as a file is read as the same service."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import manifest
from orchestrator.manifest_text import to_text
from orchestrator.model import (
    Endpoint,
    HttpProbe,
    LocalStorage,
    Mode,
    Ready,
    Role,
    ServiceSpec,
    Setup,
    Size,
    TcpProbe,
)
from tests.unit.test_manifest import DIGEST, GOOD, find

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
PORTS = st.integers(1, 65535)
PATHS = st.from_regex(r"/[!-~]{0,20}", fullmatch=True)
PROBES = st.builds(HttpProbe, path=PATHS, port=st.none() | PORTS) | st.builds(TcpProbe, port=st.none() | PORTS)
SET_PROBES = st.builds(HttpProbe, path=PATHS, port=PORTS) | st.builds(TcpProbe, port=PORTS)
PLAIN = st.characters(min_codepoint=0x20, max_codepoint=0xD7FF, exclude_categories=["Cc", "Cs", "Cn"])
WORDS = st.lists(st.text(PLAIN, min_size=1, max_size=8), max_size=3).map(tuple)
TEXTS = st.just("") | st.text(PLAIN | st.sampled_from("\n\t#:[{'\""), max_size=40).map(
    lambda text: f"#!/bin/sh\n{text}"
)
SECONDS = st.integers(1000, 3_600_000).map(lambda milliseconds: milliseconds / 1000)


@st.composite
def services(draw: st.DrawFn) -> ServiceSpec:
    """Any service that a file can describe."""
    ports = iter(draw(st.lists(PORTS, min_size=6, max_size=6, unique=True)))

    def role(name: str) -> Role:
        ends = tuple(
            Endpoint(
                name=end,
                port=next(ports),
                target=draw(PORTS),
                mode=draw(st.sampled_from(Mode)),
                probe=draw(st.none() | PROBES),
            )
            for end in draw(st.lists(LABELS, max_size=2, unique=True))
        )
        ready = Ready(
            units=draw(WORDS),
            ignore=draw(WORDS),
            command=draw(WORDS),
            probe=draw(st.none() | SET_PROBES),
            within_s=draw(SECONDS),
        )
        return Role(
            name=name,
            image=draw(st.sampled_from(["micro", f"micro@sha256:{DIGEST}", DIGEST])),
            image_sha256=DIGEST,
            instances=draw(st.integers(0, 100)),
            size=Size(vcpus=draw(st.integers(1, 64)), memory_mib=draw(st.integers(64, 4096))),
            endpoints=ends,
            local_storage=tuple(
                LocalStorage(name=one, size_mib=draw(st.integers(1, 4096)))
                for one in draw(st.lists(LABELS, max_size=2, unique=True))
            ),
            user_data=draw(TEXTS),
            setup=Setup(restart=draw(st.booleans()), within_s=draw(SECONDS)),
            ready=ready,
            drain_s=draw(SECONDS),
        )

    names = draw(st.lists(LABELS, min_size=1, max_size=3, unique=True))
    return ServiceSpec(name=draw(LABELS), vip="203.0.113.10", roles=tuple(role(name) for name in names))


@settings(max_examples=40, deadline=None)
@given(services())
def test_what_is_written_is_read_as_the_same(spec: ServiceSpec) -> None:
    """Every service that can be described survives being written and read."""
    assert manifest.parse(to_text(spec), find) == spec


def test_the_example_is_written_as_people_write_it() -> None:
    """User data stays a block that can be read, and what is as by default is not said."""
    text = to_text(manifest.parse(GOOD, find))
    assert manifest.parse(text, find) == manifest.parse(GOOD, find)
    assert "      userData: |\n        #cloud-config\n" in text
    assert "setup" not in text
