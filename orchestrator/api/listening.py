"""The unix socket: made by us, so that no moment exists in which it is open to everybody (uvicorn chmods to 0666)."""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import os
import socket
import stat
from pathlib import Path

from orchestrator.api.peers import Admission
from orchestrator.errors import ConfigError, Conflict, Unreachable

SOCKET_MODE = 0o660
_PATH_MAX_BYTES = 107  # sockaddr_un.sun_path holds 108 with the final zero; unix(7)
BACKLOG = 64  # also how many asyncio takes at once before it looks at any of them: less than `DESCRIPTORS_KEPT`
_KNOCK_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Listener:
    """A socket that listens, and who may do what there. There is none without an admission.

    One that is lent is not ours to end: its file stays when we do.
    """

    socket: socket.socket
    admission: Admission
    is_lent: bool = False

    @property
    def path(self) -> Path:
        """Where it is bound."""
        return Path(self.socket.getsockname())


def group_id(name: str) -> int | None:
    """The id of the group, or None when there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def bind(path: Path, group: int | None, inherited: socket.socket | None = None) -> socket.socket:
    """A socket that listens at `path`, mode 0660, of the group if one is given.

    `inherited` is the one that listened there when this program began: who has come meanwhile waits in it. A socket
    that nobody listens on is replaced. Raises Conflict when another daemon listens there or the path is
    taken by something else, ConfigError when the path cannot be a socket's, Unreachable when it cannot be made.
    """
    if len(os.fsencode(path)) > _PATH_MAX_BYTES:
        raise ConfigError(f"the socket path {path} is longer than {_PATH_MAX_BYTES} bytes", hint="use a shorter one")
    with contextlib.ExitStack() as undo:
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if inherited is not None and path.is_socket():
                listener = undo.enter_context(inherited)
            else:
                if inherited is not None:  # Nobody finds it any more.
                    inherited.close()
                _clear(path)
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
                undo.callback(listener.close)
                listener.bind(str(path))
                undo.callback(path.unlink, missing_ok=True)
            # Nobody can connect before listen(), so the mode is right from the first moment that counts.
            if group is not None:
                os.chown(path, -1, group)
            path.chmod(SOCKET_MODE)
            listener.listen(BACKLOG)
        except OSError as error:
            raise Unreachable(f"cannot listen on {path}: {error.strerror}") from error
        undo.pop_all()
        return listener


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path} exists and is no socket", hint="move it away or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(_KNOCK_S)
        try:
            knock.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
    raise Conflict(f"a daemon already listens on {path}", hint="stop it first, or choose another path")
