"""cloud-init's own JSON schema for cloud-config: where it lies, and what a configuration does against it.

Nothing of a value is ever said, for it may be a secret: a message names keys and what the schema wants. The schema's
`deprecated` is cloud-init's own keyword (cloudinit/config/schema.py), and so is `changed`, which newer ones say of a
form of a value. Their advice stands in `description`, in newer ones in `deprecated_description`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path as File
from typing import Any, TypeAlias

from vmrole_unattend._cloud_yaml import Path

NAME = "cloudinit/config/schemas/schema-cloud-config-v1.json"
_PLACES = ("/usr/lib/python3/dist-packages", "/usr/lib/python3*/site-packages")  # Debian's; Fedora's and SUSE's

# jsonschema comes without types, and is imported only when it is asked.
_Error: TypeAlias = Any
_Validator: TypeAlias = Any
_Schema: TypeAlias = Any

# Read elsewhere than in a module, and so not in the schema (cloud-init's documentation, base configuration), or of a
# newer cloud-init than a schema may be.
_BASE_KEYS = frozenset(
    {
        "autoinstall",
        "cloud_config_modules",
        "cloud_final_modules",
        "cloud_init_modules",
        "conf_d",
        "create_hostname_file",
        "debconf_selections",
        "def_log_file",
        "launch-index",
        "log_cfgs",
        "manual_cache_clean",
        "merge_how",
        "merge_type",
        "output",
        "reporting",
        "rpi",
        "syslog_fix_perms",
        "system_info",
        "ubuntu-advantage",
        "ubuntu_pro",
        "unverified_modules",
        "vendor_data",
        "vendor_data2",
        "warnings",
    }
)
_TOO_EARLY = {
    "network": (
        "user-data cannot set the network: cloud-init has it before it reads this",
        "network-config is vmrole's",
    ),
    "datasource": ("user-data cannot choose where it is read from", "write it to /etc/cloud in the image"),
    "datasource_list": ("user-data cannot choose where it is read from", "write it to /etc/cloud in the image"),
}
"""Keys that are read before user-data is, with what to do instead."""

_ADVICE = ("deprecated_description", "changed_description", "description")  # newer ones first
_OLD_KEYS = "apt_"  # cloud-init still turns them into entries of `apt`
_WORDS = {"object": "a mapping", "array": "a list", "string": "text", "boolean": "true or false", "null": "empty"}
_SHOWN_MAX = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Offence:
    """One thing that the schema does not allow, or (`code` is "deprecated") will not allow for ever."""

    path: Path
    code: str
    message: str
    mend: str = ""


def find() -> File | None:
    """The schema of the cloud-init that is installed on this host."""
    for place in _PLACES:
        root, *pattern = place.split("*", 1)
        base = File(root).parent if pattern else File(root)
        found = sorted(base.glob(f"{File(root).name}*{pattern[0]}/{NAME}" if pattern else NAME))
        if found:
            return found[-1]
    return None


def release(schema_file: File) -> str:
    """Which cloud-init a schema is of, as far as its place tells: "cloud-init 22.4.2"; the file's name otherwise."""
    try:
        version = (schema_file.parents[2] / "version.py").read_text(encoding="utf-8", errors="replace")
    except (OSError, IndexError):
        return str(schema_file)
    found = re.search(r"""^__VERSION__ = ["']([\w.+~-]+)["']""", version, re.MULTILINE)
    return f"cloud-init {found[1]}" if found else str(schema_file)


def offences(config: Mapping[str, object], schema_file: File) -> Iterator[Offence]:
    """What the schema says against a configuration.

    ImportError when there is no jsonschema; OSError or ValueError when the schema cannot be read.
    """
    schema, validator = _loaded(schema_file)
    yield from _unknown_keys(config, schema)
    seen = set[tuple[Path, str]]()
    for error in validator.iter_errors(config):
        for offence in _explained(error):
            if (offence.path, offence.message) not in seen:
                seen.add((offence.path, offence.message))
                yield offence


@functools.cache
def _loaded(schema_file: File) -> tuple[dict[str, Any], _Validator]:
    jsonschema = importlib.import_module("jsonschema")
    schema = json.loads(schema_file.read_text(encoding="utf-8"))
    draft = jsonschema.Draft4Validator
    # `!!binary` makes bytes, and cloud-init takes them for text.
    types = draft.TYPE_CHECKER.redefine("string", lambda _, value: isinstance(value, str | bytes))

    def deprecated(_validator: _Validator, yes: bool, _value: object, schema: _Schema) -> Iterator[_Error]:
        if yes:
            told = (schema.get(name) for name in _ADVICE)
            yield jsonschema.ValidationError(next(filter(None, told), ""), validator="deprecated")

    def alternatives(
        validator: _Validator, choices: Sequence[_Schema], value: object, _schema: _Schema
    ) -> Iterator[_Error]:
        """One of several, in which what is merely deprecated fits; that several fit is the schema's fault."""
        found = [list(validator.descend(value, choice, schema_path=at)) for at, choice in enumerate(choices)]
        fitting = [errors for errors in found if all(error.validator == "deprecated" for error in errors)]
        if fitting:
            yield from min(fitting, key=len)
        else:
            yield jsonschema.ValidationError("", context=[error for errors in found for error in errors])

    rules = {"deprecated": deprecated, "changed": deprecated, "oneOf": alternatives, "anyOf": alternatives}
    schema.pop("additionalProperties", None)  # newer ones shut the top level, of which _unknown_keys knows more
    return schema, jsonschema.validators.extend(draft, rules, type_checker=types)(schema)


def _unknown_keys(config: Mapping[str, object], schema: Mapping[str, Any]) -> Iterator[Offence]:
    """Top-level keys that nothing reads.

    cloud-init 22.4 accepts them in silence; newer ones know more keys, and warn even of old ones that they read.
    """
    known = set(_BASE_KEYS) | set(_TOO_EARLY) | set(schema.get("properties", ()))
    for entry in schema.get("allOf", ()):
        name = str(entry.get("$ref", "")).rpartition("/")[2]
        known |= set(schema.get("$defs", {}).get(name, {}).get("properties", ()))
    for key in config:
        if key in _TOO_EARLY:
            yield Offence((key,), "too-early", *_TOO_EARLY[key])
        elif key not in known and not key.startswith(_OLD_KEYS):
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
            if near:
                yield Offence((key,), "unknown-key", f"{shown(key)} is not known", f"did you mean {near[0]}?")
            else:
                yield Offence((key,), "unread-key", f"no module of cloud-init reads {shown(key)}")


def _explained(error: _Error) -> Iterator[Offence]:
    """One error in our words; of alternatives, what is wrong with the one that was meant."""
    path: Path = tuple(error.absolute_path)
    wanted = error.validator_value
    match error.validator:
        case "oneOf" | "anyOf":
            yield from _explained_alternatives(error, path)
        case "additionalProperties":
            yield from _explained_extra_keys(error, path)
        case "required":
            missing = [key for key in wanted if key not in error.instance]
            yield Offence(path, "missing-key", f"{_listed(missing)} must be given")
        case "deprecated":
            yield Offence(path, "deprecated", "cloud-init will not read this for ever", _advice(error.message))
        case "type" | "enum" | "pattern" | "format":
            yield Offence(path, error.validator, f"must be {_wanted(error)}")
        case "uniqueItems":
            yield Offence(path, "twice", "has an entry twice")
        case other if str(other).startswith(("min", "max")):
            least = "at least" if other.startswith("min") else "at most"
            what = "be" if other in ("minimum", "maximum") else "have"
            empty = wanted == 1 and other.startswith("min") and what == "have"
            code = "too-few" if other.startswith("min") else "too-many"
            yield Offence(path, code, "must not be empty" if empty else f"must {what} {least} {wanted}")
        case other:
            yield Offence(path, str(other), f"is against the schema's {other}")


def _explained_extra_keys(error: _Error, path: Path) -> Iterator[Offence]:
    known = set(error.schema.get("properties", ()))
    patterns = tuple(error.schema.get("patternProperties", ()))
    for key in error.instance:
        if key not in known and not any(re.search(pattern, key) for pattern in patterns):
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
            mend = f"did you mean {near[0]}?" if near else f"known here: {_listed(sorted(known))}" if known else ""
            yield Offence((*path, key), "unknown-key", f"{shown(key)} is not known here", mend)


def _explained_alternatives(error: _Error, path: Path) -> Iterator[Offence]:
    """The alternative whose kind of value it is, when there is one; else what kinds there are."""
    branches: dict[int, list[_Error]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    meant = [errors for errors in branches.values() if not any(_other_kind(inner, path) for inner in errors)]
    if len(meant) == 1:
        for inner in meant[0]:
            if inner.validator != "deprecated":
                yield from _explained(inner)
        return
    kinds = {_wanted(inner): None for errors in branches.values() for inner in errors if _other_kind(inner, path)}
    if kinds:
        yield Offence(path, "type", f"must be {' or '.join(kinds)}")
    else:
        yield Offence(path, error.validator, "fits none of the forms that this may have")


def _other_kind(error: _Error, path: Path) -> bool:
    """Whether an alternative speaks of another kind of value altogether."""
    return tuple(error.absolute_path) == path and error.validator in ("type", "enum", "pattern", "format")


def _wanted(error: _Error) -> str:
    """What the schema wants in the place of this value."""
    wanted = error.validator_value
    match error.validator:
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            return " or ".join(
                _WORDS.get(kind, f"a {kind}" if kind != "integer" else "a whole number") for kind in kinds
            )
        case "enum":
            return f"one of {_listed([_json(value) for value in wanted])}"
        case "pattern":
            return f"text like {wanted}"
        case _:
            return f"a {wanted}"


def _advice(description: str) -> str:
    """What a description of the schema says about the end of a key; it may describe much else before."""
    sentences = re.split(r"(?<=\.)\s+", description.replace("``", "").replace("**", ""))
    told = [
        sentence for sentence in sentences if re.search(r"deprecat|dropped|removed|\buse\b", sentence, re.IGNORECASE)
    ]
    return " ".join(" ".join(told).split())[:300]


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _listed(names: Iterable[str]) -> str:
    """A few names of a list."""
    known = [shown(name) for name in names]
    more = f" and {len(known) - _SHOWN_MAX} more" if len(known) > _SHOWN_MAX else ""
    return ", ".join(known[:_SHOWN_MAX]) + more


def shown(name: object) -> str:
    """A key as it may be printed: short, and without control characters."""
    text = str(name)
    return "".join(letter if letter.isprintable() else "?" for letter in text[:60])
