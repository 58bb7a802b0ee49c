"""What a service file names, looked up: images, secrets, and what the service has already.

The file has been read (see `draft`); who resolves it hands in what it knows, and this is where it is asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from vmrole_unattend import local_storage
from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.secret import SecretRef

from orchestrator.errors import InvalidInput, Problem
from orchestrator.model import (
    AnswerFormat,
    Certificate,
    CommandProbe,
    Endpoint,
    Image,
    Os,
    Ready,
    Role,
    ServiceSpec,
    Setup,
)
from orchestrator.rules import roads
from orchestrator.servicefile.answers import NONE, Given, WhoseAnswers, complete, computer_faults, read_answers
from orchestrator.servicefile.draft import ROLE_KEYS, SETUP_KEYS, Draft, RoleDraft
from orchestrator.servicefile.drives import check_mounts
from orchestrator.servicefile.endpoints import read_probe
from orchestrator.servicefile.fields import boolean, duration_s, words
from orchestrator.servicefile.network import check_told
from orchestrator.servicefile.reader import Reader
from orchestrator.servicefile.shares import check_mounted
from orchestrator.servicefile.sizes import SIZE_KEYS, check_disk, check_rates
from orchestrator.servicefile.tree import Map
from orchestrator.servicefile.upgrade import check_canary

WINDOWS_SETUP_S = 45 * 60.0  # of a generalized image on an ordinary host: minutes; without KVM, most of an hour
_MIB = 1024 * 1024

SecretFault = Callable[[str, SecretRef | Certificate], str]
"""Why a service, by its name, cannot have a secret or serve with a certificate, in a few words; "" when it can."""
RoleNow = Callable[[str, str], Role | None]
"""A role of a service as it is now, by both names; None when there is none."""


def no_fault(service: str, secret: SecretRef | Certificate) -> str:  # noqa: ARG001 - it has the shape of a SecretFault
    """Every secret can be had."""
    return ""


def no_role(service: str, role: str) -> Role | None:  # noqa: ARG001 - it has the shape of RoleNow
    """There is no service yet."""
    return None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What whoever resolves a draft knows: which images there are, which secrets, and what services are now.

    Unless given, every secret can be had, and there is nothing that a file could say to keep.
    """

    find_image: Callable[[str], Image | None]
    secret_fault: SecretFault = no_fault
    role_now: RoleNow = no_role


def resolve(draft: Draft, known: Known) -> ServiceSpec:
    """The service of the draft. Raises InvalidInput with all problems: of the file itself and of what it names."""
    reader = Reader(draft.tree)
    spec = read_service(reader, draft, known)
    if reader.problems:
        problems = tuple(sorted(reader.problems, key=lambda problem: problem.line or 0))
        count = f"{len(problems)} faults" if len(problems) > 1 else "1 fault"
        raise InvalidInput(f"the service file has {count}", problems=problems)
    return spec


def read_service(reader: Reader, draft: Draft, known: Known) -> ServiceSpec:
    """The service of the draft; afterwards the reader has noted all problems, those of the draft among them."""
    references = dict.fromkeys(role.reference for role in draft.roles if role.reference)
    images = {reference: known.find_image(reference) for reference in references}
    for role in draft.roles:
        _check_beside(reader, role, images.get(role.reference))
    reader.problems.extend(draft.faults)
    roles = [_role(reader, draft.name, role, images.get(role.reference), known) for role in draft.roles]
    reader.problems[:] = sorted(reader.problems, key=lambda problem: _place(draft.tree, problem.key))
    reader.problems.extend(draft.shared)
    if not reader.problems:
        for problem in (*role_faults(roles), *computer_faults(draft.name, roles)):
            reader.fault(problem.key, problem.message, problem.hint)
        check_canary(reader, draft.upgrade, roles)
    return ServiceSpec(
        name=draft.name,
        vip=draft.vip,
        roles=tuple(roles),
        labels=draft.labels,
        upgrade=draft.upgrade,
        healing=draft.healing,
        shared_vip=draft.shared_vip,
        staging_vip=draft.staging_vip,
    )


def role_faults(roles: Sequence[Role]) -> Iterator[Problem]:
    """Roles that are called like an instance of another: `web-0.shop` would mean both."""
    names = {role.name for role in roles}
    for name in sorted(names):
        other, _, number = name.rpartition("-")
        if other in names and number.isdigit():
            told = f"would be an instance of the role {other}, too"
            yield Problem(told, key=f"roles.{name}", hint="choose a name that does not end in a number")


def _place(tree: Map, key: str) -> tuple[int, ...]:
    """Where a fault of `key` is told among those of its line: by role, by its key in the role, by what is below."""
    steps, roles = key.split("."), tree.get("roles")
    if steps[0] != "roles" or len(steps) == 1 or not isinstance(roles, Map) or steps[1] not in roles:
        return (-1,)
    role, name = list(roles).index(steps[1]), ".".join(steps[2:3])
    if name not in ROLE_KEYS:
        return (role, -1)
    node = roles[steps[1]]
    below = node.get(name) if isinstance(node, Map) else None
    member = _member(name, below, steps[3]) if len(steps) > 3 else -1
    return (role, ROLE_KEYS.index(name), member)


def _member(name: str, below: object, step: str) -> int:
    """The same for what stands below a role's key `name`; -1 for a key that there is not."""
    match name:
        case "size":
            return 0 if step in SIZE_KEYS else -1
        case "setup":
            return SETUP_KEYS.index(step) if step in SETUP_KEYS else -1
        case "endpoints" | "localStorage" | "drives" | "shares" if isinstance(below, Map) and step in below:
            return list(below).index(step)
    return -1


def _check_beside(reader: Reader, draft: RoleDraft, image: Image | None) -> None:
    """What the image rules out, whatever stands there: of one key, it is told before what is wrong with its value."""
    check_rates(reader, draft.node, draft.at, image)
    _check_setup(reader, draft, image)


def _role(reader: Reader, service: str, draft: RoleDraft, image: Image | None, known: Known) -> Role:
    node, at = draft.node, draft.at
    reads = _reads(node, image)
    if image is None and draft.reference:
        hint = "run: vmrole image ls, or vmrole image add"
        reader.fault(f"{at}.image", f"there is no image {draft.reference!r}", hint)
    check_disk(reader, at, draft.role.size, image)
    _check_certificates(reader, service, draft, known)
    given = Given() if image is None else _answers(reader, service, draft, reads, known)
    _check_storage(reader, draft, image)
    check_mounts(reader, at, draft.role.drives, image, reads)
    check_mounted(reader, at, draft.role.shares, image, reads)
    check_told(reader, at, draft.role.network, image, reads)
    if draft.role.keep_ssh_host_keys and reads is not AnswerFormat.NOCLOUD:
        reader.fault(
            f"{at}.identity.sshHostKeys", "only cloud-init is given host keys", "leave it out for this image"
        )
    role = dataclasses.replace(
        draft.role,
        answers=reads,
        user_data=given.user_data,
        user_data_from=given.user_data_from,
        vendor_data=given.vendor_data,
        admin_password=given.admin_password,
        public_keys=given.public_keys,
        unattend=given.unattend,
        install_agent=given.install_agent,
        setup=_setup(draft, image),
        ready=_ready(reader, node, at, draft.role.endpoints, image),
    )
    if image is None:
        return role
    return dataclasses.replace(
        role,
        image_sha256=image.sha256,
        image_format=image.format,
        image_mib=image.virtual_size_bytes // _MIB,
        os=image.os,
        hardware=image.hardware,
        fitness=roads.of_image(image.tried, storage=bool(role.local_storage or role.drives)),
    )


def _reads(node: Map, image: Image | None) -> AnswerFormat:
    """What the role's image reads; a role may say that it reads nothing."""
    if image is None:
        return AnswerFormat.NOCLOUD
    without = node.get("answers") == NONE and image.os is Os.LINUX  # Windows asks a person what nobody answers.
    return AnswerFormat.NONE if without else image.answers


def _answers(reader: Reader, service: str, draft: RoleDraft, reads: AnswerFormat, known: Known) -> Given:
    """The answers, their secrets looked for and what stays as it is put in."""
    role, node, at = draft.role, draft.node, draft.at
    whose = WhoseAnswers(service=service, role=role.name, instances=role.instances)
    given = read_answers(reader, node, at, reads, whose)
    reader.resolve_secrets(lambda secret: known.secret_fault(service, secret))
    return complete(reader, node, at, reads, whose, given, lambda: known.role_now(service, role.name))


def _check_certificates(reader: Reader, service: str, draft: RoleDraft, known: Known) -> None:
    for end in draft.role.endpoints:
        for number, certificate in enumerate(end.tls.certificates if end.tls is not None else ()):
            if why_not := known.secret_fault(service, certificate):
                at = f"{draft.at}.endpoints.{end.name}.tls" + (f".more.{number - 1}" if number else "")
                message, _, hint = why_not.partition("; ")
                reader.fault(f"{at}.certificate", f"{certificate}: {message}", hint)


def _check_storage(reader: Reader, draft: RoleDraft, image: Image | None) -> None:
    sizes = {f"localStorage.{one.name}": one.size_mib for one in draft.role.local_storage}
    sizes |= {f"drives.{one.name}": local_storage.SIZE_MIB_MIN for one in draft.role.drives}  # Not known by its file.
    for key, size_mib in sizes.items() if _is_windows(image) else ():
        try:
            local_storage.check(key.partition(".")[2], size_mib)
        except AnswersInvalid as error:
            reader.fault(f"{draft.at}.{key}", error.message, error.hint)


def _check_setup(reader: Reader, draft: RoleDraft, image: Image | None) -> None:
    at, restart = f"{draft.at}.setup", draft.setup.restart
    setup = draft.node.get("setup")
    if image is not None and _reads(draft.node, image) is AnswerFormat.NONE:
        if restart:
            reader.fault(f"{at}.restart", "without answers there is no setup that restarts", "leave it out")
        if isinstance(setup, Map) and "within" in setup:
            reader.fault(f"{at}.within", "without answers there is no setup to wait for", "leave it out")
        restart = bool(restart)
    if _is_windows(image) and restart is False:
        reader.fault(f"{at}.restart", "Windows Setup always restarts", "leave it out")


def _setup(draft: RoleDraft, image: Image | None) -> Setup:
    within_s = WINDOWS_SETUP_S if _is_windows(image) else Setup().within_s
    if image and image.suggested:
        within_s = image.suggested.setup_s
    if draft.setup.within_s is not None:
        within_s = draft.setup.within_s
    without = image is not None and _reads(draft.node, image) is AnswerFormat.NONE
    restart = Setup().restart and not without if draft.setup.restart is None else draft.setup.restart
    return Setup(restart=restart, within_s=within_s)


def _ready(reader: Reader, node: Map, at: str, endpoints: tuple[Endpoint, ...], image: Image | None) -> Ready:
    at = f"{at}.ready"
    units = ("services", "delayed") if _is_windows(image) else ("units",)
    keys = (*units, "ignore", "command", "probe", "within", "watch", "silence", "guest", "agent")
    ready = reader.keys(node.get("ready", Map()), at, keys)
    agent: bool = reader.take(ready, at, "agent", boolean, True)
    if not agent:
        _without_agent(reader, node, ready, at, image)
        for end in endpoints:
            if isinstance(end.probe, CommandProbe):
                key = f"{at.removesuffix('.ready')}.endpoints.{end.name}.probe.command"
                reader.fault(key, "needs the agent that ready.agent: false rules out", "drop one of the two")
    probe = read_probe(reader, ready, at)
    if probe is not None and probe.port is None:
        if not endpoints:
            reader.fault(f"{at}.probe", "which port?", "say `port:`; the role has no endpoint to take it from")
        else:
            probe = dataclasses.replace(probe, port=endpoints[0].target)
    within_s = image.suggested.ready_s if image and image.suggested else Ready().within_s
    return Ready(
        units=reader.take(ready, at, units[0], words, ()),
        ignore=reader.take(ready, at, "ignore", words, ()),
        delayed=reader.take(ready, at, "delayed", boolean, False),
        command=reader.take(ready, at, "command", words, ()),
        probe=probe,
        within_s=reader.take(ready, at, "within", duration_s(1, 24 * 3600), within_s),
        watch=reader.take(ready, at, "watch", boolean, False),
        silence_s=reader.take(ready, at, "silence", duration_s(60, 24 * 3600), Ready().silence_s),
        guest=reader.take(ready, at, "guest", boolean, False),
        agent=agent,
    )


def _without_agent(reader: Reader, node: Map, ready: Map, at: str, image: Image | None) -> None:
    """What makes no sense for a guest that has no agent."""
    if _is_windows(image):
        reader.fault(f"{at}.agent", "Windows Setup is watched through the agent", "leave it out")
    if "probe" not in ready:
        hint = "give ready.probe a port, and a path for HTTP: without an agent nothing else tells"
        reader.fault(f"{at}.agent", "who tells when it is ready?", hint)
    for key in ("units", "services", "delayed", "ignore", "command", "watch", "silence"):
        if key in ready:
            reader.fault(f"{at}.{key}", "needs the agent that ready.agent: false rules out", "drop one of the two")
    answers = node.get("answers")
    if isinstance(answers, Map) and answers.get("installAgent") is True:
        key = f"{at.removesuffix('.ready')}.answers.installAgent"
        reader.fault(key, "installs the agent that ready.agent: false rules out", "drop one of the two")


def _is_windows(image: Image | None) -> bool:
    return image is not None and image.os is Os.WINDOWS
