"""The daemon's sockets on its own host: made by it, left by the program before it, or lent by systemd."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

from orchestrator.api.listening import Listener, bind, group_id
from orchestrator.api.peers import Admission
from orchestrator.client.transport import for_looking
from orchestrator.host.config import Config
from orchestrator.host.process import Inherited

logger = logging.getLogger(__name__)


def on_this_host(settings: Config, inherited: Mapping[str, Inherited], stack: contextlib.ExitStack) -> list[Listener]:
    """The socket of those who may do everything, and one beside it of those who may only look, if there are such.

    What listens already (`inherited`, by path) goes on doing so; what no setting names is closed, and said. Raises
    ConfigError, Conflict or Unreachable, as `bind`.
    """
    group, readers = group_id(settings.socket_group), group_id(settings.readers_group)
    doors = {str(settings.socket): (group, Admission(group=group, readers=readers))}
    if readers is not None:
        admission = Admission(group=group, readers=readers, for_looking=True)
        doors = {for_looking(str(settings.socket)): (readers, admission), **doors}
    for path in inherited.keys() - doors.keys():
        inherited[path].socket.close()
        logger.warning("nobody is answered at %s, where we were given a socket: no setting names it", path)
    return [_listener(path, *door, inherited.get(path), stack) for path, door in doors.items()]


def _listener(
    path: str, group: int | None, admission: Admission, left: Inherited | None, stack: contextlib.ExitStack
) -> Listener:
    bound = stack.enter_context(bind(Path(path), group, left.socket if left else None))
    return Listener(bound, admission, is_lent=left is not None and left.is_lent and bound is left.socket)
