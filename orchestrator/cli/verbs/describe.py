"""`vmrole describe`: everything about one service, instance, operation or image, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli import names, render
from orchestrator.cli.listing import labels_of, lines, progress_of, warnings
from orchestrator.cli.options import examples
from orchestrator.cli.standstills import noted
from orchestrator.cli.verbs.rollout import comparison
from orchestrator.client.client import Client
from orchestrator.errors import NotFound

if TYPE_CHECKING:
    from orchestrator.cli.render import Column
    from orchestrator.client import wire

    _Asked = Column[tuple[str, str, list[wire.Probed]]]  # the same, and how its last checks went
    _Met = Column[tuple[str, wire.Probed]]  # an endpoint, and one check behind it
    _Carries = Column[tuple[str, str, wire.Traffic]]  # an endpoint or a member of one, and what that carries

EVENTS_SHOWN = 10


@click.command(epilog=examples("vmrole describe shop", "vmrole describe web-0.shop"))
@click.argument("name", shell_complete=names.subject)
@click.pass_obj
def describe(client: Client, name: str) -> None:
    """Tells all about a service, an instance, an operation or an image."""
    for tell in (_service, _instance, _operation, _image):
        try:
            render.show(tell(client, name))
        except NotFound:
            continue
        for line in noted(client):
            render.say(line)
        return
    raise NotFound(f"nothing is called {name!r}", hint="run: vmrole get services, instances, operations or images")


def _fields(pairs: Sequence[tuple[str, object]], indent: str = "") -> list[str]:
    width = max(len(key) for key, _ in pairs)
    return [f"{indent}{key + ':':<{width + 1}}  {render.plain(str(value))}" for key, value in pairs if value != ""]


def _service(client: Client, name: str) -> list[str]:
    service = client.service(name, seats=True)
    up = "" if service["up"] is None else f", {service['up']} up at the balancer"
    off = f", {service['stopped']} stopped" if service["stopped"] else ""
    serve = f"{service['serving']} of {service['instances']} serve{off}{up}"
    held_up = f"; {service['held_up']}" if service["held_up"] else ""
    state = f"being deleted{held_up}" if service["removing"] else serve
    head: list[tuple[str, object]] = [
        ("Service", service["name"]),
        *([("Deployment", service["deployment"])] if service["deployment"] != service["name"] else []),
        ("VIP", service["vip"] + (" (may be shared)" if service["shared_vip"] else "")),
        ("State", state),
        ("Labels", labels_of(service)),
        ("Network", f"{service['network']['subnet']} on {service['network']['bridge']}"),
        ("Created", render.clock(service["created_at_s"])),
        ("File", f"revision {service['file_revision']}" if service["file_revision"] else ""),
        ("Revision", service["revision"]),
    ]
    rolls = client.rollout(name)
    head += [("Upgrade", _upgrade(rolls["upgrade"])), ("Rollout", _rollout(rolls))]
    told = [*_fields(head), *comparison(rolls)]
    for role in service["roles"]:
        told += ["", f"Role {role['name']}:", *_fields(_role(role), "  ")]
    endpoints = client.endpoints(name)
    return [
        *told,
        *_traffic(endpoints),
        *_checks(endpoints),
        "",
        *_section("Instances", lines("instances", client.instances(name), "table")),
        *_past(client, name),
    ]


_TRAFFIC: list[_Carries] = [
    ("ENDPOINT", lambda has: has[0]),
    ("MEMBER", lambda has: has[1]),
    ("OPEN", lambda has: str(has[2]["open"])),
    ("BEGUN", lambda has: _count(has[2]["begun"])),
    ("RECEIVED", lambda has: _bytes(has[2]["received_bytes"])),
    ("SENT", lambda has: _bytes(has[2]["sent_bytes"])),
    ("REFUSALS", lambda has: _count(has[2]["refusals"])),
    ("ERRORS", lambda has: _count(has[2]["errors"])),
]


def _traffic(endpoints: Sequence[wire.EndpointView]) -> list[str]:
    """What each endpoint carries, and below it its members; nothing of one that is not served now."""
    rows: list[tuple[str, str, wire.Traffic]] = []
    for end in endpoints:
        if end["whole"] is not None:
            rows.append((f"{end['role']}.{end['name']}", "", end["whole"]))
            rows += [("", member, of_it) for member, of_it in end["members"].items()]
    return ["", *_section("Traffic", render.table(_TRAFFIC, rows))] if rows else []


_CHECKS: list[_Asked] = [
    ("ENDPOINT", lambda has: has[0]),
    ("MEMBER", lambda has: has[1]),
    ("PASSED", lambda has: f"{sum(not one['why'] for one in has[2])} of {len(has[2])}"),
    ("LAST", lambda has: render.clock(has[2][-1]["at_s"])),
    ("FAILED LAST", lambda has: next((_met(one) for one in reversed(has[2]) if one["why"]), "")),
]


def _checks(endpoints: Sequence[wire.EndpointView]) -> list[str]:
    """How the last checks of each member went, a line for each."""
    rows = [(f"{end['role']}.{end['name']}", *asked) for end in endpoints for asked in end["probed"].items()]
    return ["", *_section("Probes", render.table(_CHECKS, rows))] if rows else []


def _met(check: wire.Probed) -> str:
    return f"{render.clock(check['at_s'])} {check['why']}"


_EACH: list[_Met] = [
    ("TIME", lambda has: render.clock(has[1]["at_s"])),
    ("ENDPOINT", lambda has: has[0]),
    ("RESULT", lambda has: has[1]["why"] or "passed"),
]


def _each_check(client: Client, row: wire.InstanceView) -> list[str]:
    """Every check of an instance that is remembered, the oldest first; nothing of a service that is gone by now."""
    try:
        endpoints = client.endpoints(row["service"])
    except NotFound:
        return []
    rows = [(end["name"], one) for end in endpoints for one in end["probed"].get(row["name"], ())]
    rows.sort(key=lambda has: has[1]["at_s"])
    return ["", *_section("Probes", render.table(_EACH, rows))] if rows else []


def _count(number: int | None) -> str:
    """ "" where it is not counted."""
    return "" if number is None else str(number)


def _bytes(number: int | None) -> str:
    return "" if number is None else render.size(number)


def _upgrade(upgrade: wire.Upgrade) -> str:
    """How its instances are made anew, in words; "" where that is as usual."""
    part, most = upgrade["max_unavailable_percent"], upgrade["max_unavailable"]
    words = [
        f"{upgrade['domains']} domains" if upgrade["domains"] else "",
        f"{part} %" if part else f"{most}" if most else "",
        "each domain when it is let go" if upgrade["walking"] == "manual" else "",
        "highest first" if upgrade["order"] == "descending" else "",
        f"each within {upgrade['within_s']:g} s" if upgrade["within_s"] else "",
        f"soak {upgrade['soak_s']:g} s" if upgrade["soak_s"] else "",
        f"canary {upgrade['canary']}" if upgrade["canary"] else "",
        "goes back when one fails" if upgrade["on_failure"] == "undo" else "",
    ]
    if words[1]:
        words[1] += " of a role at a time"
    return ", ".join(filter(None, words))


def _rollout(found: wire.RolloutView) -> str:
    """How far the rollout that runs is, or what the last one has left; "" where there is nothing to say."""
    last = found["rollout"]
    if last is None or last["progress"] in ("done", "superseded"):
        return ""
    state = "halted" if last["progress"] == "failed" else progress_of(last)
    return f"to revision {last['to_revision']}, {state}: {last['message']}"


def _role(role: wire.Role) -> list[tuple[str, object]]:
    size, setup, ready = role["size"], role["setup"], role["ready"]
    storage = [f"{one['name']} {one['size_mib']} MiB" for one in role["local_storage"]]
    waits = [*ready["units"], *([" ".join(ready["command"])] if ready["command"] else [])]
    return [
        ("Image", f"{role['image']} ({role['image_sha256'][:12]}, {role['os']})"),
        ("Instances", role["instances"]),
        ("Size", f"{size['vcpus']} vCPU, {size['memory_mib']} MiB"),
        ("Endpoints", ", ".join(_endpoints(role))),
        ("Local storage", ", ".join(storage)),
        ("Drives", ", ".join(f"{one['name']}: {one['drive']}" for one in role["drives"])),
        ("Shares", ", ".join(f"{one['name']}: {one['source']}" for one in role["shares"])),
        ("Devices", ", ".join(role["devices"]["pci"])),
        ("Bridge", _bridge(role["network"])),
        ("User data", "given (not shown)" if role["user_data"] or role["user_data_from"] else ""),
        ("Setup", f"{'with' if setup['restart'] else 'without'} restart, within {setup['within_s']:.0f} s"),
        ("Ready", ", ".join(["all auto-start services", *waits]) + f", within {ready['within_s']:.0f} s"),
        ("Drain", f"{role['drain_s']:.0f} s"),
    ]


def _bridge(network: wire.RoleNetwork) -> str:
    told = f"{network['bridge']}: {', '.join(network['addresses']) or 'by DHCP'}" if network["bridge"] else ""
    return f"{told} by {network['gateway']}" if network["gateway"] else told


def _endpoints(role: wire.Role) -> list[str]:
    """Each in a few words: what clients reach, of all instances or of each, and what other roles do."""
    told = [f"{one['name']} {_ports(one)} -> {one['target']} ({one['mode']})" for one in role["endpoints"]]
    told += [
        f"{one['name']} {_several(one['ports'])} -> {one['target']} of each ({one['mode']})"
        for one in role["instance_endpoints"]
    ]
    return told + [
        f"{one['name']} {_several(one['ports']) if one['ports'] else 'all ports'}"
        + (f" ({one['mode']})" if one["mode"] else "")
        + f" from {', '.join(one['callers']) or 'all roles'}"
        for one in role["internal_endpoints"]
    ]


def _ports(end: wire.Endpoint) -> str:
    return _several(end["range"]) if end["range"] else str(end["port"])


def _several(ports: wire.Ports) -> str:
    return f"{ports['first']}-{ports['last']}" if ports["last"] > ports["first"] else str(ports["first"])


def _instance(client: Client, name: str) -> list[str]:
    row = client.instance(name)
    pool = f"{row['standing']}, {row['connections']} connections" if row["standing"] else "not a member"
    pairs: list[tuple[str, object]] = [
        ("Instance", row["name"]),
        ("Phase", f"{row['phase']} since {render.clock(row['phase_since_s'])}"),
        ("Waits for", row["waiting"]),
        ("Whose turn", row["cause"]["whose"] if row["cause"] else ""),
        ("Failed", ", ".join(row["services_failed"])),
        ("Starting", ", ".join(row["services_pending"])),
        ("Failure", row["failure"]),
        ("Warning", warnings(row)),
        ("Generation", row["generation"]),
        ("Boot", row["boot"]),
        ("Asked for", _asked_for(row)),
        ("Removing", "yes" if row["removing"] else ""),
        ("Protected", "yes" if row["protected"] else ""),
        ("Domain", "" if row["domain"] is None else row["domain"]),
        ("Labels", labels_of(row)),
        ("Address", f"{row['address']} ({row['mac']})"),
        ("IPv6", row["address6"]),
        *((f"On {card['bridge']}", card_of(card)) for card in row["cards"]),
        ("Devices", ", ".join(row["pci"])),
        *((f"Reached by {end}", place) for end, place in row["doors"].items()),
        ("Pool", pool),
        ("Image", f"{row['image']} ({row['image_sha256'][:12]})"),
        ("Size", f"{row['vcpus']} vCPU, {row['memory_mib']} MiB"),
        ("File", _file(client, row)),
        ("VM", row["vm_uuid"]),
        ("Boot ID", row["boot_id"]),
        ("Strikes", row["strikes"] or ""),
        ("Revision", row["revision"]),
    ]
    return [*_fields(pairs), *_each_check(client, row), *_past(client, row["name"])]


def card_of(card: wire.CardView) -> str:
    """The address on a bridge of the host's, or why there is none."""
    return f"{card['address'] or card['refused'] or 'no address yet, by DHCP'} ({card['mac']})"


def _asked_for(row: wire.InstanceView) -> str:
    """Where it is to get to; "" where it is there, or past it: a setup's own restart counts as a boot, too."""
    wanted = (row["wanted_generation"], row["wanted_boot"])
    return "" if (row["generation"], row["boot"]) >= wanted else f"generation {wanted[0]}, boot {wanted[1]}"


def _file(client: Client, row: wire.InstanceView) -> str:
    """Of which revision of its service's file its VM is; "" of a service that is gone by now."""
    try:
        found = client.rollout(row["service"])
    except NotFound:
        return ""
    return f"revision {found['instances'].get(row['name']) or '?'} (newest: {found['file_revision']})"


def _operation(client: Client, name: str) -> list[str]:
    operation = client.operation(name)
    targets = [
        f"  {target} to generation {at['generation']}, boot {at['boot']}" for target, at in operation["targets"]
    ]
    pairs: list[tuple[str, object]] = [
        ("Operation", operation["id"]),
        ("Verb", operation["verb"]),
        ("Subject", operation["subject"]),
        ("Progress", progress_of(operation)),
        ("Message", operation["message"]),
        ("Together", operation["together"]),
        ("Asked for", render.clock(operation["created_at_s"])),
    ]
    return [*_fields(pairs), "Targets:", *targets]


def _image(client: Client, name: str) -> list[str]:
    return of_image(client.image(name))


def of_image(image: wire.Image) -> list[str]:
    """All about an image, for people: the machine that it wants, and what was met with it."""
    hardware, suggested = image["hardware"], image["suggested"]
    tpm = ", a TPM 2.0" if hardware["tpm"] else ""
    pairs: list[tuple[str, object]] = [
        ("Image", ", ".join(image["names"])),
        ("Digest", f"sha256:{image['sha256']}"),
        ("OS", image["os"]),
        ("Format", image["format"]),
        ("Size", render.size(image["size_bytes"])),
        ("Virtual size", render.size(image["virtual_size_bytes"])),
        ("Starts from", f"{hardware['firmware']}, a {hardware['disk_bus']} disk{tpm}"),
        ("Answers", image["answers"]),
        ("Added", render.clock(image["added_at_s"])),
        ("Added from", f"sha256:{image['source_sha256']}" if _was_converted(image) else ""),
        ("Measured", "" if suggested is None else ", ".join(f"{key} {value}" for key, value in suggested.items())),
        *_tried(image),
        ("Suspect", image["suspect"]),
        ("Trusted", render.clock(image["trusted_at_s"]) if image["trusted_at_s"] else ""),
    ]
    return _fields(pairs)


def _tried(image: wire.Image) -> Iterator[tuple[str, str]]:
    """By which roads its reimages went, where somebody has tried with the QEMU that the host has."""
    tried = image["tried"]
    for title, found in (("Reimages", tried and tried["plain"]), ("With storage", tried and tried["storage"])):
        if found:
            yield title, f"{found['warmest']}: {found['why']}" if found["why"] else found["warmest"]


def _was_converted(image: wire.Image) -> bool:
    return image["source_sha256"] not in ("", image["sha256"])


def _past(client: Client, subject: str) -> list[str]:
    found = client.events(subject, limit=EVENTS_SHOWN)
    return ["", *_section("Events", lines("events", found, "table"))] if found else []


def _section(title: str, content: Sequence[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in content)]
