"""What no schema says of a cloud-config: values of the right shape that do not do what they are meant to.

Only what cannot work is spoken of, and nothing of a value is shown, for it may be a secret. A value that is to be
filled in is not judged. How cloud-init and the programs that it calls take each is said where it is looked at.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import itertools
import re
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence

from vmrole_unattend._cloud_yaml import Path

_TO_FILL = re.compile(r"\{\{|\{%|<%|\$\{|\$[A-Z_]{2}|%\{|<[\w .-]+>|\.\.\.|…|@@|\[[A-Z_ ]+\]|[xX]{4}|YOUR|your[-_ ]")
_HASH = re.compile(r"[!*]*(\$[0-9a-z]+\$\S+|[./0-9A-Za-z]{13}|_[./0-9A-Za-z]{19})?|x")  # crypt(5); locked by ! or *
_KEY_TYPE = re.compile(
    r"(ssh-(rsa|dss|ed25519)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r"|\S+-cert-v0[01]@openssh\.com"
)
_PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_LABELS = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")
_OPERATORS = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<", "<<", "2>", "2>&1", "&>", "1>&2", ">&2"})
_SEPARATORS = frozenset({"|", ";", "&", "<", ">"})
_BEFORE_A_PROGRAM = re.compile(r"(/usr)?(/bin/)?(sudo|env|nice|nohup|time)|cloud-init-per|-\w+|[A-Z_]+=.*")
_OWN_OPERATORS = frozenset({"[", "test", "expr", "grep", "egrep", "fgrep", "sed", "awk", "tr"})  # read such words
_ENDS = re.compile(
    r"(sudo\s+)?((/usr)?/s?bin/)?(systemctl\s+)?(reboot|poweroff|halt|shutdown)(?![\w.-])(?!\s+(-c|--help))|init\s+[06]"
)
_TAGS = {"PASSWD", "SETENV", "EXEC", "LOG_INPUT", "LOG_OUTPUT", "MAIL", "INTERCEPT", "FOLLOW"}  # sudoers(5)
_TAGS |= {f"NO{tag}" for tag in _TAGS}
_TAG = re.compile(r"(?<![\w\\:])([A-Z_]+):(?!\w*=)")
_MOVED_ZONES = re.compile(r"(US|Canada|Brazil|Chile|Mexico)/\w")  # in a package of their own, in newer releases
_SYSTEM_DISK = re.compile(r"/dev/vda\d*|/dev/disk/by-path/.*")
_MERGERS = re.compile(r"(dict|list|str)\([\w, ]*\)(\+(dict|list|str)\([\w, ]*\))*")


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One value that will not do; `note` when it is only worth a word."""

    path: Path
    code: str
    message: str
    mend: str
    note: bool = False


def faults(config: Mapping[str, object]) -> Iterator[Fault]:
    """All of them, subject by subject."""
    names = {str(user.get("name")) for user in _entries(config.get("users"))}
    for number, user in _numbered(config.get("users")):
        yield from _user(user, ("users", number))
    yield from _twice(config.get("users"))
    if isinstance(config.get("user"), Mapping):
        yield from _passwords(_mapping(config["user"]), ("user",))
    yield from _keys(config.get("ssh_authorized_keys"), ("ssh_authorized_keys",))
    yield from _changed_passwords(config)
    yield from _host_keys(_mapping(config.get("ssh_keys")))
    for number, file in _numbered(config.get("write_files")):
        yield from _file(file, ("write_files", number), names)
    for key in ("bootcmd", "runcmd"):
        yield from _commands(config.get(key), key)
    yield from _names(config)
    yield from _packages(config.get("packages"))
    yield from _disks(config)
    yield from _others(config)


def _user(user: Mapping[str, object], at: Path) -> Iterator[Fault]:
    name = _text(user.get("name"))
    if name and re.search(r"[\s:/,]", name):
        yield Fault((*at, "name"), "name", "is no name of a user", "a word without blanks, ':' or ','")
    yield from _passwords(user, at)
    yield from _keys(user.get("ssh_authorized_keys"), (*at, "ssh_authorized_keys"))
    groups = user.get("groups")
    for group in groups.split(",") if isinstance(groups, str) else groups if isinstance(groups, list) else ():
        if re.search(r"\s", _text(group).strip()):
            message = "has a blank in the name of a group: useradd would refuse, and there were no such user"
            yield Fault((*at, "groups"), "name", message, "set commas between them, or write a list")
    shell = _text(user.get("shell"))
    if shell and not shell.startswith("/"):
        yield Fault((*at, "shell"), "no-path", "is no whole path: nobody could log in", "like /bin/bash")
    rules = user.get("sudo")
    for rule in rules if isinstance(rules, list) else (rules,):
        text = _text(rule)
        if text and ("=" not in text or not set(_TAG.findall(text)) <= _TAGS):
            message = "is no rule of sudoers(5), and sudo runs nothing for anybody while a file of its has a fault"
            yield Fault((*at, "sudo"), "sudoers", message, "like ALL=(ALL) NOPASSWD:ALL")


def _passwords(user: Mapping[str, object], at: Path) -> Iterator[Fault]:
    """cloud-init locks the password of whom it makes, unless told otherwise (distros.create_user)."""
    given = [key for key in ("passwd", "hashed_passwd", "plain_text_passwd") if _text(user.get(key))]
    for key in given:
        if key != "plain_text_passwd" and not _HASH.fullmatch(_text(user[key])):
            yield Fault((*at, key), "no-hash", *_NO_HASH)
    locked = user.get("lock_passwd", user.get("lock-passwd", True))
    if given and locked is True and all(not _text(user[key]).startswith(("!", "*")) for key in given):
        message = "is locked all the same: lock_passwd is true unless it is said"
        yield Fault((*at, given[0]), "locked", message, "lock_passwd: false")


_NO_HASH = (
    "is no hash of a password: nobody could log in by it",
    "make one: openssl passwd -6; or say it as plain text",
)


def _changed_passwords(config: Mapping[str, object]) -> Iterator[Fault]:
    for number, user in _numbered(_mapping(config.get("chpasswd")).get("users")):
        password = _text(user.get("password"))
        if password and user.get("type", "hash") == "hash" and not _HASH.fullmatch(password):
            yield Fault(("chpasswd", "users", number, "password"), "no-hash", _NO_HASH[0], "type: text")


def _twice(users: object) -> Iterator[Fault]:
    """The second is passed over: the user is there already."""
    seen = set[str]()
    for number, user in _numbered(users):
        name = _text(user.get("name"))
        if name and name in seen:
            message = "is given again, and nothing of the second entry is done"
            yield Fault(("users", number), "twice", message, "make one entry of them")
        seen.add(name)


def _keys(keys: object, at: Path) -> Iterator[Fault]:
    """Each one line of an authorized_keys file, whose base64 begins with the name of its type (RFC 4253)."""
    for number, key in enumerate(keys if isinstance(keys, list) else ()):
        text = _text(key).strip()
        if not text:
            continue
        if "PRIVATE KEY" in text:
            message = "is the private half of a key, which is for nobody else to have"
            yield Fault((*at, number), "private-key", message, "give what stands in the .pub file")
        elif not _is_key(text):
            message = "is no line of an authorized_keys file: nobody could log in by it"
            yield Fault((*at, number), "no-key", message, "what stands in the .pub file, in one line")


def _is_key(line: str) -> bool:
    if line.startswith("#"):
        return True
    words = line.split(" ") if "\n" not in line.strip() else []
    for word, blob in itertools.pairwise(words):
        if _KEY_TYPE.fullmatch(word):
            try:
                raw = base64.b64decode(blob[: len(blob) - len(blob) % 4], validate=True)
            except binascii.Error:
                return False
            return raw[4 : 4 + len(word)] == word.encode()
    return False


def _host_keys(keys: Mapping[str, object]) -> Iterator[Fault]:
    """sshd passes over a file that holds something else, and may come up with no key at all."""
    for name, value in keys.items():
        text = _text(value).strip()
        if not text:
            continue
        if name.endswith("_private") and not _PRIVATE.search(text):
            yield Fault(("ssh_keys", name), "no-key", "is no private key, or not the whole of one", "all its lines")
        if name.endswith("_public") and not _is_key(text):
            yield Fault(("ssh_keys", name), "no-key", "is no public key", "what stands in the .pub file")


def _file(file: Mapping[str, object], at: Path, made_later: set[str]) -> Iterator[Fault]:
    """cloud-init's write_files; where one entry fails, none that follows is written."""
    content, encoding = _text(file.get("content")), str(file.get("encoding", "")).lower()
    plain = "base64" not in encoding and "b64" not in encoding
    raw = content.encode() if plain else _base64(content)
    if content and raw is None:
        message = "is not base64: neither this file nor one that follows would be written"
        yield Fault((*at, "content"), "encoding", message, "encode it: base64 -w0 FILE")
    elif content and "gz" in encoding and not (raw or b"").startswith(b"\x1f\x8b"):
        message = "is not compressed: neither this file nor one that follows would be written"
        yield Fault((*at, "content"), "encoding", message, "encode it: gzip -c FILE | base64 -w0, as gz+b64")
    mode = file.get("permissions")
    if isinstance(mode, str) and _text(mode) and not re.fullmatch(r"(0o?)?[0-7]{3,4}", mode):
        yield Fault((*at, "permissions"), "mode", "is no octal number, so the file gets 0644", "like '0640'")
    if _text(file.get("path")).endswith("/"):
        yield Fault((*at, "path"), "directory", "names a directory, not a file", "write the file's name, too")
    owner = re.split(r"[:.]", _text(file.get("owner")))[0]
    if owner in made_later and file.get("defer") is not True:
        message = "is made only after files are written: neither this file nor one that follows would be"
        yield Fault((*at, "owner"), "too-early", message, "defer: true")


def _base64(content: str) -> bytes | None:
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _commands(commands: object, key: str) -> Iterator[Fault]:
    """A text is a line of a shell script; a list is a program with its arguments, each quoted."""
    for number, command in enumerate(commands if isinstance(commands, list) else ()):
        words = [str(word) for word in command] if isinstance(command, list) else []
        at = (key, number)
        if _meant_for_a_shell(words):
            message = "is a list, so no shell reads it: what is meant for one is an argument"
            yield Fault(at, "no-shell", message, "write it as one text, or [sh, -c, '…']")
        if len(words) == 1 and re.search(r"\s", words[0].strip()):
            message = "is a list of one text: a program of that whole name would be looked for"
            yield Fault(at, "no-shell", message, "take the brackets away, or set commas between the words")
        if _ENDS.match(" ".join(words) if words else _text(command)):
            message = "ends the boot in the middle of its setup"
            yield Fault(at, "restarts", message, "leave it out: setup ends in a restart by itself", note=True)


def _meant_for_a_shell(words: Sequence[str]) -> bool:
    """Whether an argument is an operator of a shell's, and not a word of the program itself."""
    at = next((number for number, word in enumerate(words) if not _BEFORE_A_PROGRAM.fullmatch(word)), 0)
    program = words[at].rpartition("/")[2] if words else ""
    if program in _OWN_OPERATORS or words[:1] == ["sh"]:
        return False
    for before, word in itertools.pairwise(words[at:]):
        if word not in _OPERATORS or (before.startswith("-") and word in _SEPARATORS):
            continue  # the separator of `cut -d ;`
        if word == ";" and program == "find":
            continue
        return True
    return False


def _names(config: Mapping[str, object]) -> Iterator[Fault]:
    for key in ("hostname", "fqdn"):
        name = _text(config.get(key))
        if name and not _LABELS.fullmatch(name):
            yield Fault((key,), "name", "is no name of a host", "labels of letters, digits and '-'")
    zone = _text(config.get("timezone"))
    known = _zones() if zone else frozenset()
    if zone and known and zone not in known and not _MOVED_ZONES.match(zone) and not zone.startswith("/"):
        yield Fault(("timezone",), "zone", "is no time zone that this host knows", "like Europe/Berlin or UTC")
    for kind in ("servers", "pools"):
        for number, server in enumerate(_list(_mapping(config.get("ntp")).get(kind))):
            if "://" in _text(server) or re.search(r"\s", _text(server)):
                yield Fault(("ntp", kind, number), "name", "is neither a name nor an address", "without a scheme")


@functools.cache
def _zones() -> frozenset[str]:
    """Of this host: looking is a walk through a thousand files."""
    return frozenset(zoneinfo.available_timezones())


def _packages(packages: object) -> Iterator[Fault]:
    for number, package in enumerate(_list(packages)):
        name = _text(package)
        if name.startswith("-") or re.search(r"\s", name.strip()):
            message = "is no name of a package: none of the list would be installed"
            yield Fault(("packages", number), "name", message, "one entry for each package, and no options")


def _disks(config: Mapping[str, object]) -> Iterator[Fault]:
    wiped: list[tuple[Path, object]] = [
        (("disk_setup", device), device)
        for device, entry in _mapping(config.get("disk_setup")).items()
        if _mapping(entry).get("overwrite") is True
    ]
    wiped += [
        (("fs_setup", number), entry.get("device"))
        for number, entry in _numbered(config.get("fs_setup"))
        if entry.get("overwrite") is True
    ]
    for at, device in wiped:
        if _SYSTEM_DISK.fullmatch(_text(device)):
            message = "overwrites the system disk, from which the guest runs"
            yield Fault(at, "wipes", message, "vmrole formats local storage by itself")


def _others(config: Mapping[str, object]) -> Iterator[Fault]:
    certificates = _mapping(config.get("ca_certs", config.get("ca-certs")))
    for number, certificate in enumerate(_list(certificates.get("trusted"))):
        if _text(certificate) and "-----BEGIN CERTIFICATE-----" not in _text(certificate):
            message = "is no certificate as PEM"
            yield Fault(("ca_certs", "trusted", number), "no-certificate", message, "with its lines BEGIN and END")
    for key in ("merge_how", "merge_type"):
        how = config.get(key)
        if isinstance(how, str) and not _MERGERS.fullmatch(how.replace(" ", "")):
            yield Fault((key,), "merge", "is no way of merging", "like dict(replace)+list(append)+str()")


def _text(value: object) -> str:
    """ "" for what is no text, or is to be filled in."""
    return value if isinstance(value, str) and not _TO_FILL.search(value) else ""


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _entries(value: object) -> Iterator[Mapping[str, object]]:
    return (entry for _, entry in _numbered(value))


def _numbered(value: object) -> Iterator[tuple[int, Mapping[str, object]]]:
    return ((number, entry) for number, entry in enumerate(_list(value)) if isinstance(entry, Mapping))
