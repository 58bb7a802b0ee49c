"""Daemons on other hosts by names of one's own, in a file that is one's own: ~/.config/vmrole/contexts.toml.

Imported where there is such a file, or a word that names a daemon on another host.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.client.remote import Remote, parsed
from orchestrator.errors import Denied, InvalidInput, NotFound

TOKEN: Final = "VMROLE_TOKEN"  # noqa: S105 - the name of a variable
CA: Final = "VMROLE_CA"
_BYTES_MAX: Final = 1 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PRINTABLE: Final = re.compile(r"[^\x00-\x1f\x7f]*")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A daemon on another host, and how its user proves who he is."""

    server: str
    ca: str = ""  # a file; "": the authorities that this host believes
    certificate: str = ""
    key: str = ""
    token: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """All of a user's; `current` is meant where nobody says which one, "" is this host's daemon."""

    current: str = ""
    by_name: Mapping[str, Context] = dataclasses.field(default_factory=dict)

    def get(self, name: str) -> Context:
        """The one of that name; raises NotFound."""
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise NotFound(f"there is no context {name[:80]!r}", hint=f"there are: {known}; vmrole context add")
        return self.by_name[name]


def remote(file: str, *, server: str = "", context: str = "") -> Remote | None:
    """The daemon that is meant by an address, by the name of a context, or by what the user has chosen; None: this
    host's own.
    """
    if server:
        return Remote(server, ca=os.environ.get(CA, ""), token=os.environ.get(TOKEN, ""))
    contexts = load(file)
    if not (context or contexts.current):
        return None
    meant = contexts.get(context or contexts.current)
    token = os.environ.get(TOKEN, "") or meant.token
    return Remote(meant.server, ca=meant.ca, certificate=meant.certificate, key=meant.key, token=token)


def load(file: str) -> Contexts:
    """What is in the file; nothing where there is none. Raises Denied for one that others can read or change."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}", hint="make it a file that you can read") from error
    with os.fdopen(handle, "rb") as opened:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInput(f"{file} is no regular file", hint="move it away")
        if found.st_uid not in (0, os.geteuid()):
            raise Denied(
                f"{file} belongs to uid {found.st_uid}", hint="it says whom to believe: make one of your own"
            )
        if found.st_mode & 0o077:
            raise Denied(f"others can use {file}, and tokens are in it", hint=f"chmod 600 {file}")
        content = opened.read(_BYTES_MAX)
    return _read(file, content)


def _read(file: str, content: bytes) -> Contexts:
    import tomllib

    hint = "mend it, or move it away and add contexts anew: vmrole context add"
    try:
        said = tomllib.loads(content.decode())
        by_name = {checked_name(name): _context(fields) for name, fields in said.get("contexts", {}).items()}
        current = said.get("current", "")
        if not isinstance(current, str):
            raise InvalidInput("current is no name")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        # No piece of it: tokens are in it.
        raise InvalidInput(f"{file} is no list of contexts ({type(error).__name__})", hint=hint) from None
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}", hint=hint) from error
    return Contexts(current=current, by_name=by_name)


def _context(fields: Mapping[str, Any]) -> Context:
    if not all(isinstance(value, str) for value in fields.values()):
        raise TypeError("a field is no text")
    return checked(Context(**fields))


def checked_name(name: str) -> str:
    """The name, which is a word; raises InvalidInput."""
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(f"{name[:80]!r} is no name of a context", hint="letters, digits, '.', '_' and '-'")
    return name


def checked(context: Context) -> Context:
    """The context, which can be used; raises InvalidInput."""
    parsed(context.server)
    if context.key and not context.certificate:
        raise InvalidInput("a key without its certificate", hint="--cert FILE")
    for value in dataclasses.astuple(context):
        if _PRINTABLE.fullmatch(value) is None:
            raise InvalidInput("a control character is in it", hint="one line of text each")
    Remote(context.server, token=context.token)
    return context


def text(contexts: Contexts) -> str:
    """The file, as TOML."""
    lines = ["# vmrole's contexts: vmrole context ls, add, use, rm. Tokens are in it: nobody else may read it."]
    if contexts.current:
        lines.append(f"current = {_quoted(contexts.current)}")
    for name, context in sorted(contexts.by_name.items()):
        lines += ["", f"[contexts.{_quoted(name)}]"]
        fields = dataclasses.asdict(context)
        lines += [f"{key} = {_quoted(value)}" for key, value in fields.items() if value]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # which a basic string of TOML is, but for control characters
