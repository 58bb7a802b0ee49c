"""What people have done inside guests: commands, and files in parts. Nothing of it is remembered here."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from orchestrator.api import heeded
from orchestrator.api.guard import said
from orchestrator.api.instance_routes import QUESTIONS_MAX
from orchestrator.api.peers import caller_of
from orchestrator.api.places import Threads
from orchestrator.control.requests import Control
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.model import Instance
from orchestrator.ports import Inside

PART_BYTES = 512 * 1024  # of a file, at most, in one request
PATH_MAX_CHARS = 1024
OFFSET_MAX = 1 << 50
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}
_ID = re.compile(r"([0-9]{1,9})-([0-9]{1,9})-([0-9]{1,12})")
WORDS_MAX = 256
Word = Annotated[str, Field(max_length=65_536, pattern="^[^\\x00]*$")]
GuestPath = Annotated[str, Query(min_length=1, max_length=PATH_MAX_CHARS, description="in full, as the guest has it")]
Offset = Annotated[int, Query(ge=0, le=OFFSET_MAX)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CommandWish:
    """The body that has a program run in a guest. No shell reads it: for a pipe, ask /bin/sh -c."""

    __pydantic_config__ = heeded.WHOLE_BODY

    command: Annotated[tuple[Word, ...], Field(min_length=1, max_length=WORDS_MAX)]
    input: str = ""  # base64: what it reads from its standard input


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CommandView:
    """How a program in a guest has ended, or that it runs. `output` and `errors` are base64, at most 1 MiB each."""

    id: str
    ended: bool
    status: int | None = None  # exit status, -1 where a signal ended it; null while it runs
    output: str = ""
    errors: str = ""
    whole: bool = True  # false: it printed more than that


def inside_routes(control: Control) -> APIRouter:
    """The routes under /v1/instances/NAME/commands and /v1/instances/NAME/file."""
    router = APIRouter(prefix="/v1/instances/{name}", tags=["instances"])
    work = Threads("questions to guests", QUESTIONS_MAX)
    _commands(router, control, work)
    _files(router, control, work)
    return router


def _commands(router: APIRouter, control: Control, work: Threads) -> None:
    @router.post("/commands", status_code=202)
    async def begin_command(request: Request, name: str, wish: CommandWish) -> CommandView:
        """Starts a program in the guest, through its agent. How it ends is asked for by its id."""
        said(request, "exec", name, wish.command[0])  # what follows may hold secrets
        given = _given(wish.input)

        def begin() -> CommandView:
            instance, inside = _entered(control, name)
            pid = inside.begin(instance, wish.command, given)
            return CommandView(id=f"{instance.generation}-{instance.boot}-{pid}", ended=False)

        return await work.run(caller_of(request).party, begin)

    @router.get("/commands/{command_id}")
    async def get_command(request: Request, name: str, command_id: str) -> CommandView:
        """How a command has ended, or that it runs. The last ones can be asked for again, until the daemon ends."""

        def look() -> CommandView:
            parts = _ID.fullmatch(command_id)
            if parts is None:
                raise NotFound(f"there is no command {command_id[:40]!r}")
            instance, inside = _entered(control, name)
            if (instance.generation, instance.boot) != (int(parts[1]), int(parts[2])):
                told = f"{instance.name} has been started again since the command began"
                raise Conflict(told, hint=f"what it printed is lost; {_why(instance)}")
            ran = inside.ended(instance, int(parts[3]))
            if ran is None:
                return CommandView(id=command_id, ended=False)
            return CommandView(
                id=command_id,
                ended=True,
                status=ran.status,
                output=base64.b64encode(ran.output).decode(),
                errors=base64.b64encode(ran.errors).decode(),
                whole=ran.whole,
            )

        return await work.run(caller_of(request).party, look)


def _files(router: APIRouter, control: Control, work: Threads) -> None:
    @router.get("/file", response_class=Response, responses=_BYTES)
    async def read_file(
        request: Request,
        name: str,
        path: GuestPath,
        offset: Offset = 0,
        size_bytes: Annotated[int, Query(ge=1, le=PART_BYTES)] = PART_BYTES,
    ) -> Response:
        """A part of a file in the guest, through its agent; less than was asked for is the end of the file."""

        def read() -> bytes:
            instance, inside = _entered(control, name)
            return inside.read(instance, _whole(path), offset, size_bytes)

        return Response(await work.run(caller_of(request).party, read), media_type="application/octet-stream")

    @router.put("/file", status_code=204)
    async def write_file(request: Request, name: str, path: GuestPath, offset: Offset = 0) -> None:
        """Puts the body, of at most 512 KiB, to a place of a file in the guest: at 0 into a new or an emptied one."""
        said(request, "cp", name, path)
        data = await request.body()
        if len(data) > PART_BYTES:
            raise InvalidInput(f"a part of a file has at most {PART_BYTES} bytes", hint="send it in several")

        def write() -> None:
            instance, inside = _entered(control, name)
            inside.write(instance, _whole(path), offset, data)

        await work.run(caller_of(request).party, write)


def _entered(control: Control, name: str) -> tuple[Instance, Inside]:
    """The instance, whose VM there is, and the way into it."""
    instance = control.instance(name)
    if control.inside is None or not instance.phase.traits.has_vm:
        raise Conflict(f"{instance.name} is {instance.phase}: nothing runs there", hint=_why(instance))
    return instance, control.inside


def _why(instance: Instance) -> str:
    return f"ask: vmrole why {instance.name}"


def _given(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("the input of a command is base64") from error


def _whole(path: str) -> str:
    """The path, which begins at a root or a drive of the guest."""
    if "\0" in path or not (path.startswith("/") or re.match(r"[A-Za-z]:[\\/]", path)):
        raise InvalidInput(f"{path[:80]!r} is no path in full", hint=r"write /etc/hosts, or C:\file.txt")
    return path
