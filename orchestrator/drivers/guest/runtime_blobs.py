"""Blobs by the runtime channel: what a guest puts, gets, lists and removes, a bounded part on each line.

The first part begins a put, the last one ends it; until then nothing of it is a blob. A line holds PART_BYTES at
most, and of each guest one line is held and one put is open, so that the daemon's memory does not grow with blobs.
Files are written in threads of their own: a slow disk holds up who has to do with blobs, and nobody else.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import concurrent.futures
import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from orchestrator.drivers.guest.runtime_requests import NO_PARAMS, TOO_OFTEN, Refused, Request, only
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.errors import Conflict, InvalidInput, NotFound, StaleRevision
from orchestrator.model import InstanceName
from orchestrator.model.blob import Blob, BlobPut, Of, blob_name, check_version
from orchestrator.ports import BlobDesk

T = TypeVar("T")
MayChange = Callable[[], bool]
METHODS: Final = ("blob.put", "blob.get", "blob.ls", "blob.rm")
STALE, NOT_THERE, FULL = -32002, -32003, -32004
PART_BYTES: Final = 11 * 1024  # as base64, with the rest of the request, less than a line
LISTED_MOST: Final = 50  # on one line
CHANGES: Final = (20.0, 0.5)  # how often a guest begins a put or removes a blob; see runtime_channel.Allowance
THREADS: Final = 4
IDLE_LOOK_S: Final = 30.0


class RuntimeBlobs:
    """On the event loop of the runtime channel; `close` and `forget` from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, desk: BlobDesk) -> None:
        self._loop = loop
        self._desk = desk
        self._threads = concurrent.futures.ThreadPoolExecutor(THREADS, "blobs")
        self._looks = False  # whether it is looked for what nobody goes on with

    def close(self) -> None:
        """No more is begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def forget(self, name: InstanceName) -> None:
        """The guest's VM is gone: what it had begun to put goes."""
        with contextlib.suppress(RuntimeError):  # closed
            self._threads.submit(self._desk.give_up, name)

    async def do(self, name: InstanceName, request: Request, may_change: MayChange) -> Mapping[str, object]:
        """The result of one of METHODS. `may_change` takes one of what the guest may change; False: too often.

        Raises Refused.
        """
        try:
            match request.method:
                case "blob.put":
                    return await self._put(name, request, may_change)
                case "blob.get":
                    return await self._get(name, request)
                case "blob.ls":
                    return await self._ls(name, request)
                case _:
                    return await self._rm(name, request, may_change)
        except InvalidInput as error:
            raise Refused(NO_PARAMS, _told(error), request.request_id) from None
        except StaleRevision as error:
            raise Refused(STALE, _told(error), request.request_id) from None
        except Conflict as error:
            raise Refused(FULL, _told(error), request.request_id) from None
        except NotFound as error:
            raise Refused(NOT_THERE, _told(error), request.request_id) from None

    async def _put(self, name: InstanceName, request: Request, may_change: MayChange) -> Mapping[str, object]:
        only(request, ("name", "put", "size", "sha256", "offset", "data", "if_version", "of"))
        of, offset, data = _of(request), _count(request, "offset", 0), _data(request)
        put = BlobPut(
            name=_word(request, "name"),
            put_id=_word(request, "put"),
            size_bytes=_count(request, "size"),
            sha256=_word(request, "sha256"),
            if_version=_word(request, "if_version") if "if_version" in request.params else None,
        )
        if offset == 0:
            _spend(request, may_change)
            self._look_for_idle()
        done = await self._aside(functools.partial(self._desk.part, name, of, put, offset, data))
        return {"put": put.put_id, "taken": done} if isinstance(done, int) else shown(done)

    async def _get(self, name: InstanceName, request: Request) -> Mapping[str, object]:
        only(request, ("name", "offset", "version", "of"))
        of, offset, version = _of(request), _count(request, "offset", 0), str(request.params.get("version", ""))
        blob = blob_name(_word(request, "name"))
        if version:
            check_version(version)
        asked = functools.partial(self._desk.read, name, of, blob, offset, PART_BYTES, version)
        found, data = await self._aside(asked)
        return shown(found) | {"offset": offset, "data": base64.b64encode(data).decode()}

    async def _ls(self, name: InstanceName, request: Request) -> Mapping[str, object]:
        only(request, ("after", "of"))
        of, after = _of(request), request.params.get("after", "")
        if not isinstance(after, str):
            raise Refused(NO_PARAMS, "after: a name", request.request_id)
        found = await self._aside(functools.partial(self._desk.all, name, of))
        more = [one for one in found if one.name > after]
        return {"blobs": [shown(one) for one in more[:LISTED_MOST]], "more": len(more) > LISTED_MOST}

    async def _rm(self, name: InstanceName, request: Request, may_change: MayChange) -> Mapping[str, object]:
        only(request, ("name", "if_version", "of"))
        of, blob = _of(request), blob_name(_word(request, "name"))
        if_version = _word(request, "if_version") if "if_version" in request.params else None
        _spend(request, may_change)
        return shown(await self._aside(functools.partial(self._desk.remove, name, of, blob, if_version)))

    async def _aside(self, work: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._threads, work)

    def _look_for_idle(self) -> None:
        """Looks again as long as there is anything."""
        if not self._looks:
            self._looks = True
            self._loop.call_later(IDLE_LOOK_S, self._drop_idle)

    def _drop_idle(self) -> None:
        self._looks = False
        with contextlib.suppress(RuntimeError):  # closed
            looking = self._threads.submit(self._desk.give_up_idle)
            looking.add_done_callback(self._again)

    def _again(self, looking: concurrent.futures.Future[int]) -> None:
        if not looking.cancelled() and looking.exception() is None and looking.result():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._look_for_idle)


def shown(blob: Blob) -> dict[str, object]:
    """A blob as a guest has it."""
    return {
        "name": blob.name,
        "version": blob.version,
        "size": blob.size_bytes,
        "sha256": blob.sha256,
        "put_at": blob.put_at_s,
    }


def _told(error: Exception) -> str:
    hint = getattr(error, "hint", "")
    return harmless(f"{error}; {hint}" if hint else str(error), 400)


def _spend(request: Request, may_change: MayChange) -> None:
    if not may_change():
        told = f"{request.method}: too often; {CHANGES[0]:.0f} at once, then one in {CHANGES[1]:g} s"
        raise Refused(TOO_OFTEN, told, request.request_id)


def _of(request: Request) -> Of:
    try:
        return Of(request.params.get("of", Of.INSTANCE))
    except ValueError:
        raise Refused(NO_PARAMS, f"of: {' or '.join(Of)}", request.request_id) from None


def _word(request: Request, key: str) -> str:
    value = request.params.get(key)
    if not isinstance(value, str):
        raise Refused(NO_PARAMS, f"{key}: a text", request.request_id)
    return value


def _count(request: Request, key: str, unless: int | None = None) -> int:
    value = request.params.get(key, unless)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise Refused(NO_PARAMS, f"{key}: a whole number of bytes", request.request_id)
    return value


def _data(request: Request) -> bytes:
    try:
        data = base64.b64decode(_word(request, "data"), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(NO_PARAMS, "data: base64", request.request_id) from None
    if len(data) > PART_BYTES:
        raise Refused(NO_PARAMS, f"data: at most {PART_BYTES} bytes a part", request.request_id)
    return data
