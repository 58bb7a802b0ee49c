"""Which daemon is meant: this host's, by its socket, or one on another host. As quick as in `client`.

What is said on the command line comes first, then VMROLE_SERVER, VMROLE_CONTEXT and VMROLE_SOCKET, then the context
that the user has chosen, and last this host's own socket.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator.client.remote import Remote

DEFAULT_SOCKET = "/run/vmrole/vmrole.sock"


def contexts_file() -> str:
    """Where a user's contexts are; "" for one without a home."""
    home = os.environ.get("HOME", "")
    place = os.environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    return f"{place}/vmrole/contexts.toml" if place.startswith("/") else ""


def meant(socket: str, server: str, context: str) -> tuple[str, Remote | None]:
    """The path of a socket, or else a daemon on another host, whose URL is the path then.

    Raises InvalidInput where several are said, and what `contexts` raises.
    """
    said = [word for word in (socket, server, context) if word]
    if len(said) > 1:
        raise _several(said)
    if not said:
        for variable in ("VMROLE_SERVER", "VMROLE_CONTEXT", "VMROLE_SOCKET"):
            if word := os.environ.get(variable):
                return meant(
                    word if variable == "VMROLE_SOCKET" else "",
                    word if variable == "VMROLE_SERVER" else "",
                    word if variable == "VMROLE_CONTEXT" else "",
                )
    file = contexts_file()
    if socket or not (server or context or (file and os.path.lexists(file))):
        return socket or DEFAULT_SOCKET, None
    from orchestrator.client import contexts

    remote = contexts.remote(file, server=server, context=context)
    return (remote.url, remote) if remote is not None else (DEFAULT_SOCKET, None)


def _several(said: list[str]) -> Exception:
    from orchestrator.errors import InvalidInput

    return InvalidInput(f"which of them is meant: {' or '.join(said)}?", hint="one of --socket, --server, --context")
