"""What a service file says under `answers:`: user-data for cloud-init, or wishes for a Windows image.

First it is read, without a look at what it names: secrets are noted as references. Then `complete` puts in what the
service keeps. Whether a wish can be met is `unattend`'s to say; here it gets its line and key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from vmrole_unattend import AnswersInvalid, configdrive, nocloud
from vmrole_unattend.secret import SecretRef, SecretSource
from vmrole_unattend.windows import files as windows_files
from vmrole_unattend.windows import wishes
from vmrole_unattend.windows.answers import (
    Account,
    Answers,
    Architecture,
    Command,
    Edition,
    Join,
    Restart,
    Script,
    Windows,
)
from vmrole_unattend.windows.names import computer_name

from orchestrator.errors import Problem
from orchestrator.model import AnswerFormat, Role
from orchestrator.servicefile.fields import Answer, boolean, choice, shaped, text, words
from orchestrator.servicefile.reader import Reader, shown, under
from orchestrator.servicefile.tree import Map

DATA_BYTES_MAX = 256 * 1024

_UNATTEND = (
    "windows", "edition", "architecture", "computerName", "timeZone", "locale", "uiLanguage", "keyboard",
    "organization", "owner", "productKey", "administratorPassword", "accounts", "join", "staticNetwork",
    "remoteDesktop", "firewallGroups", "specialize", "firstLogon", "scripts", "xml", "kept",
)  # fmt: skip
UNSEEN_DATA: Final = {"userData": "user_data", "vendorData": "vendor_data"}
"""Texts below `answers` that may hold secrets and are never shown, and what `model.Role` calls them."""
UNSEEN_WISHES: Final = {
    "specialize": "specialize", "firstLogon": "first_logon", "scripts": "scripts", "xml": "own_xml",
}  # fmt: skip
"""The same below `answers.unattend`, and what `Answers` calls them."""
_JOIN = ("domain", "user", "userDomain", "password", "unit", "blob", "unsecure", "workgroup")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What stood under `answers:`."""

    user_data: str = ""
    user_data_from: SecretRef | None = None
    vendor_data: str = ""
    admin_password: SecretRef | None = None
    public_keys: tuple[str, ...] = ()
    unattend: Answers | None = None
    install_agent: bool = False


NONE: Final = AnswerFormat.NONE.value


def read_answers(reader: Reader, node: Map, at: str, form: AnswerFormat, whose: WhoseAnswers) -> Given:
    """Reads `answers:` of the role `node`; which keys it may have depends on what the image reads."""
    at = f"{at}.answers"
    match form:
        case AnswerFormat.NONE:
            if node.get("answers", NONE) != NONE:
                hint = "leave it out, or say answers: none; an image is told otherwise by image add --answers"
                reader.fault(at, "this image reads no answers", hint)
            return Given()
        case AnswerFormat.NOCLOUD:
            keys = ("userData", "vendorData", "publicKeys", "installAgent", "kept")
            answers = reader.keys(node.get("answers", Map()), at, keys)
            given = _cloud(reader, answers, at, nocloud.check_user_data)
            vendor_data = _data(reader, answers, at, "vendorData", nocloud.check_vendor_data)
            install: bool = reader.take(answers, at, "installAgent", boolean, False)
            return dataclasses.replace(given, vendor_data=vendor_data, install_agent=install)
        case AnswerFormat.CONFIG_DRIVE:  # cloudbase-init reads no vendor-data.
            answers = reader.keys(node.get("answers", Map()), at, ("userData", "adminPassword", "publicKeys", "kept"))
            _check_names(reader, at, whose)
            given = _cloud(reader, answers, at, configdrive.check_user_data)
            password = take_secret(reader, answers, at, "adminPassword")
            return dataclasses.replace(given, admin_password=password)
        case AnswerFormat.UNATTEND:
            if node.get("answers") == NONE:
                reader.fault(at, "Windows asks a person what no answer says", "give it answers")
                return Given(unattend=Answers())
            answers = reader.keys(node.get("answers", Map()), at, ("unattend",))
            return Given(unattend=_Unattend(reader, f"{at}.unattend").read(answers.get("unattend", Map())))


def complete(
    reader: Reader, node: Map, at: str, form: AnswerFormat, whose: WhoseAnswers, given: Given, now: RoleHad
) -> Given:
    """The answers that were read of the role `node`, with what they say to keep as the role `now` has it.

    Only then can be said whether Windows' wishes fit together.
    """
    at, answers = f"{at}.answers", node.get("answers")
    answers = answers if isinstance(answers, Map) else Map()
    match form:
        case AnswerFormat.NONE:
            return given
        case AnswerFormat.NOCLOUD:
            checks = {"userData": nocloud.check_user_data, "vendorData": nocloud.check_vendor_data}
            return dataclasses.replace(given, **_kept(reader, answers, at, UNSEEN_DATA, now, checks))
        case AnswerFormat.CONFIG_DRIVE:
            unseen = {"userData": UNSEEN_DATA["userData"]}
            kept = _kept(reader, answers, at, unseen, now, {"userData": configdrive.check_user_data})
            return dataclasses.replace(given, **kept)
        case AnswerFormat.UNATTEND:
            if node.get("answers") == NONE or given.unattend is None:
                return given
            wishes, at = answers.get("unattend"), f"{at}.unattend"
            return dataclasses.replace(
                given,
                unattend=_wishes(
                    reader, wishes if isinstance(wishes, Map) else Map(), at, whose, given.unattend, now
                ),
            )


def _wishes(reader: Reader, node: Map, at: str, whose: WhoseAnswers, answers: Answers, now: RoleHad) -> Answers:
    def had() -> Answers | None:
        role = now()
        return role.unattend if role is not None else None

    answers = dataclasses.replace(answers, **_kept(reader, node, at, UNSEEN_WISHES, had, {}))
    if not any(problem.key == at or problem.key.startswith(f"{at}.") for problem in reader.problems):
        for refused in windows_files.faults(
            answers, service=whose.service, role=whose.role, instances=whose.instances
        ):
            reader.fault(under(at, refused.where), refused.message, refused.hint)
    return answers


def computer_faults(service: str, roles: Iterable[Role]) -> Iterator[Problem]:
    """What two Windows machines of a service would share, and names that a larger number makes too long."""
    owners: dict[str, str] = {}
    for role in roles:
        for refused in wishes.shared(role.unattend, role.instances) if role.unattend is not None else ():
            key = f"roles.{role.name}.answers.unattend.{refused.where}"
            yield Problem(refused.message, key=key, hint=refused.hint)
        for index in range(role.instances if role.unattend is not None else 0):
            assert role.unattend is not None
            key = f"roles.{role.name}.answers.unattend.computerName"
            owner = f"{role.name}-{index}"
            try:
                name = computer_name(role.unattend.computer_name, role=role.name, index=index, service=service)
            except AnswersInvalid as refused:
                yield Problem(refused.message, key=key, hint=refused.hint)
                break
            if name.casefold() in owners:
                told = f"{owners[name.casefold()]} and {owner} would both be called {name!r}"
                yield Problem(told, key=key, hint="put {index}, and {role} or another letter, into it")
                break
            owners[name.casefold()] = owner


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WhoseAnswers:
    """Whose answers they are."""

    service: str
    role: str
    instances: int


RoleHad = Callable[[], Role | None]
"""The role as the service has it, if it has it."""


@shaped(
    type="object",
    properties={source.value: {"type": "string", "minLength": 1} for source in SecretSource},
    additionalProperties=False,
    minProperties=1,
    maxProperties=1,
)
def secret_reference(node: object) -> Answer[SecretRef]:
    """Where a secret is: `{secret: NAME}`, `{env: NAME}` or `{credential: NAME}`; it is not looked for."""
    sources = [source.value for source in SecretSource]
    hint = "say where it is: {secret: NAME}, {env: NAME} or {credential: NAME}"
    if not isinstance(node, Map) or len(node) != 1 or next(iter(node)) not in sources:
        return Problem("a secret does not stand in the service file", hint=hint)
    ((source, name),) = node.items()
    if not isinstance(name, str) or not name:
        return Problem("a secret is named by a string", hint=hint)
    return SecretRef(source=SecretSource(source), name=str(name))


def take_secret(reader: Reader, node: Map, at: str, key: str) -> SecretRef | None:
    """The secret that the value of `key` names, noted as a reference to be resolved."""
    secret: SecretRef | None = reader.take(node, at, key, secret_reference, None)
    if secret is not None:
        reader.refer(under(at, key), secret)
    return secret


def _check_names(reader: Reader, at: str, whose: WhoseAnswers) -> None:
    """What the instances will be called has to be a name that Windows takes."""
    try:
        for index in range(whose.instances):
            configdrive.check_hostname(f"{whose.role}-{index}")
    except AnswersInvalid as refused:
        reader.fault(at.removesuffix(".answers"), refused.message, refused.hint)


def _cloud(reader: Reader, answers: Map, at: str, check: Callable[[str], None]) -> Given:
    """What cloud-init and cloudbase-init both take: user-data, or where it is kept, and public keys."""
    keys = reader.take(answers, at, "publicKeys", _public_keys, ())
    if isinstance(answers.get("userData"), Map):
        return Given(user_data_from=take_secret(reader, answers, at, "userData"), public_keys=keys)
    return Given(user_data=_data(reader, answers, at, "userData", check), public_keys=keys)


@shaped(type="array", items={"type": "string"})
def _public_keys(node: object) -> Answer[tuple[str, ...]]:
    """A list of them. None is shown in an error: it may be the private half."""
    hint = 'write ["ssh-ed25519 AAAA… somebody"], a line of a .pub file for each'
    if not isinstance(node, list) or not all(isinstance(key, str) for key in node):
        return Problem("is not a list of public keys", hint=hint)
    try:
        for key in node:
            nocloud.check_public_key(key)
    except AnswersInvalid as refused:
        return Problem(f"one {refused.message}", hint=hint)
    return tuple(str(key) for key in node)


def _kept(
    reader: Reader,
    node: Map,
    at: str,
    unseen: Mapping[str, str],
    now: Callable[[], object],
    checks: Mapping[str, Callable[[str], None]],
) -> dict[str, Any]:
    """The values of those keys that stay as the service has them, by what `now` calls them; faults are noted, and
    none of them shows a value.
    """
    values = {}
    for key in reader.take(node, at, "kept", words, ()):
        value = getattr(now(), unseen[key], None) if key in unseen else None
        if key not in unseen:
            reader.fault(f"{at}.kept", f"{key[:60]!r} is shown where it stands", f"keys are: {', '.join(unseen)}")
        elif key in node:
            reader.fault(f"{at}.kept", f"{key} is given, too", "keep it, or say what it shall be")
        elif not value:
            hint = "apply the file that it came from: what `get -o yaml` leaves out is in the daemon's records alone"
            reader.fault(f"{at}.kept", f"there is no {key} that could be kept", hint)
        elif key in checks and not _passes(checks[key], value):
            hint = "the image reads other answers than the one before: write what this one shall be told"
            reader.fault(f"{at}.kept", f"the {key} that there is is none for this image", hint)
        else:
            values[unseen[key]] = value
    return values


def _passes(check: Callable[[str], None], value: str) -> bool:
    try:
        check(value)
    except AnswersInvalid:
        return False
    return True


def _data(reader: Reader, answers: Map, at: str, key: str, check: Callable[[str], None]) -> str:
    said: str = reader.take(answers, at, key, text, "")
    if len(said.encode()) > DATA_BYTES_MAX:
        limit = f"use at most {DATA_BYTES_MAX // 1024} KiB; put large data into the image"
        reader.fault(f"{at}.{key}", "too long", limit)
        return said
    try:
        check(said)
    except AnswersInvalid as refused:
        reader.fault(f"{at}.{key}", str(refused), refused.hint)
    return said


class _Unattend:
    """Reads `unattend:` of one role."""

    def __init__(self, reader: Reader, at: str) -> None:
        self._reader = reader
        self._at = at

    def read(self, node: object) -> Answers:
        node = self._reader.keys(node, self._at, _UNATTEND)
        default = Answers()
        elsewhere = isinstance(node.get("xml"), Map)
        return Answers(
            windows=self._take(node, "windows", choice(Windows), default.windows),
            edition=self._take(node, "edition", choice(Edition), default.edition),
            architecture=self._take(node, "architecture", choice(Architecture), default.architecture),
            computer_name=self._take(node, "computerName", text, default.computer_name),
            time_zone=self._take(node, "timeZone", text, default.time_zone),
            locale=self._take(node, "locale", text, default.locale),
            ui_language=self._take(node, "uiLanguage", text, ""),
            keyboard=self._take(node, "keyboard", text, ""),
            organization=self._take(node, "organization", text, ""),
            owner=self._take(node, "owner", text, ""),
            product_key=self._secret(node, self._at, "productKey"),
            administrator_password=self._secret(node, self._at, "administratorPassword"),
            accounts=tuple(self._account(name, one) for name, one in self._named(node, "accounts")),
            join=self._join(node),
            static_network=self._take(node, "staticNetwork", boolean, False),
            remote_desktop=self._take(node, "remoteDesktop", boolean, False),
            firewall_groups=self._take(node, "firewallGroups", words, ()),
            specialize=self._commands(node),
            first_logon=self._take(node, "firstLogon", words, ()),
            scripts=tuple(self._script(name, one) for name, one in self._named(node, "scripts")),
            own_xml="" if elsewhere else self._take(node, "xml", text, ""),
            own_xml_from=self._secret(node, self._at, "xml") if elsewhere else None,
        )

    def _account(self, name: str, node: object) -> Account:
        at = f"{self._at}.accounts.{name}"
        node = self._reader.keys(node, at, ("password", "group", "displayName", "description"), ("password",))
        take = self._reader.take
        return Account(
            name=name,
            password=self._secret(node, at, "password") or _NO_SECRET,
            group=take(node, at, "group", text, "Administrators"),
            display_name=take(node, at, "displayName", text, ""),
            description=take(node, at, "description", text, ""),
        )

    def _join(self, top: Map) -> Join:
        at = f"{self._at}.join"
        node = self._reader.keys(top.get("join", Map()), at, _JOIN)
        take = self._reader.take
        return Join(
            domain=take(node, at, "domain", text, ""),
            user=take(node, at, "user", text, ""),
            user_domain=take(node, at, "userDomain", text, ""),
            password=self._secret(node, at, "password"),
            unit=take(node, at, "unit", text, ""),
            blob=self._secret(node, at, "blob"),
            unsecure=take(node, at, "unsecure", boolean, False),
            workgroup=take(node, at, "workgroup", text, ""),
        )

    def _commands(self, top: Map) -> tuple[Command, ...]:
        at, nodes = f"{self._at}.specialize", top.get("specialize", [])
        if not isinstance(nodes, list):
            self._reader.fault(at, f"{shown(nodes)} is not a list", "write `- run: COMMAND` for each command")
            return ()
        commands = []
        for number, one in enumerate(nodes):
            here = f"{at}.{number}"
            node = self._reader.keys(one, here, ("run", "description", "restart"), ("run",))
            take = self._reader.take
            commands.append(
                Command(
                    line=take(node, here, "run", text, ""),
                    description=take(node, here, "description", text, ""),
                    restart=take(node, here, "restart", choice(Restart), Restart.NEVER),
                )
            )
        return tuple(commands)

    def _script(self, name: str, node: object) -> Script:
        read = text(node)
        if isinstance(read, Problem):
            self._reader.fault(f"{self._at}.scripts.{name}", read.message, "write `NAME: |` and the lines below it")
            return Script(name=name, text="")
        return Script(name=name, text=read)

    def _named(self, top: Map, key: str) -> list[tuple[str, object]]:
        node = top.get(key, Map())
        if isinstance(node, Map):
            return list(node.items())
        self._reader.fault(
            f"{self._at}.{key}", f"{shown(node)} is not a mapping", "write NAME: and below it the rest"
        )
        return []

    def _secret(self, node: Map, at: str, key: str) -> SecretRef | None:
        return take_secret(self._reader, node, at, key)

    def _take(self, node: Map, key: str, read: Callable[[object], Answer[Any]], default: Any) -> Any:  # noqa: ANN401
        return self._reader.take(node, self._at, key, read, default)


_NO_SECRET = SecretRef(source=SecretSource.FILE, name="")  # stands where the file has a fault; never used
