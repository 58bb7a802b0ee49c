"""A service file that is good, and the image that it names."""

from __future__ import annotations

from orchestrator.model import (
    Image,
)
from tests.world.images import DIGEST, MICRO

GOOD = """service: shop
vip: 203.0.113.10
roles:
  web:
    image: micro
    instances: 3
    size: {vcpus: 1, memory: 128 MiB}
    endpoints:
      http: {port: 80, target: 8080, protocol: http, probe: {path: /healthz}}
    localStorage:
      cache: {size: 64 MiB}
    answers:
      userData: |
        #cloud-config
        mac: 52:54:00:12:34:56
    setup: {restart: true, within: 10 min}
    ready: {units: [app.service], probe: {port: 8080}, within: 90 s}
    drain: 5 s
    stop: {within: 3 min}
    restart: {within: 7 min}
"""

# What is changed into what, and the line, the key and a word of what is then said.
_END = "roles.web.endpoints.http"
ENDPOINT_FAULTS = [
    ("port: 80, target: 8080,", "ports: 80-90, target: 65530,", 9, f"{_END}.target", "65525 or less"),
    ("port: 80,", "port: 80, ports: 81-82,", 9, f"{_END}.ports", "say port for one"),
    ("port: 80, target: 8080,", "target: 8080,", 9, f"{_END}.port", "is missing"),
    ("port: 80,", "ports: 90-80,", 9, f"{_END}.ports", "the first port first"),
    ("port: 80,", "ports: 80-99999,", 9, f"{_END}.ports", "within 1-65535"),
    ("port: 80,", "ports: 1000-2000,", 9, f"{_END}.ports", "1000 at the most"),
    ("port: 80,", "ports: some,", 9, f"{_END}.ports", "such as 8000-8010"),
    ("port: 80,", "port: 80, type: inner,", 9, f"{_END}.type", "input, instance, internal"),
    *(
        (
            "protocol: http, probe: {path: /healthz}}",
            f"protocol: http}}\n      more: {{{more}}}",
            10,
            f"{_END[:-4]}{key}",
            word,
        )
        for more, key, word in (
            ("ports: 75-85", "more.ports", "port 80 is taken by roles.web.endpoints.http.port"),
            ("type: instance, ports: 79-82, target: 22", "more.ports", "port 80 is taken by"),
            ("type: instance, ports: 10022-10023, target: 22", "more.ports", "10022-10024 or more"),
            ("type: instance, ports: 65534-65535, target: 22", "more.ports", "begins lower"),
            ("type: instance, ports: 10022-10041", "more.target", "is missing"),
            ("type: instance, target: 22", "more.ports", "is missing"),
            ("type: instance, ports: 10022-10041, target: 22, probe: {}", "more.probe", "keys are: type, ports"),
            ("type: instance, ports: 10022-10041, target: 22, allow: 10.0.0.0/8", "more.allow", "not a list"),
            ("type: instance, ports: 10022-10041, target: 22, allow: [10.0.0.1/8]", "more.allow", "write 10.0.0.0/8"),
            ("type: instance, ports: 10022-10041, target: 22, allow: ['::/0']", "more.allow", "networks of IPv4"),
            ("type: instance, ports: 10022-10041, target: 22, protocol: http", "more.protocol", "tcp, udp"),
            ("type: internal, port: 3306, from: [db]", "more.from", "roles are: web"),
            ("type: internal, port: 3306, from: web", "more.from", "write [first, second]"),
            ("type: internal, port: 3306, ports: 1-2", "more.ports", "say port for one"),
            ("type: internal, protocol: udp", "more.protocol", "say port or ports"),
            ("type: internal, port: 3306, from: []", "more.from", "nobody would reach it"),
            ("type: internal, ports: 1-9}\n      same: {type: internal, port: 9", "same.port", "each port once"),
            (
                "type: internal, ports: 1-9, protocol: any}\n      same: {type: internal, ports: 9-10, protocol: udp",
                "same.ports",
                "9-10 meets 1-9",
            ),
            ("type: internal, port: 3306, target: 3", "more.target", "there is no such key"),
        )
    ),
]
_KEPT = "roles.web.checkpoint"
CHECKPOINT_FAULTS = [
    ("drain: 5 s", f"drain: 5 s\n    checkpoint: {{{said}}}", 19, f"{_KEPT}.{key}", word)
    for said, key, word in (
        ("maxAge: 0 s", "maxAge", "0 s is out of range"),
        ("maxAge: 2 d", "maxAge", "add reimage: warm or prepared to the role"),
        ("refresh: 1", "refresh", "true or false"),
        ("refresh: true", "refresh", "add reimage: warm or prepared to the role"),
        ("refresh: true, maxAge: 59 min", "refresh", "there is nothing to renew"),
        ("memory: 1 GiB", "memory", "true or false"),
        ("memory: true", "memory", "add reimage: warm to the role"),
        ("refreshed: true", "refreshed", "did you mean refresh?"),
    )
]
FAULTS = [
    *ENDPOINT_FAULTS,
    *CHECKPOINT_FAULTS,
    (
        "drain: 5 s",
        "reimage: prepared\n    checkpoint: {memory: true}",
        19,
        f"{_KEPT}.memory",
        "add reimage: warm to the role",
    ),
    (
        "drain: 5 s",
        "reimage: warm\n    checkpoint: {maxAge: 0 s}",
        19,
        f"{_KEPT}.maxAge",
        "use 1 s to 365 d",
    ),
    (
        "drain: 5 s",
        "reimage: warm\n    checkpoint: {maxAge: 59 min, refresh: true}",
        19,
        f"{_KEPT}.maxAge",
        "1 h at least",
    ),
    ("instances: 3", "instancez: 3", 6, "roles.web.instancez", "did you mean instances?"),
    ("instances: 3", "instances: three", 6, "roles.web.instances", "not a whole number"),
    ("instances: 3", "instances: true", 6, "roles.web.instances", "not a whole number"),
    ("instances: 3", "instances: 101", 6, "roles.web.instances", "0 to 100"),
    ("128 MiB", "128", 7, "roles.web.size.memory", "128 MiB"),
    ("128 MiB", "128 MB", 7, "roles.web.size.memory", "MiB, GiB or TiB"),
    ("128 MiB", "1 MiB", 7, "roles.web.size.memory", "out of range"),
    ("port: 80,", "port: 99999,", 9, "roles.web.endpoints.http.port", "1 to 65535"),
    ("protocol: http", "protocol: sctp", 9, "roles.web.endpoints.http.protocol", "tcp, http, udp"),
    ("protocol: http", "protocol: http, balancer: nftables", 9, "roles.web.endpoints.http.balancer", "no http"),
    ("protocol: http", "protocol: udp, balancer: haproxy", 9, "roles.web.endpoints.http.balancer", "no udp"),
    ("protocol: http", "protocol: udp, timeout: 5 s", 9, "roles.web.endpoints.http.timeout", "only haproxy"),
    ("protocol: http", "affinity: cookie", 9, "roles.web.endpoints.http.affinity", "tcp has no cookies"),
    ("protocol: http", "protocol: udp, affinity: cookie", 9, "roles.web.endpoints.http.affinity", "udp has no"),
    (
        "protocol: http",
        "protocol: http, affinity: cookie, affinityTime: 5 s",
        9,
        "roles.web.endpoints.http.affinityTime",
        "say affinity: source",
    ),
    (
        "protocol: http",
        "protocol: udp, affinityTime: 5 s",
        9,
        "roles.web.endpoints.http.affinityTime",
        "say affinity: source",
    ),
    (
        "protocol: http",
        "tls: {certificate: {secret: a}, redirectFrom: 81}",
        9,
        "roles.web.endpoints.http.tls.redirectFrom",
        "cannot be sent on",
    ),
    (
        "protocol: http",
        "protocol: http, tls: {certificate: {secret: a}, redirectFrom: 80}",
        9,
        "roles.web.endpoints.http.tls.redirectFrom",
        "is taken by",
    ),
    (
        "protocol: http",
        "protocol: http, tls: {key: {secret: a}}",
        9,
        "roles.web.endpoints.http.tls.certificate",
        "is missing",
    ),
    (
        "protocol: http",
        "protocol: http, tls: {certificate: a.pem}",
        9,
        "roles.web.endpoints.http.tls.certificate",
        "say where it is",
    ),
    (
        "protocol: http",
        "protocol: http, tls: {certificate: {secret: a}, more: {secret: b}}",
        9,
        "roles.web.endpoints.http.tls.more",
        "is not a list",
    ),
    (
        "protocol: http",
        "protocol: udp, tls: {certificate: {secret: a}}",
        9,
        "roles.web.endpoints.http.tls",
        "only haproxy",
    ),
    (
        "protocol: http",
        "balancer: nftables, tls: {certificate: {secret: a}}",
        9,
        "roles.web.endpoints.http.tls",
        "say balancer: haproxy",
    ),
    ("port: 80,", "port: 80, allow: [],", 9, "roles.web.endpoints.http.allow", "not a list"),
    ("port: 80,", "port: 80, allow: [2001:db8::/32],", 9, "roles.web.endpoints.http.allow", "networks of IPv4"),
    ("port: 80,", "port: 80, allow: [10.0.0.1/8],", 9, "roles.web.endpoints.http.allow", "10.0.0.0/8"),
    ("port: 80,", "port: 80, proxyProtocol: v2,", 9, "roles.web.endpoints.http.proxyProtocol", "true or false"),
    ("port: 80,", "port: 80, memberConnections: 0,", 9, "roles.web.endpoints.http.memberConnections", "out of range"),
    (
        "protocol: http",
        "balancer: nftables, proxyProtocol: true",
        9,
        "roles.web.endpoints.http.proxyProtocol",
        "say balancer: haproxy",
    ),
    (
        "protocol: http",
        "protocol: udp, memberConnections: 5",
        9,
        "roles.web.endpoints.http.memberConnections",
        "only haproxy",
    ),
    ("port: 80,", "port: 80, timeout: 5,", 9, "roles.web.endpoints.http.timeout", "not a length of time"),
    ("port: 80,", "port: 80, timeout: 0 s,", 9, "roles.web.endpoints.http.timeout", "1 s to 1 d"),
    ("port: 80,", "port: 80, maxConnections: 0,", 9, "roles.web.endpoints.http.maxConnections", "out of range"),
    (
        "port: 80,",
        "port: 80, maxConnections: 5, maxConnectionsPerClient: 6,",
        9,
        "roles.web.endpoints.http.maxConnectionsPerClient",
        "not more than maxConnections",
    ),
    (
        "protocol: http",
        "protocol: udp, maxConnections: 10001",
        9,
        "roles.web.endpoints.http.maxConnections",
        "more than nftables counts",
    ),
    (
        "protocol: http",
        "protocol: tcp, balancer: nftables, maxConnectionsPerClient: 10001",
        9,
        "roles.web.endpoints.http.maxConnectionsPerClient",
        "say balancer: haproxy",
    ),
    ("path: /healthz", "path: healthz", 9, "roles.web.endpoints.http.probe.path", "begin with '/'"),
    ("path: /healthz", 'path: "/a b"', 9, "roles.web.endpoints.http.probe.path", "not a path"),
    (
        "path: /healthz",
        "path: /, interval: 1 s, timeout: 2 s",
        9,
        "roles.web.endpoints.http.probe.timeout",
        "not more than the interval",
    ),
    ("path: /healthz", "command: []", 9, "roles.web.endpoints.http.probe.command", "is no command"),
    ("path: /healthz", "command: /bin/true", 9, "roles.web.endpoints.http.probe.command", "is no command"),
    ("path: /healthz", "command: [a], path: /", 9, "roles.web.endpoints.http.probe.path", "drop path or command"),
    ("path: /healthz", "command: [a], port: 81", 9, "roles.web.endpoints.http.probe.port", "drop port or command"),
    ("path: /healthz", "path: /, rise: 0", 9, "roles.web.endpoints.http.probe.rise", "1 to 100"),
    ("path: /healthz", "path: /, fall: 101", 9, "roles.web.endpoints.http.probe.fall", "1 to 100"),
    ("path: /healthz", "path: /, interval: 1 ms", 9, "roles.web.endpoints.http.probe.interval", "0.1 s to 1 h"),
    ("path: /healthz", "path: /, status: 700", 9, "roles.web.endpoints.http.probe.status", "such as 200"),
    ("path: /healthz", "path: /, status: 399-200", 9, "roles.web.endpoints.http.probe.status", "200-299,401"),
    ("path: /healthz", "path: /, status: 2xx", 9, "roles.web.endpoints.http.probe.status", "200-299,401"),
    ("path: /healthz", "status: 200", 9, "roles.web.endpoints.http.probe.status", "give the probe a path"),
    ("probe: {port: 8080}", "probe: {port: 80, fall: 2}", 17, "roles.web.ready.probe.fall", "keys are"),
    ("cache:", "Cache:", 10, "roles.web.localStorage.Cache", "lower-case letters"),
    ("cache:", "a-name-of-seventeen:", 11, "roles.web.localStorage.a-name-of-seventeen", "16 characters"),
    ("10 min", "10 minutes", 16, "roles.web.setup.within", "such as 10 min"),
    ("restart: true", "restart: yes", 16, "roles.web.setup.restart", "true or false"),
    ("image: micro", "image: nope", 5, "roles.web.image", "vmrole image ls"),
    ("image: micro", "image: ../etc", 5, "roles.web.image", "cannot be used"),
    ("image: micro", "image: micro@sha256:1", 5, "roles.web.image", "not a digest"),
    ("service: shop", "service: Shop", 1, "service", "lower-case letters"),
    ("service: shop", "service: 5", 1, "service", "not a string"),
    ("203.0.113.10", "127.0.0.1", 2, "vip", "cannot be a VIP"),
    ("203.0.113.10", "shop.example", 2, "vip", "no IP address"),
    ("units: [app.service]", "units: app", 17, "roles.web.ready.units", "list of strings"),
    ("userData: |", "userdata: |", 13, "roles.web.answers.userdata", "userData"),
]


def find(reference: str) -> Image | None:
    """The one image there is."""
    return MICRO if reference in ("micro", f"micro@sha256:{DIGEST}", DIGEST) else None
