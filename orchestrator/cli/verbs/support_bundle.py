"""`vmrole support-bundle`: what somebody who is to help has to know of this host."""

from __future__ import annotations

import dataclasses
import io
import os
import platform
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from orchestrator import __version__
from orchestrator.cli import render
from orchestrator.cli.options import config_option, examples
from orchestrator.cli.whole_files import whole_or_none
from orchestrator.client import states
from orchestrator.client.client import Client
from orchestrator.client.clock import now_s
from orchestrator.errors import Conflict, NotFound, Unreachable, VmroleError

if TYPE_CHECKING:
    from orchestrator.host.config import Settled

WHY_MOST: Final = 50  # instances that do not serve
LOG_LINES: Final = 20_000
_LOG_MAX_BYTES: Final = 4 << 20
_JOURNAL_WITHIN_S: Final = 60.0
_JOURNAL: Final = (
    "journalctl",
    "--unit=vmrole",
    "--no-pager",
    "--quiet",
    "--output=short-iso",
    f"--lines={LOG_LINES}",
)
_FOLDER: Final = "vmrole-support"


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """Whom the parts are asked of. `settled` raises ConfigError where the configuration is faulty."""

    client: Client
    settled: Callable[[], Settled]

    def require_here(self) -> None:
        """Raises Unreachable for what another host's files and journal would have to say."""
        if self.client.host:
            told = f"it is of this host, and the daemon is on {self.client.host}"
            raise Unreachable(told, hint="run vmrole support-bundle there")


@click.command(epilog=examples("vmrole support-bundle vmrole-support.tar.gz"))
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@click.pass_obj
def support_bundle(client: Client, file: Path, config: Path | None) -> None:
    """Writes to FILE, a tar.gz of mode 0600, what somebody who is to help has to know; read it before you send it.

    In it: versions; services, instances, images, operations and events as `get -o json` shows them, which is without
    user-data and commands; why instances do not serve; what verify and doctor say; the configuration; and the end of
    the daemon's log, where the journal has it and you may read it. What cannot be had is named in missing.txt.

    Not in it: consoles, evidence, disks, and secrets. The values of this host's own secrets are taken out of all
    texts as far as you may read them, so root's bundle is the safest.
    """
    from orchestrator.cli.hiding import hide, secrets_of
    from orchestrator.host import config as configuration

    if os.path.lexists(file):
        raise Conflict(f"{file} exists, and is not replaced", hint="give another name, or move it away")

    def settled() -> Settled:
        return configuration.settle(config)

    try:
        secrets = secrets_of(settled().config)
    except VmroleError:
        secrets = secrets_of(configuration.Config())
    missing: list[str] = []
    with whole_or_none(file) as target, tarfile.open(fileobj=target, mode="w:gz") as bundle:
        for name, part in _PARTS.items():
            try:
                _add(bundle, name, hide(part(_Asked(client, settled)), secrets))
            except VmroleError as error:
                missing.append(hide(f"{name}: {error}" + (f" ({error.hint})" if error.hint else ""), secrets))
        _add(bundle, "missing.txt", "".join(f"{line}\n" for line in missing))
    for line in missing:
        render.say(f"missing: {render.plain(line)}")
    render.show([f"{render.plain(str(file))}: {file.stat().st_size} bytes; look through it before you give it away"])


def _add(bundle: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode(errors="replace")
    entry = tarfile.TarInfo(f"{_FOLDER}/{name}")
    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(now_s())
    bundle.addfile(entry, io.BytesIO(content))


def _versions(asked: _Asked) -> str:
    try:
        daemon = asked.client.health()["version"]
    except VmroleError as error:
        daemon = str(error)
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        system = ""
    return _json(
        {
            "vmrole": __version__,
            "daemon": daemon,
            "python": platform.python_version(),
            "kernel": platform.release(),
            "machine": platform.machine(),
            "system": system,
        }
    )


def _why(asked: _Asked) -> str:
    """Sentences about those that do not serve."""
    ill = [each["name"] for each in asked.client.instances() if not states.serves(each["phase"])]
    lines = []
    for name in ill[:WHY_MOST]:
        try:
            lines += [*asked.client.why(name), ""]
        except NotFound:
            lines += [f"{name} has gone meanwhile.", ""]
    lines += [f"and {len(ill) - WHY_MOST} more"] if len(ill) > WHY_MOST else []
    return "".join(f"{line}\n" for line in lines)


def _configuration(asked: _Asked) -> str:
    from orchestrator.host.config import written

    asked.require_here()
    settled = asked.settled()
    rows = {key: [written(getattr(settled.config, key)), origin] for key, origin in settled.origins.items()}
    return _json(rows)


def _doctor(asked: _Asked) -> str:
    from orchestrator.host.doctor import each

    asked.require_here()
    config = asked.settled().config
    render.say("doctor tries this host, which may take a minute")
    rows = ([str(check.verdict), check.name, check.message, check.remedy] for check in each(config))
    return "".join(f"{'  '.join(filter(None, row))}\n" for row in rows)


def _log(asked: _Asked) -> str:
    """The end of what the journal has of the daemon's unit."""
    asked.require_here()
    try:
        done = subprocess.run(
            _JOURNAL,
            capture_output=True,
            timeout=_JOURNAL_WITHIN_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError as error:
        raise Unreachable("there is no journal", hint="add what the daemon wrote to its stderr by hand") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"the journal cannot be asked: {error}") from error
    text = _end_of(done.stdout)
    if done.returncode != 0 or not text.strip():
        why = done.stderr.decode(errors="replace").strip().partition("\n")[0] or "it has nothing of the unit vmrole"
        hint = "ask as root, or add by hand what the daemon wrote to its stderr"
        raise Unreachable(f"the journal cannot be read: {why}", hint=hint)
    return text


def _end_of(log: bytes) -> str:
    """Its last lines, none of them in part: half a secret would be known as none."""
    if len(log) <= _LOG_MAX_BYTES:
        return log.decode(errors="replace")
    return log[-_LOG_MAX_BYTES:].partition(b"\n")[2].decode(errors="replace")


def _json(value: Any) -> str:  # noqa: ANN401 - what the API answers
    return render.dump(value, "json") + "\n"


_PARTS: Final[dict[str, Callable[[_Asked], str]]] = {
    "versions.json": _versions,
    "services.json": lambda asked: _json(asked.client.services(seats=True)),
    "instances.json": lambda asked: _json(asked.client.instances(seats=True)),
    "images.json": lambda asked: _json(asked.client.images()),
    "operations.json": lambda asked: _json(asked.client.operations()),
    "events.json": lambda asked: _json(asked.client.events()),
    "verify.json": lambda asked: _json(asked.client.findings()),
    "why.txt": _why,
    "configuration.json": _configuration,
    "doctor.txt": _doctor,
    "daemon.log": _log,
}
