"""What a Linux guest says of its auto-start services, and what we make of it. Pure: text in, `Services` out.

The script runs in the guest through its agent. It prints `key=value` lines and never more than a few kilobytes. It
asks little while the guest starts, because every process that it runs makes that later. `cloud-init status`, seconds
of Python on a slow guest, is asked only where the files that it reads itself do not say enough.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.drivers.tools.hostile_text import harmless, harmless_names, harmless_units
from orchestrator.model import Ready, Services, Unit, UnitState

READY_FILE: Final = "/run/vmrole/ready"
CLOUD_INIT_RESULT: Final = "/run/cloud-init/result.json"  # exists when cloud-init has finished in this boot
CLOUD_INIT: Final = "cloud-init"  # how `ready.ignore` names it

FORBIDDEN: Final = "the agent forbids guest-exec and guest-file-read"
CLOUD_INIT_DISABLED: Final = "/run/cloud-init/disabled"
CLOUD_INIT_SWITCHED_OFF: Final = "/etc/cloud/cloud-init.disabled"
DS_IDENTIFY_LOG: Final = "/run/cloud-init/ds-identify.log"
SWITCHED_OFF_BY_FILE: Final = f"cloud-init is switched off in the image: remove {CLOUD_INIT_SWITCHED_OFF} from it"
SWITCHED_OFF_WITHOUT_SOURCE: Final = (
    "cloud-init has switched itself off in this boot, for it found no data source when it looked: put the driver of "
    "the answer disc (isofs; with SATA sr_mod, too) into the image's initramfs, or "
    "datasource_list: [NoCloud, None] into /etc/cloud/cloud.cfg.d"
)
SWITCHED_OFF: Final = f"cloud-init is switched off in this boot: see {DS_IDENTIFY_LOG} and /proc/cmdline in the guest"
CONFINED: Final = (
    "the agent is confined and may not look (in the image, with SELinux: setsebool -P "
    "virt_qemu_ga_read_nonsecurity_files=on virt_qemu_ga_run_unconfined=on; in its unit: no InaccessiblePaths=)"
)

SCRIPT: Final = r"""
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
cloud_init() {
  setup=/var/lib/vmrole/setup-result.json
  [ -r $setup ] && echo "setup-result=$(tr -d '\n' <$setup | head -c 8000)"
  if [ -e /run/cloud-init/disabled ]; then
    echo cloud-init=disabled
  elif [ -r /run/cloud-init/result.json ]; then
    echo "cloud-init-result=$(tr -d '\n' </run/cloud-init/result.json | head -c 4000)"
  elif ! command -v cloud-init >/dev/null; then
    :
  elif [ -e /run/cloud-init/enabled ] || [ "$1" = other ]; then
    echo cloud-init=running
  else
    said=$(timeout 30 cloud-init status --format json 2>/dev/null)
    echo "cloud-init-exit=$?"
    echo "cloud-init-json=$(echo "$said" | tr -d '\n' | head -c 4000)"
  fi
}
if ! [ -d /run/systemd/system ]; then
  echo init=other
  [ -r /run/vmrole/ready ] && echo "ready=$(head -c 64 /run/vmrole/ready)"
  [ -d /run/vmrole ] && echo tells=itself
  cloud_init other
  exit 0
fi
echo init=systemd
said=$(timeout 5 systemctl is-system-running 2>&1)
case $said in
  *[Dd]enied* | *"not permitted"*)
    echo bus=denied
    cloud_init systemd
    exit 0
    ;;
esac
state=$(echo "$said" | tail -n 1)
echo "state=$state"
jobs=$(timeout 5 systemctl list-jobs --no-legend --plain 2>/dev/null | head -n 40)
[ -n "$jobs" ] && echo "$jobs" | while read -r _ unit kind _; do echo "job=$unit $kind"; done
case $state in running | degraded) ;; *) exit 0 ;; esac
timeout 5 systemctl list-units --failed --no-legend --plain 2>/dev/null | head -n 40 |
  while read -r unit _; do echo "failed=$unit"; done
for unit; do echo "unit=$(timeout 5 systemctl is-active -- "$unit" 2>/dev/null) $unit"; done
cloud_init systemd
exit 0
"""


def judge(said: str, ready: Ready, boot_id: str, *, checked: bool = False, alone: bool = False) -> Services | None:
    """What the script's output means for a guest in boot `boot_id`; None when it is not the script's output.

    `checked`: whether something of the role's own (its probe, its command, an endpoint's check) has to pass as well
    before traffic comes. `alone`: whether the guest sets itself up, so that no cloud-init is waited for.
    """
    lines: dict[str, list[str]] = collections.defaultdict(list)
    for line in said.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            lines[key].append(value.strip())
    match lines["init"]:
        case ["systemd"] if lines["bus"]:
            return _confined(lines, ready)
        case ["systemd"]:
            return _systemd(lines, ready)
        case ["other"]:
            return _other(lines, ready, boot_id, checked=checked, alone=alone)
        case _:
            return None


def has_systemd(said: str) -> bool:
    """Whether the script ran in a guest with systemd."""
    return said.startswith("init=systemd")


def by_marker(marker: str, ready: Ready, boot_id: str) -> Services:
    """For a guest without systemd: its services have started when the marker holds the id of the present boot."""
    if ready.units:
        missing = [_failed(unit, "this guest has no systemd") for unit in ready.units]
        return Services(started=False, units=harmless_units(missing))
    started = bool(boot_id) and marker.strip() == boot_id
    return Services(started=started, note="" if started else f"the guest has not written {READY_FILE} in this boot")


def by_result_file(result_json: str, ready: Ready) -> Services:
    """For a systemd guest whose agent forbids guest-exec: cloud-init's result file, which its last unit writes."""
    if ready.units or ready.command:
        return Services(started=False, units=(_failed("", _CANNOT_ASK),))
    failed = [] if CLOUD_INIT in ready.ignore else _errors(_object(result_json).get("v1"))
    note = "judged by cloud-init's result alone: the agent forbids guest-exec"
    return Services(started=not failed, units=harmless_units(failed), note=note, verdict=_verdict(failed))


def by_answering(ready: Ready, why: str = FORBIDDEN) -> Services:
    """For a guest whose agent runs and shows nothing, for the reason `why`: that it answers is all there is."""
    if ready.units or ready.command:
        told = _CANNOT_ASK if why == FORBIDDEN else f"{_CANNOT_ASK_FOR}: {why}"
        return Services(started=False, units=(_failed("", told),))
    return Services(started=True, note=f"judged by its answering alone: {why}")


_CANNOT_ASK_FOR: Final = "ready.units and ready.command cannot be asked for"
_CANNOT_ASK: Final = "ready.units and ready.command need guest-exec, which the guest's agent forbids"


def _other(lines: Mapping[str, Sequence[str]], ready: Ready, boot_id: str, *, checked: bool, alone: bool) -> Services:
    """A guest without systemd: what it says itself counts, else cloud-init's end and the role's own check."""
    marker = next(iter(lines.get("ready", ())), "")
    found = by_marker(marker, ready, boot_id)
    if found.started or found.failed or lines.get("tells"):
        return found
    word, errors = _cloud_init(lines)
    failed = [] if CLOUD_INIT in ready.ignore else [*_setup_errors(lines), *errors]
    if failed:
        failed = list(dict.fromkeys(failed))
        return Services(started=False, units=harmless_units(failed), verdict=_verdict(failed))
    if word == "absent" and not alone:
        return found
    if word not in ("done", "disabled", "absent"):
        return Services(started=False, units=(_pending(CLOUD_INIT),), note=f"cloud-init: {word}")
    if not checked:
        return dataclasses.replace(found, note=f"{found.note}, {_NOTHING_CHECKS}")
    by = "the role's own check alone" if word == "absent" else "cloud-init's end and the role's own check"
    return Services(started=True, note=f"this guest has no systemd: judged by {by}")


_NOTHING_CHECKS: Final = (
    "and it has no systemd: its setup has ended, but nothing of the role's tells whether it serves; "
    "give it ready.probe or ready.command, or have the guest write that file (docs/images-needs.md)"
)


def _confined(lines: Mapping[str, Sequence[str]], ready: Ready) -> Services:
    """A guest with systemd whose agent may not ask it: cloud-init's end, where that can be seen, and the probe."""
    if ready.units:
        return Services(started=False, units=(_failed("", f"ready.units cannot be asked for: {CONFINED}"),))
    word, errors = _cloud_init(lines)
    failed = [] if CLOUD_INIT in ready.ignore else [*_setup_errors(lines), *errors]
    if failed:
        failed = list(dict.fromkeys(failed))
        return Services(started=False, units=harmless_units(failed), verdict=_verdict(failed))
    if word == "running":
        return Services(started=False, units=(_pending(CLOUD_INIT),), note=f"cloud-init: {word}")
    by = "cloud-init's end" if word == "done" else "its answering"
    return Services(started=True, note=f"judged by {by} and the role's probe alone: {CONFINED}")


def _systemd(lines: Mapping[str, Sequence[str]], ready: Ready) -> Services:
    """All jobs are done, the state is one of the two final ones, and nothing that matters failed.

    "degraded" is "running" with failed units (systemctl(1)), which are judged one by one.
    """
    ignored = frozenset(ready.ignore)
    state = harmless(next(iter(lines.get("state", ())), ""), 40) or "unknown"
    jobs = [job.partition(" ")[0] for job in lines.get("job", ())]
    pending = [_pending(unit) for unit in jobs if unit not in ignored]
    failed = [_failed(unit) for unit in lines.get("failed", ()) if unit not in ignored]
    if state not in ("running", "degraded"):
        return Services(started=False, units=harmless_units(pending), note=f"systemd: {state}")
    note = "systemd: degraded" if state == "degraded" and not lines.get("failed") else ""  # The list did not come.
    answers = dict(_state_and_unit(line) for line in lines.get("unit", ()))
    for unit in ready.units:
        found = answers.get(unit, "unknown")
        if found == "failed":
            failed.append(_failed(unit))
        elif found != "active":
            pending.append(_pending(unit, found))
    lasting: list[Unit] = []
    if CLOUD_INIT not in ignored:
        word, errors = _cloud_init(lines)
        lasting = [*_setup_errors(lines), *errors]
        failed += lasting
        if word not in ("done", "disabled", "absent"):
            pending.append(_pending(CLOUD_INIT))
            note = f"cloud-init: {word}"
    failed = list(dict.fromkeys(failed))
    return Services(
        started=not pending and not failed and not note,
        units=(*harmless_units(failed), *harmless_units(pending)),
        note=note,
        verdict="" if pending or note else _verdict(lasting),
    )


def _failed(name: str, why: str = "") -> Unit:
    return Unit(name, UnitState.FAILED, why)


def _pending(name: str, how: str = "") -> Unit:
    return Unit(name, UnitState.PENDING, how)


def _verdict(errors: Sequence[Unit]) -> str:
    """The sentence about errors of a setup that is over, "" without any: no restart and no reimage mends them."""
    if not errors:
        return ""
    hint = f"correct the answers or the image; if it does not matter: ready: {{ignore: [{CLOUD_INIT}]}}"
    return f"setup has finished with an error: {', '.join(harmless_names(list(map(str, errors))))} ({hint})"


def _state_and_unit(line: str) -> tuple[str, str]:
    state, _, unit = line.partition(" ")
    return unit, harmless(state, 20) or "unknown"


def _cloud_init(lines: Mapping[str, Sequence[str]]) -> tuple[str, list[Unit]]:
    """Its state and its errors. It has ended when its result file is there, whose errors are those that it did not
    get over. Of `cloud-init status` the JSON decides: exit status 2 means "done" since 23.4 and is unknown before.
    """
    if "cloud-init" in lines:
        return harmless(lines["cloud-init"][0], 20) or "unknown", []
    if "cloud-init-result" in lines:
        result = _object(lines["cloud-init-result"][0])
        return ("done", _errors(result.get("v1"))) if result else ("unknown", [])
    if "cloud-init-exit" not in lines:
        return "absent", []
    said = _object(next(iter(lines.get("cloud-init-json", ())), ""))
    status = said.get("status")
    match status:
        case "done" | "disabled":
            return status, []
        case "error":
            return "done", _errors(said) or [_failed(CLOUD_INIT, "error")]
        case str():
            return harmless(status, 20) or "unknown", []
        case _:
            return "unknown", []


def _setup_errors(lines: Mapping[str, Sequence[str]]) -> list[Unit]:
    """What went wrong in the setup boot: our disc's last script keeps it, for its restart takes /run away."""
    kept = _object(next(iter(lines.get("setup-result", ())), ""))
    result, problems = kept.get("result"), kept.get("problems")
    told = [_failed("setup", str(one)[:1000]) for one in problems] if isinstance(problems, list) else []
    return told + (_errors(result.get("v1")) if isinstance(result, dict) else [])


def _errors(said: object) -> list[Unit]:
    errors = said.get("errors") if isinstance(said, dict) else None
    if not isinstance(errors, list):
        return []
    return [_failed(CLOUD_INIT, str(error)[:1000]) for error in errors]


def _object(text: str) -> dict[str, Any]:
    """`text` as a JSON object; empty when it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
