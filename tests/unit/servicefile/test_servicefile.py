"""The service file: what is good, and for everything bad the line, the key and what would be right."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vmrole_unattend.secret import SecretRef, SecretSource

from orchestrator import servicefile
from orchestrator.errors import InvalidInput, Problem
from orchestrator.model import (
    AnswerFormat,
    Carrier,
    Certificate,
    Endpoint,
    HttpProbe,
    Image,
    InstanceEndpoint,
    InternalEndpoint,
    LocalStorage,
    Mode,
    Os,
    Ports,
    Role,
    ServiceSpec,
    Setup,
    Size,
    TcpProbe,
)
from orchestrator.servicefile.difference import difference
from orchestrator.servicefile.write import written
from tests.world.images import DIGEST, MICRO
from tests.world.service_files import FAULTS, GOOD, find


def problems(source: str) -> tuple[Problem, ...]:
    """What is wrong with the file."""
    with pytest.raises(InvalidInput) as caught:
        servicefile.parse(source, find)
    return caught.value.problems


def test_a_service_without_endpoints_needs_no_vip() -> None:
    """Machines that nobody asks through the balancer need no address there; an endpoint does, and is named."""
    without = GOOD.replace("vip: 203.0.113.10\n", "")
    (fault,) = problems(without)
    assert (fault.key, fault.message) == ("vip", "is missing: endpoint http of role web is for clients")
    assert "http:" in without.splitlines()[fault.line - 1]
    assert "vip: ADDRESS" in fault.hint
    quiet = "service: lab\nroles:\n  web: {image: micro}\n"
    assert servicefile.parse(quiet, find).vip == ""


def test_the_example_means_what_it_says() -> None:
    """Every key of the format ends up in its place."""
    spec = servicefile.parse(GOOD, find)

    (role,) = spec.roles
    assert (spec.name, spec.vip) == ("shop", "203.0.113.10")
    assert (role.image, role.image_sha256, role.instances) == ("micro", DIGEST, 3)
    assert role.size == Size(vcpus=1, memory_mib=128)
    probe = HttpProbe(path="/healthz")
    assert role.endpoints == (Endpoint(name="http", port=80, target=8080, mode=Mode.HTTP, probe=probe),)
    assert role.local_storage == (LocalStorage(name="cache", size_mib=64),)
    assert role.setup == Setup(restart=True, within_s=600.0)
    assert (role.ready.units, role.ready.probe, role.ready.within_s) == (("app.service",), TcpProbe(port=8080), 90.0)
    assert (role.drain_s, role.stop.within_s, role.restart.within_s) == (5.0, 180.0, 420.0)
    assert "52:54:00:12:34:56" in role.user_data


@pytest.mark.parametrize("reference", ["micro", f"micro@sha256:{DIGEST}", DIGEST])
def test_an_image_may_be_named_in_three_ways(reference: str) -> None:
    """By name, by name and digest, or by digest."""
    spec = servicefile.parse(GOOD.replace("image: micro", f"image: {reference}"), find)
    assert spec.roles[0].image_sha256 == DIGEST


def test_a_mac_address_stays_a_string() -> None:
    """YAML 1.1 would read 52:54:00:12:34:56 as a number in base 60."""
    (fault,) = problems(GOOD.replace("203.0.113.10", "52:54:00:12:34:56"))
    assert "'52:54:00:12:34:56' is no IP address" in str(fault)


def test_user_data_that_no_guest_would_understand_is_refused() -> None:
    """What the answer disc would refuse is a fault of the service file, with its line and what would be right."""
    (problem,) = problems(GOOD.replace("        #cloud-config\n", "        hunter2\n"))
    assert (problem.key, problem.line) == ("roles.web.answers.userData", 13)
    assert "names no type" in problem.message
    assert "hunter2" not in problem.message
    assert "#cloud-config" in problem.hint


@pytest.mark.parametrize(
    ("before", "after", "line", "key", "word"),
    FAULTS,
)
def test_a_fault_is_told_with_line_key_and_remedy(before: str, after: str, line: int, key: str, word: str) -> None:
    """Every fault says where it is and what would be right."""
    assert before in GOOD
    (fault,) = problems(GOOD.replace(before, after, 1))
    assert fault.key == key
    assert word in str(fault)
    assert fault.line == line or (fault.line or 0) in (line - 1, line + 1), fault


def test_all_faults_are_told_at_once() -> None:
    """Not one after the other."""
    faults = problems(
        GOOD.replace("micro", "nope").replace("port: 80,", "port: 0,").replace("drain: 5 s", "drain: 5")
    )
    assert [fault.key for fault in faults] == ["roles.web.image", "roles.web.endpoints.http.port", "roles.web.drain"]


def test_what_others_reach_is_read() -> None:
    """Several ports, a port of each instance, and what other roles reach; all of it is written again as it was."""
    more = """      ftp: {ports: 8000-8010, target: 9000}
      ssh: {type: instance, ports: 10022-10041, target: 22}
      wake: {type: instance, ports: 10022-10024, target: 9, protocol: udp, allow: [192.0.2.7]}
      sql: {type: internal, port: 3306, from: [web]}
      rpc: {type: internal, ports: 5000-5999, protocol: udp}
      both: {type: internal, port: 6000, protocol: any}
      rest: {type: internal}
"""
    spec = servicefile.parse(GOOD.replace("    localStorage:", f"{more}    localStorage:"), find)
    (role,) = spec.roles
    assert role.endpoints[1] == Endpoint(
        name="ftp", port=8000, target=9000, range=Ports(8000, 8010), balancer=Carrier.NFTABLES
    )
    assert role.instance_endpoints == (
        InstanceEndpoint(name="ssh", ports=Ports(10022, 10041), target=22),
        InstanceEndpoint(name="wake", ports=Ports(10022, 10024), target=9, mode=Mode.UDP, allow=("192.0.2.7/32",)),
    )
    assert role.internal_endpoints == (
        InternalEndpoint(name="sql", ports=Ports(3306, 3306), mode=Mode.TCP, callers=("web",)),
        InternalEndpoint(name="rpc", ports=Ports(5000, 5999), mode=Mode.UDP),
        InternalEndpoint(name="both", ports=Ports(6000, 6000)),
        InternalEndpoint(name="rest"),
    )
    again = servicefile.parse(written(spec, find).replace("kept:", "userData: ''  #").replace("- userData", ""), find)
    for field in ("endpoints", "instance_endpoints", "internal_endpoints"):
        assert getattr(again.roles[0], field) == getattr(role, field)


def test_ports_of_each_instance_need_a_vip_and_inner_ones_none() -> None:
    """Clients come by the one, and no client by the other."""
    file = "service: lab\nroles:\n  web: {{image: micro, endpoints: {{ssh: {{type: {}}}}}}}\n"
    (fault,) = problems(file.format("instance, ports: 1-9, target: 22"))
    assert (fault.key, fault.line) == ("vip", 3)
    assert "endpoint ssh of role web" in fault.message
    assert servicefile.parse(file.format("internal, port: 22"), find).roles[0].internal_endpoints


def test_who_carries_an_endpoint_is_read() -> None:
    """http by HAProxy, tcp and udp by the kernel unless it is said; affinity with its time."""
    (http,) = servicefile.parse(GOOD, find).roles[0].endpoints
    assert (http.carrier, http.affinity_s) == (Carrier.HAPROXY, None)
    more = """      dns: {port: 80, protocol: udp, affinity: source}
      sql: {port: 81, balancer: nftables, affinity: source, affinityTime: 5 min}
      mail: {port: 82, affinity: source, balancer: haproxy}
      shop: {port: 83, protocol: http, affinity: cookie}
"""
    source = GOOD.replace("    localStorage:", f"{more}    localStorage:")
    _, dns, sql, mail, shop = servicefile.parse(source, find).roles[0].endpoints
    assert (dns.mode, dns.carrier, dns.affinity_s) == (Mode.UDP, Carrier.NFTABLES, 3 * 3600.0)
    assert (sql.mode, sql.carrier, sql.affinity_s) == (Mode.TCP, Carrier.NFTABLES, 300.0)
    assert (mail.carrier, mail.affinity_s, mail.kept_by) == (Carrier.HAPROXY, 3 * 3600.0, None)
    assert (shop.carrier, shop.affinity_s, shop.kept_by) == (Carrier.HAPROXY, None, "cookie")


@pytest.mark.parametrize(
    "said",
    [
        "tls: {certificate: {secret: a}}",
        "proxyProtocol: true",
        "memberConnections: 3",
        "timeout: 9 s",
        "maxConnections: 10001",
        "maxConnectionsPerClient: 10001",
    ],
)
def test_what_haproxy_alone_keeps_is_its_own(said: str) -> None:
    """An endpoint of tcp that names no balancer is the kernel's, unless that could not do it; it is written so."""
    source = GOOD.replace("    localStorage:", "      more: {port: 81SAID}\n    localStorage:")
    usual = [("", Carrier.NFTABLES), (", proxyProtocol: false", Carrier.NFTABLES)]
    for more, carrier in (*usual, (f", {said}", Carrier.HAPROXY)):
        spec = servicefile.parse(source.replace("SAID", more), find)
        assert spec.roles[0].endpoints[1].balancer is carrier
        text = written(spec, find)
        assert "balancer" not in text
        assert servicefile.parse(text, find, role_now=lambda _, name, now=spec: now.role(name)) == spec


@pytest.mark.parametrize(("mode", "balancer"), [("tcp", "haproxy"), ("http", None), ("udp", None)])
def test_a_record_of_a_former_version_is_moved_by_no_file_of_its_own(mode: str, balancer: str | None) -> None:
    """It says nothing of balancers: what `get -o yaml` prints of it says HAProxy where that is no longer usual."""
    source = GOOD.replace("    localStorage:", f"      more: {{port: 81, protocol: {mode}}}\n    localStorage:")
    spec = servicefile.parse(source, find)
    (role,) = spec.roles
    old = replace(
        spec, roles=(replace(role, endpoints=tuple(replace(end, balancer=None) for end in role.endpoints)),)
    )
    text = written(old, find)
    assert re.findall(r"balancer: (\w+)", text) == ([balancer] if balancer else [])
    again = servicefile.parse(text, find, role_now=lambda _, name: old.role(name))
    assert difference(old, again) == ()
    assert [change.key for change in difference(old, spec)] == ["roles.web.endpoints.more.balancer"] * (mode == "tcp")


def test_certificates_of_an_endpoint_are_read() -> None:
    """By the names of their secrets; the first is the usual one."""
    tls = "{certificate: {secret: a}, key: {secret: b}, more: [{certificate: {secret: c}}], redirectFrom: 81}"
    (endpoint,) = servicefile.parse(GOOD.replace("port: 80,", f"port: 443, tls: {tls},"), find).roles[0].endpoints
    assert endpoint.tls is not None
    a, b, c = (SecretRef(source=SecretSource.SECRET, name=name) for name in "abc")
    assert endpoint.tls.certificates == (Certificate(certificate=a, key=b), Certificate(certificate=c))
    assert endpoint.ports == (443, 81)


def test_a_certificate_that_serves_nobody_is_refused_where_it_stands() -> None:
    """With what the host that has it says."""
    tls = "{certificate: {secret: a}, more: [{certificate: {secret: b}, key: {secret: c}}]}"
    source = GOOD.replace("port: 80,", f"port: 443, tls: {tls},")

    def fault(_service: str, wanted: SecretRef | Certificate) -> str:
        return "it has expired; renew it" if isinstance(wanted, Certificate) and wanted.key else ""

    with pytest.raises(InvalidInput) as refused:
        servicefile.parse(source, find, fault)
    (problem,) = refused.value.problems
    assert (problem.key, problem.line) == ("roles.web.endpoints.http.tls.more.0.certificate", 9)
    assert "secret b with secret c: it has expired" in problem.message
    assert problem.hint == "renew it"


def test_who_may_come_and_how_many_a_member_gets_is_read() -> None:
    """An address is a network of its own."""
    said = "allow: [10.0.0.0/8, 192.0.2.7], proxyProtocol: true, memberConnections: 3"
    (endpoint,) = servicefile.parse(GOOD.replace("port: 80,", f"port: 80, {said},"), find).roles[0].endpoints
    assert endpoint.allow == ("10.0.0.0/8", "192.0.2.7/32")
    assert (endpoint.proxy_protocol, endpoint.member_connections) == (True, 3)
    (endpoint,) = servicefile.parse(GOOD, find).roles[0].endpoints
    assert (endpoint.allow, endpoint.proxy_protocol, endpoint.member_connections) == ((), None, None)


def test_the_limits_of_an_endpoint_are_read() -> None:
    """How long it may be silent, and how many connections it may have; nothing said is nothing set."""
    limits = "timeout: 5 min, maxConnections: 100, maxConnectionsPerClient: 7"
    (endpoint,) = servicefile.parse(GOOD.replace("port: 80,", f"port: 80, {limits},"), find).roles[0].endpoints
    assert (endpoint.timeout_s, endpoint.max_connections, endpoint.max_connections_per_client) == (300.0, 100, 7)
    kernels = "balancer: nftables, protocol: tcp, maxConnections: 10000, maxConnectionsPerClient: 7"
    (endpoint,) = servicefile.parse(GOOD.replace("protocol: http", kernels), find).roles[0].endpoints
    assert (endpoint.max_connections, endpoint.max_connections_per_client) == (10_000, 7)
    (endpoint,) = servicefile.parse(GOOD, find).roles[0].endpoints
    assert (endpoint.timeout_s, endpoint.max_connections, endpoint.max_connections_per_client) == (None, None, None)


@pytest.mark.parametrize(
    ("times", "interval_s", "timeout_s"),
    [
        ("", 1.0, 2.0),
        (", interval: 10 s", 10.0, 2.0),
        (", interval: 0.5 s", 0.5, 0.5),
        (", timeout: 5 s", 5.0, 5.0),
        (", timeout: 300 ms", 1.0, 0.3),
        (", interval: 10 s, timeout: 10 s", 10.0, 10.0),
    ],
)
def test_the_times_of_a_probe_fit_each_other(times: str, interval_s: float, timeout_s: float) -> None:
    """Whichever of the two is given."""
    (http,) = servicefile.parse(GOOD.replace("path: /healthz", f"path: /{times}"), find).roles[0].endpoints
    assert http.probe is not None
    assert (http.probe.interval(), http.probe.timeout()) == (interval_s, timeout_s)


@pytest.mark.parametrize(
    ("written", "passes", "fails"),
    [
        ("", (200, 302, 399), (199, 400, 503)),
        (", status: 204", (204,), (200, 205)),
        (', status: "200-299,401"', (200, 299, 401), (199, 300, 400, 402)),
    ],
)
def test_which_statuses_are_well_is_read(written: str, passes: tuple[int, ...], fails: tuple[int, ...]) -> None:
    """2xx and 3xx unless it is said; of the role's own probe as of an endpoint's."""
    source = GOOD.replace("path: /healthz", f"path: /{written}").replace(
        "probe: {port: 8080}", f"probe: {{port: 8080, path: /{written}}}"
    )
    (role,) = servicefile.parse(source, find).roles
    for probe in (role.endpoints[0].probe, role.ready.probe):
        assert isinstance(probe, HttpProbe)
        assert all(probe.passes(status) for status in passes)
        assert not any(probe.passes(status) for status in fails)


def test_two_endpoints_cannot_share_a_port() -> None:
    """A port of the VIP leads to one endpoint."""
    double = GOOD.replace("    localStorage:", "      more: {port: 80}\n    localStorage:")
    (fault,) = problems(double)
    assert fault.key == "roles.web.endpoints.more.port"
    assert "taken by roles.web.endpoints.http.port" in str(fault)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("service: [", "close every"),
        ("- a\n- b\n", "not a mapping"),
        ("service: shop\nservice: shop\n", "duplicate key"),
        ("a: 1\n---\nb: 2\n", "one service a file"),
        ("service: \x00", "control character U+0000"),
        ("service: a\x1b[2Jb", "control character U+001B"),
        ('service: "\\ud800"', "control character U+D800"),
        ('service: shop\nroles: {web: {ready: {command: ["\\e[2J"]}}}', "control character U+001B"),
        ('"\\0": shop', "control character U+0000"),
        ("[" * 100_000, "nested deeper"),
        ("x" * 1_100_000, "larger than"),
        ("- " * 5_000 + "x", "nested deeper"),
        ("service: !!python/object/apply:os.system [id]", "has no meaning here"),
        ("service: !!binary bWljcm8=", "has no meaning here"),
        ("a: &a\n  b: *a\n", "refers to nothing before it"),
        ("? [a, b]\n: c\n", "a key that is not a word"),
        ("service: shop\nvip: 203.0.113.10\nroles: {}\n", "at least one role"),
    ],
    ids=range(19),
)
def test_a_file_that_cannot_be_meant(source: str, word: str) -> None:
    """Whatever it is, it is refused in one sentence and in no time."""
    assert word in " ".join(str(fault) for fault in problems(source))


@pytest.mark.parametrize(
    "source",
    [
        "a: [" + "1," * 250_000 + "]",
        "".join(f"k{number}: v\n" for number in range(80_000)),
        "# x\n" * 250_000,
        "? " * 300_000,
        "".join(" " * depth + "a:\n" for depth in range(1_000)),
        "a: " + "x " * 500_000,
    ],
    ids=["list", "keys", "comments", "complex keys", "indents", "words"],
)
@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_megabyte_of_nonsense_is_refused_while_it_is_read(source: str) -> None:
    """The limits hold before the tree is built: a hostile file does not keep the daemon busy."""
    began = time.process_time()
    assert problems(source)
    assert time.process_time() - began < 10.0


def test_what_the_guest_gets_is_not_counted() -> None:
    """Brackets, braces and dashes in user data are text, not nesting; an accent is no control character."""
    script = "".join(f"        echo '[ {{ - - - é {number}'\n" for number in range(2_000))
    spec = servicefile.parse(GOOD.replace("        #cloud-config\n", "        #!/bin/sh\n" + script), find)
    assert spec.roles[0].user_data.count("[ { - - -") == 2_000


@pytest.mark.parametrize(
    ("before", "after", "line", "key", "word"),
    [
        ("  web:", "  1:", 4, "roles.1", "put it into quotes"),
        ("    instances: 3", "    instances: 3\n    instances: 4", 7, "roles.web.instances", "written in line 6"),
        ("size: {vcpus: 1, memory: 128 MiB}", "size: {<<: {vcpus: 1}}", 7, "roles.web.size.<<", "no such key"),
        ("instances: 3", "instances: " + "9" * 5000, 6, "roles.web.instances", "not a whole number"),
        ("size: {vcpus: 1, memory: 128 MiB}", "size:", 7, "roles.web.size", "nothing is not a mapping"),
    ],
)
def test_odd_yaml_is_told_by_line(before: str, after: str, line: int, key: str, word: str) -> None:
    """Keys that are numbers, keys written twice, merge keys: each is told where it stands."""
    assert before in GOOD
    faults = problems(GOOD.replace(before, after, 1))
    assert (faults[0].line, faults[0].key) == (line, key)
    assert word in str(faults[0])


def test_the_words_of_yaml_1_1_are_words_whatever_the_file_says() -> None:
    """A %YAML 1.1 directive does not bring back `yes` and numbers in base 60."""
    (fault,) = problems("%YAML 1.1\n---\n" + GOOD.replace("restart: true", "restart: yes"))
    assert (fault.line, fault.key) == (18, "roles.web.setup.restart")


def test_an_alias_stands_for_what_it_names() -> None:
    """Two roles may share a part of the file."""
    shared = GOOD.replace("size: {", "size: &small {") + "  db: {image: micro, size: *small}\n"
    assert servicefile.parse(shared, find).roles[1].size == Size(vcpus=1, memory_mib=128)


def test_an_alias_bomb_is_counted_not_expanded() -> None:
    """306 bytes that stand for millions of values."""
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (fault,) = problems(bomb)
    assert "expands to more than" in str(fault)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_no_text_is_too_odd(source: str) -> None:
    """Any text is either a service or an InvalidInput; nothing else ever comes out."""
    with contextlib.suppress(InvalidInput):
        servicefile.parse(source, find)


def test_line_of_finds_the_nearest_parent() -> None:
    """A key that is not written has the line of what it would stand under."""
    assert servicefile.line_of(GOOD, "roles.web.size.memory") == 7
    assert servicefile.line_of(GOOD, "roles.web.size.nothing") == 7
    assert servicefile.line_of(GOOD, "nothing") is None


def test_roles_hide_their_user_data() -> None:
    """What may hold secrets is in no repr, and so in no log."""
    spec = servicefile.parse(GOOD.replace("#cloud-config", "#cloud-config # s3cret"), find)
    assert isinstance(spec, ServiceSpec)
    assert isinstance(spec.roles[0], Role)
    assert "s3cret" not in repr(spec)


# Guests without an agent, without answers, and what an instance keeps ----------------------------------------------

BARE = """service: shop
roles:
  web:
    image: micro
"""


def role(lines: str, image: Image = MICRO) -> Role:
    """The one role of a service with these lines."""
    text = BARE + "".join(f"    {line}\n" for line in lines.splitlines())
    return servicefile.parse(text, lambda _: image).roles[0]


def faults(lines: str, image: Image = MICRO) -> list[tuple[str, int | None]]:
    """Keys and lines of what is wrong with such a role; each has a hint."""
    with pytest.raises(InvalidInput) as caught:
        role(lines, image)
    assert all(problem.hint for problem in caught.value.problems)
    return [(problem.key, problem.line) for problem in caught.value.problems]


NO_ANSWERS = dataclasses.replace(MICRO, answers=AnswerFormat.NONE)
WINDOWS = dataclasses.replace(MICRO, os=Os.WINDOWS, answers=AnswerFormat.UNATTEND)


def test_a_guest_may_have_no_agent_and_read_no_answers() -> None:
    """An appliance: its probe decides, there is no disc and no setup; by the role's word or by the image's."""
    both = "answers: none\nready: {agent: false, probe: {port: 22}}"
    for made in (role(both), role("ready: {agent: false, probe: {port: 22}}", NO_ANSWERS), role(both, NO_ANSWERS)):
        assert (made.answers, made.setup.restart, made.ready.agent) == (AnswerFormat.NONE, False, False)
    assert role("ready: {agent: false, probe: {port: 22}}").setup.restart
    assert role("").ready.agent


@pytest.mark.parametrize(
    ("lines", "image", "expected"),
    [
        ("ready: {agent: false}", MICRO, [("roles.web.ready.agent", 5)]),
        ("ready: {agent: false, probe: {port: 22}, units: [a]}", MICRO, [("roles.web.ready.units", 5)]),
        ("ready: {agent: false, probe: {port: 22}, command: [a]}", MICRO, [("roles.web.ready.command", 5)]),
        ("ready: {agent: false, probe: {port: 22}, ignore: [a]}", MICRO, [("roles.web.ready.ignore", 5)]),
        ("ready: {agent: false, probe: {port: 22}}", WINDOWS, [("roles.web.ready.agent", 5)]),
        (
            "ready: {agent: false, probe: {port: 22}}\nanswers: {installAgent: true}",
            MICRO,
            [("roles.web.answers.installAgent", 6)],
        ),
        ("ready: {agent: 1}", MICRO, [("roles.web.ready.agent", 5)]),
        ("answers: none\nsetup: {restart: true}", MICRO, [("roles.web.setup.restart", 6)]),
        ("answers: none\nsetup: {within: 5 min}", MICRO, [("roles.web.setup.within", 6)]),
        ("answers: none\nidentity: {sshHostKeys: keep}", MICRO, [("roles.web.identity.sshHostKeys", 6)]),
        ("answers: {userData: x}", NO_ANSWERS, [("roles.web.answers", 5)]),
        ("answers: nothing", MICRO, [("roles.web.answers", 5)]),
        ("identity: {sshHostKeys: old}", MICRO, [("roles.web.identity.sshHostKeys", 5)]),
        ("identity: {hostKeys: keep}", MICRO, [("roles.web.identity.hostKeys", 5)]),
    ],
)
def test_what_makes_no_sense_together_is_refused(
    lines: str, image: Image, expected: list[tuple[str, int | None]]
) -> None:
    """Wishes that rule each other out have their line, key and hint."""
    got = [fault for fault in faults(lines, image) if not fault[0].startswith("roles.web.answers.unattend")]
    assert got == expected


def test_windows_is_given_answers() -> None:
    """Nobody sits before it to answer what the disc does not."""
    assert ("roles.web.answers", 5) in faults("answers: none", WINDOWS)


def test_what_an_instance_keeps_and_who_installs_its_agent_is_part_of_the_template() -> None:
    """Both stand on the disc, so that a change of them is rolled out."""
    plain = role("")
    for lines in ("identity: {sshHostKeys: keep}", "answers: {installAgent: true}"):
        assert role(lines).template() != plain.template()
    assert role("identity: {sshHostKeys: new}") == plain


IPV6 = """service: shop
vip: 2001:DB8:0::10
roles:
  web:
    image: micro
    endpoints:
      http: {port: 80}
"""


@pytest.mark.parametrize(
    "end",
    [
        "{port: 80, balancer: nftables}",
        "{port: 80, protocol: udp}",
        "{type: instance, ports: 10022-10024, target: 22}",
    ],
)
def test_a_vip_of_ipv6_carries_what_one_of_ipv4_does(end: str) -> None:
    """The same endpoints, word for word."""
    written = IPV6.replace("{port: 80}", end)
    assert servicefile.parse(written, find).roles == (
        servicefile.parse(written.replace("2001:DB8:0::10", "203.0.113.10"), find).roles
    )


@pytest.mark.parametrize(
    ("end", "key", "hint"),
    [("{port: 80, allow: [203.0.113.0/24]}", "allow", "name networks of IPv6, or leave it out for all clients")],
)
def test_what_a_vip_of_ipv6_does_not_carry_is_told(end: str, key: str, hint: str) -> None:
    """With its line and what to say instead; an address that is written otherwise is the same."""
    assert servicefile.parse(IPV6, find).vip == "2001:db8::10"
    allowed = IPV6.replace("{port: 80}", "{port: 80, allow: [203.0.113.0/24, 2001:db8::/32]}")
    assert servicefile.parse(allowed, find).roles[0].endpoints[0].allow == ("203.0.113.0/24", "2001:db8::/32")
    (problem,) = problems(IPV6.replace("{port: 80}", end))
    assert (problem.key, problem.line, problem.hint) == (f"roles.web.endpoints.http.{key}", 7, hint)


@pytest.mark.parametrize(
    "vip", ["fe80::1", "fe80::1%eth0", "::1", "ff02::1", "'::'", "'::ffff:203.0.113.10'", "2001::db8::1"]
)
def test_no_vip_is_of_one_link_or_of_nobody(vip: str) -> None:
    """Of IPv6 as of IPv4."""
    (problem,) = problems(IPV6.replace("2001:DB8:0::10", vip))
    assert (problem.key, problem.line) == ("vip", 2)


@pytest.mark.parametrize(
    "network",
    ["2001:db8::%eth0/64", '"2001:db8::%a\\n    bind :1\\n/64"', '"2001:db8::1%;flush ruleset"', "fe80::1%1"],
)
@pytest.mark.parametrize(
    "end", ["port: 80", "port: 80, balancer: nftables", "type: instance, ports: 81-83, target: 9"]
)
def test_no_network_of_clients_holds_more_than_a_network(end: str, network: str) -> None:
    """What stands behind a % is anything: it would be a line of HAProxy's configuration, or of nft's."""
    (problem,) = problems(IPV6.replace("{port: 80}", f"{{{end}, allow: [{network}]}}"))
    assert (problem.key, problem.line) == ("roles.web.endpoints.http.allow", 7)
    assert "is no network" in problem.message


def test_networks_of_ipv6_alone_let_nobody_to_a_vip_of_ipv4() -> None:
    """It is told before everybody is shut out."""
    source = IPV6.replace("2001:DB8:0::10", "203.0.113.10").replace(
        "{port: 80}", "{port: 80, allow: [2001:db8::/32]}"
    )
    assert [one.key for one in problems(source)] == ["roles.web.endpoints.http.allow"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("web-0", "instance 0 of role web is called so"), ("localhost", "each machine calls itself so")],
)
def test_no_role_is_called_as_somebody_else_is(name: str, told: str) -> None:
    """Guests ask for roles by name: with the line of the role, and one whose name is only like it is fine."""
    file = "service: lab\nroles:\n  web: {{image: micro}}\n  {}: {{image: micro}}\n"
    (fault,) = problems(file.format(name))
    assert (fault.key, fault.line) == (f"roles.{name}", 4)
    assert told in fault.message
    assert servicefile.parse(file.format("web-a"), find).roles


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("upgrade: {domains: 2}", "it is upgrade: how its instances are made anew"),
        ("redirectFrom: 80", "it is roles.NAME.endpoints.NAME.tls.redirectFrom: a port of the VIP"),
        ("endpoints: {a: {type: internal, port: 80, tls: {}}}", "it is roles.NAME.endpoints.NAME.tls: HAProxy"),
        ("password: x", "keys are: image"),  # which stands in more than one place
        ("nonsense: x", "keys are: image"),
    ],
)
def test_a_key_that_is_out_of_place_is_told_where_it_belongs(line: str, place: str) -> None:
    """It is a key, and its writer knows it: what he does not know is where it stands."""
    with pytest.raises(InvalidInput) as caught:
        role(line)
    assert caught.value.problems[0].hint.startswith(place)


@pytest.mark.parametrize(
    ("healing", "key", "hint"),
    [
        ("{heartbeat: 10 min}", "heartbeat", "it is roles.NAME.ready.silence: how long the agent of a role"),
        ("{maintenance: true}", "maintenance", "it is a verb: vmrole protect INSTANCE, until: vmrole unprotect"),
        ("{paused: true}", "paused", "it is a verb: vmrole pause SERVICE, until: vmrole resume SERVICE"),
    ],
)
def test_what_others_call_a_key_is_led_to_it(healing: str, key: str, hint: str) -> None:
    """Not to one that is merely spelt alike."""
    text = f"service: shop\nroles:\n  web:\n    image: micro\n    healing: {healing}\n"
    with pytest.raises(InvalidInput, match="1 fault") as refused:
        servicefile.parse(text, find)
    (fault,) = refused.value.problems
    assert (fault.line, fault.key) == (5, f"roles.web.healing.{key}")
    assert hint in fault.hint
