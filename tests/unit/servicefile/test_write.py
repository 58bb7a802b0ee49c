"""A service is written as a file that reads as it; `python -m tests.unit.servicefile.test_write` writes the page."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orchestrator import servicefile
from orchestrator.control.applied import Memory
from orchestrator.errors import InvalidInput
from orchestrator.model import AnswerFormat, Image, Os, Role, ServiceSpec
from orchestrator.servicefile.difference import difference
from orchestrator.servicefile.keys import KEYS, rolls
from orchestrator.servicefile.reference import page
from orchestrator.servicefile.write import written
from tests.unit.servicefile.odd_files import ACCEPTED, image, odd_values, places
from tests.world.fabric import Fabric
from tests.world.images import MICRO
from tests.world.places import REPOSITORY
from tests.world.service_files import GOOD

PAGE = REPOSITORY / "docs" / "service-file.md"
SECRET = "hunter2-of-the-text"
EVERYTHING = """service: shop
vip: 203.0.113.10
stagingVip: 203.0.113.11
sharedVip: true
labels: {tier: front, "example.com/owner": "7"}
upgrade: {domains: 5, maxUnavailable: 2, mode: manual, order: descending, within: 20 min, soak: 90 s,
          onFailure: undo, canary: 2}
healing: {reimagesPerHour: 3}
roles:
  web:
    image: micro
    instances: 2
    size: {vcpus: 2, memory: 1 GiB, disk: 20 GiB, cpuWeight: 50, cpuLimit: 50 %, diskRate: 10 MiB/s,
           diskOperations: 100, networkRate: 1 GiB/s}
    endpoints:
      http: {port: 80, target: 8080, protocol: http, timeout: 90.5 s, probe: {path: /a, port: 81, status: 204,
             interval: 2.5 s, timeout: 500 ms, rise: 2, fall: 3, initialDelay: 10 s},
             maxConnections: 10, maxConnectionsPerClient: 2}
      names: {port: 53, protocol: udp, affinity: source, affinityTime: 10 min}
      plain: {port: 54, probe: {}}
      inside: {port: 62, probe: {command: [/bin/test, -f, /run/ok], interval: 30 s, rise: 3}}
      known: {port: 57, protocol: http, affinity: cookie}
      kept: {port: 58, affinity: source}
      few: {port: 60, allow: [10.0.0.0/8, 192.0.2.7], proxyProtocol: true, memberConnections: 3}
      safe: {port: 443, protocol: http, tls: {certificate: {secret: a.crt}, key: {secret: a.key},
             more: [{certificate: {secret: b}}, {certificate: {secret: c}, key: {env: D}}], redirectFrom: 59}}
      other: {port: 55, balancer: nftables, probe: {port: 56}}
      several: {ports: 8000-8010, target: 9000}
      own: {type: instance, ports: 10022-10041, target: 22, allow: [10.0.0.0/8]}
      kernels: {port: 61, balancer: nftables, allow: [10.0.0.0/8]}
      inner: {type: internal, port: 3306, protocol: udp, from: [db]}
      inners: {type: internal, ports: 3307-3310}
      any: {type: internal, port: 3320, protocol: any}
      all: {type: internal}
    localStorage: {cache: {size: 1 GiB}, logs: {size: 3 MiB}}
    drives: {data: {drive: "db-{index}", mount: /srv/data}, more: {drive: "log-{index}"}}
    shares: {tools: {source: /srv/tools, mount: /opt/tools}, other: {source: /srv/other}}
    answers: {vendorData: "#cloud-config\\na: 1\\n", userData: {secret: a}, installAgent: true,
              publicKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGaBnhmCXqDTZyqyfMkMm4RHhBhP3o3WqLmpHbV8QbHr you]}
    identity: {sshHostKeys: keep}
    setup: {restart: false, within: 90 s}
    ready: {guest: true, units: [a.service], ignore: [b.service], command: [/bin/sh, -c, "true"],
            probe: {path: /, port: 7, status: "200-299,401"},
            within: 7 min, silence: 20 min, watch: true}
    evidence: {disk: true}
    drain: 0.5 ms
    stop: {within: 604.8 s}
    restart: {within: 2 h}
    healing: {ladder: restart, maxUnavailable: 20 %}
    reimage: warm
    checkpoint: {maxAge: 2 d, memory: true, refresh: true}
    lease: {longest: 4 h}
    topology: walk
    after: [db]
    labels: {tier: back, app: "no"}
  lan: {image: micro, instances: 2, network: {bridge: br0.7, addresses: [192.0.2.10/24, 192.0.2.11/24], mtu: 9000,
        gateway: 192.0.2.1, dns: [192.0.2.53], search: [corp.example], proxy: "http://proxy.example:3128"}}
  machine: {image: micro, size: {vcpus: 8}, devices: {cpuModel: Nehalem, sockets: 2, cores: 2, threads: 2,
            diskCache: none, screen: true, hugepages: true, pci: ["01:00.0", 10de:2204]},
            libvirt: {xml: "<domain><devices><sound model='ich9'/></devices></domain>"}}
  db: {image: micro, ready: {agent: false, probe: {port: 1}}, answers: none, setup: {restart: false}}
"""
WINDOWS = """service: shop
roles:
  web:
    image: w
    ready: {services: [W3SVC], delayed: true}
    answers:
      unattend:
        windows: 2019
        computerName: "W{index}"
        locale: de-DE
        owner: "on"
        administratorPassword: {secret: admin}
        accounts: {joe: {password: {env: JOE}, displayName: "1e3"}}
        join: {domain: corp.example, user: joiner, password: {secret: joiner}}
        remoteDesktop: true
        firewallGroups: ["@FirewallAPI.dll,-28752"]
        firstLogon: ["cmd /c echo hunter2-of-the-text"]
        scripts: {a.ps1: "# hunter2-of-the-text"}
"""


def read(source: str, of: Image, now: ServiceSpec | None = None) -> ServiceSpec:
    """As the daemon reads it, which knows the service as it is."""
    return servicefile.parse(
        source, lambda _: of, role_now=lambda _, role: now.role(role) if now is not None else None
    )


def comes_back(spec: ServiceSpec, of: Image) -> str:
    """The file of a service, after it was seen to read as the service does."""
    text = written(spec, lambda _: of)
    assert read(text, of, spec) == spec, text
    return text


@pytest.mark.parametrize("source", [*ACCEPTED, EVERYTHING, WINDOWS])
def test_what_is_written_reads_as_it_was(source: str) -> None:
    """The README's files, the examples, and two with every key: nothing differs, and no text is shown."""
    of = image(source)
    spec = read(source, of)
    text = comes_back(spec, of)
    assert difference(spec, read(text, of, spec)) == ()
    assert SECRET not in text
    assert "userData: |" not in text


def test_every_key_is_tried() -> None:
    """The two files above hold each key that there is: one that is learned must come back, too."""
    tried = set()
    for source in (EVERYTHING, WINDOWS):
        text = comes_back(read(source, image(source)), image(source))
        tried |= {at for one in (source, text) for at in _keys(YAML(typ="safe", pure=True).load(one))}
    rest = {key for key in KEYS if key not in tried and not key.endswith((".NAME", "[]"))}
    of_others = {"adminPassword"}  # of cloudbase-init: below
    of_windows = {"edition", "architecture", "timeZone", "uiLanguage", "keyboard", "organization", "productKey"}
    of_windows |= {"group", "description", "userDomain", "unit", "blob", "unsecure", "workgroup", "staticNetwork"}
    of_windows |= {"specialize", "run", "restart", "xml"}
    assert {key.rpartition(".")[2] for key in rest} - of_windows - of_others == set(), rest


def _keys(node: Any, at: str = "") -> set[str]:
    """Every place of a file, in the words of `KEYS`."""
    steps = node.items() if isinstance(node, dict) else []
    if isinstance(node, list) and at.endswith(".more"):
        return {key for one in node for key in _keys(one, f"{at}.[]")} | {at}
    found = {at} if at else set()
    named = at in ("roles", "labels", "roles.NAME.labels") or at.endswith(
        (".endpoints", ".localStorage", ".drives", ".shares", ".accounts", ".scripts")
    )
    for key, below in steps:
        step = "NAME" if named else str(key)
        found |= _keys(below, f"{at}.{step}" if at else step)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "part", "of_parts"),
    [*((source, 0, 1) for source in (*ACCEPTED, WINDOWS)), *((EVERYTHING, part, 4) for part in range(4))],
)
def test_whatever_is_read_is_written_back(source: str, part: int, of_parts: int) -> None:
    """Odd values in every place of a file that the reader takes; a long file in parts, for several to read."""
    tree = YAML(typ="safe", pure=True).load(source)
    of = image(source)
    came_back = 0
    for turn, (*way, last) in [*enumerate(place for place in places(tree) if place)][part::of_parts]:
        for value in odd_values(turn // of_parts):
            changed = copy.deepcopy(tree)
            node = changed
            for step in way:
                node = node[step]
            node[last] = value
            try:
                spec = read(json.dumps(changed), of)
            except InvalidInput:
                continue
            comes_back(spec, of)
            came_back += 1
    assert came_back


_CHARACTERS = st.characters(exclude_categories=("Cs", "Co", "Cn"), exclude_characters=[*map(chr, range(32)), "\x7f"])


@settings(max_examples=150, deadline=None)
@given(text=st.text(_CHARACTERS, min_size=1, max_size=12))
@example(text="x" * 150 + "  y")
@example(text="a \x85 b\u2028c\u2029\ufeffd")
@example(text="two\nlines\tand a tab")
@example(text="0o17")
@example(text="1e3")
@example(text="~")
@example(text="2001-01-01")
@example(text="=")
@example(text=" a: b #c")
def test_texts_stay_texts(text: str) -> None:
    """Whatever YAML would take them for."""
    spec = read(GOOD, MICRO)
    ready = dataclasses.replace(spec.roles[0].ready, command=(text, "a"))
    spec = dataclasses.replace(spec, roles=(dataclasses.replace(spec.roles[0], ready=ready),))
    comes_back(spec, MICRO)


def test_an_image_that_has_moved_on_is_named_by_its_digest() -> None:
    """Else applying the file would roll the service to what has the name now."""
    spec = read(GOOD, MICRO)
    other = dataclasses.replace(MICRO, sha256="b" * 64)
    assert f"image: {MICRO.sha256}" in written(spec, lambda _: other)
    assert f"image: {MICRO.sha256}" in written(spec, lambda _: None)
    assert "image: micro" in written(spec, lambda _: MICRO)


def test_what_another_image_cannot_read_is_not_kept() -> None:
    """Else the first instance of the rollout would find out, and `diff` had nothing to say."""
    spec = read(
        GOOD.replace("#cloud-config\n        mac: 52:54:00:12:34:56", "#!/bin/sh\n        echo hunter2"), MICRO
    )
    of = dataclasses.replace(MICRO, os=Os.WINDOWS, answers=AnswerFormat.CONFIG_DRIVE)
    text = "service: shop\nroles:\n  web: {image: w, answers: {kept: [userData]}}\n"
    assert read(text, of, spec).roles[0].user_data == spec.roles[0].user_data
    spec = read(
        GOOD.replace("#cloud-config\n        mac: 52:54:00:12:34:56", "#cloud-boothook\n        hunter2"), MICRO
    )
    with pytest.raises(InvalidInput) as caught:
        read(text, of, spec)
    (problem,) = caught.value.problems
    assert (problem.key, "none for this image" in problem.message) == ("roles.web.answers.kept", True)
    assert "hunter2" not in str(caught.value) + problem.message + problem.hint


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("userData: |\n        #cloud-config\n        mac: 52:54:00:12:34:56", "kept: [vendorData]", "no vendorData"),
        ("userData: |", "kept: [userData]\n      userData: |", "given, too"),
        ("userData: |\n        #cloud-config\n        mac: 52:54:00:12:34:56", "kept: [publicKeys]", "is shown"),
        ("userData: |\n        #cloud-config\n        mac: 52:54:00:12:34:56", "kept: userData", "not a list"),
    ],
)
def test_what_cannot_be_kept_is_told(before: str, after: str, told: str) -> None:
    """By key and line, and with what to do."""
    with pytest.raises(InvalidInput) as caught:
        read(GOOD.replace(before, after, 1), MICRO, read(GOOD, MICRO))
    (problem,) = caught.value.problems
    assert problem.key == "roles.web.answers.kept"
    assert problem.line == 13
    assert told in problem.message
    assert problem.hint


def test_what_was_never_there_is_not_kept() -> None:
    """A file that keeps, applied where there is no such service: nothing is begun without its user-data."""
    text = written(read(GOOD, MICRO), lambda _: MICRO)
    with pytest.raises(InvalidInput, match="1 fault") as caught:
        read(text, MICRO)
    assert "no userData that could be kept" in caught.value.problems[0].message


def test_cloudbase_init_keeps_its_user_data() -> None:
    """And says where its password is."""
    of = dataclasses.replace(MICRO, os=Os.WINDOWS, answers=AnswerFormat.CONFIG_DRIVE)
    source = (
        "service: shop\nroles:\n  web:\n    image: w\n    answers: {adminPassword: {secret: a}, userData: '#ps1'}\n"
    )
    text = comes_back(read(source, of), of)
    assert "- userData" in text
    assert "secret: a" in text


CHANGES = {
    "image": None, "size.vcpus": ("vcpus: 1", "vcpus: 2"), "size.memory": ("128 MiB", "256 MiB"),
    "size.disk": ("memory: 128 MiB", "memory: 128 MiB, disk: 9 GiB"),
    "size.diskRate": ("memory: 128 MiB", "memory: 128 MiB, diskRate: 9 MiB/s"),
    "endpoints.NAME.port": ("port: 80,", "port: 81,"), "localStorage.NAME.size": ("64 MiB", "65 MiB"),
    "answers.userData": ("mac: 52", "mac: 53"), "setup.restart": ("restart: true", "restart: false"),
    "setup.within": ("10 min", "11 min"), "ready.units": ("app.service", "b.service"), "drain": ("5 s", "6 s"),
    "stop.within": ("3 min", "4 min"), "restart.within": ("7 min", "8 min"),
    "labels": ("    drain", "    labels: {a: b}\n    drain"),
    "reimage": ("    drain", "    reimage: warm\n    drain"),
    "checkpoint.maxAge": ("    drain", "    reimage: warm\n    checkpoint: {maxAge: 2 d}\n    drain"),
    "checkpoint.memory": ("    drain", "    reimage: warm\n    checkpoint: {memory: true}\n    drain"),
    "checkpoint.refresh": ("    drain", "    reimage: warm\n    checkpoint: {refresh: true}\n    drain"),
    "lease.longest": ("    drain", "    lease: {longest: 4 h}\n    drain"),
    "topology": ("    drain", "    topology: walk\n    drain"),
    "identity.sshHostKeys": ("    drain", "    identity: {sshHostKeys: keep}\n    drain"),
}  # fmt: skip


@pytest.mark.parametrize("key", CHANGES)
def test_the_page_says_what_a_change_does(key: str) -> None:
    """As `diff` says it."""
    before = read(GOOD, MICRO)
    pair = CHANGES[key]
    of = MICRO if pair else dataclasses.replace(MICRO, sha256="b" * 64)
    after = read(GOOD.replace(*pair, 1) if pair else GOOD, of)
    (change, *_) = difference(before, after)
    assert ("rolling" in change.effect) == rolls(key)


def test_the_page_is_what_the_readers_take() -> None:
    """docs/service-file.md is made of the same table and shapes as the schema."""
    assert PAGE.read_text() == page(), "run: python -m tests.unit.servicefile.test_write"
    assert set(re.findall(r"^\| `([\w.\[\]]+)` ", page(), re.MULTILINE)) >= {"size.memory", "vip", "join.domain"}


def test_words_are_of_fields_that_there_are() -> None:
    """The writer knows every field of a role: one that is new must be written, or said to be of the image."""
    of_the_image = {"image_sha256", "image_format", "image_mib", "os", "hardware", "fitness", "name", "unknown"}
    known = Path(servicefile.write.__file__).read_text()
    for field in (field.name for field in dataclasses.fields(Role) if field.name not in of_the_image):
        assert re.search(rf"\b{field}\b", known + Path(servicefile.answers.__file__).read_text()), field


def test_what_is_kept_is_what_stands_at_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An apply that keeps the user-data, overtaken by one that changes it, does not bring the old one back."""
    fabric = Fabric()
    text = "service: shop\nroles:\n  web:\n    image: micro\n    {}\n"
    fabric.control.apply(text.format("answers: {userData: '#!old'}"))
    looked = Memory.role

    def overtaken(memory: Memory, service: str, role: str) -> Role | None:
        kept = looked(memory, service, role)
        monkeypatch.setattr(Memory, "role", looked)
        fabric.control.apply(text.format("answers: {userData: '#!new'}"))
        return kept

    monkeypatch.setattr(Memory, "role", overtaken)
    fabric.control.apply(text.format("answers: {kept: [userData]}\n    drain: 7 s"))
    (role,) = fabric.control.service("shop").spec.roles
    assert (role.user_data, role.drain_s) == ("#!new", 7.0)


if __name__ == "__main__":
    PAGE.write_text(page())
