"""How fast answer files are made and checked: in this process, on one core, without a lab."""

from __future__ import annotations

import time
from dataclasses import replace

from vmrole_unattend.secret import Secret, SecretRef, SecretSource
from vmrole_unattend.windows import check, files
from vmrole_unattend.windows.answers import Account, Answers, Command, Machine, Script

ROUNDS = 7
DISCS = 60
CHECKS = 20
FILE_BYTES = 50_000


def _reveal(wanted: SecretRef) -> Secret:
    return Secret(f"S3cret-of-{wanted.name}")


def _secret(name: str) -> SecretRef:
    return SecretRef(source=SecretSource.ENV, name=name)


ANSWERS = Answers(
    organization="Contoso",
    administrator_password=_secret("admin"),
    accounts=(Account(name="Operator", password=_secret("operator")),),
    remote_desktop=True,
    static_network=True,
    specialize=(Command(line="cmd /c ver"),),
    scripts=(Script(name="first.cmd", text="echo hello\r\n"),),
)


def machine(index: int) -> Machine:
    """One of many instances: each has another name, address and disc."""
    return Machine(
        role="web",
        index=index,
        service="shop",
        instance=f"web-{index}.shop",
        generation=1,
        instance_id=f"7b0f3f0e-0000-4000-8000-{index:012}",
        mac=f"52:54:00:00:{index // 256:02x}:{index % 256:02x}",
        address=f"10.90.0.{10 + index % 200}/24",
        gateway="10.90.0.1",
        dns=("10.90.0.1",),
    )


def answers_per_s() -> list[float]:
    """Discs a second: rendered, validated and written as an ISO, each for another instance."""
    files.disc(ANSWERS, machine(0), _reveal)
    rates = []
    for number in range(ROUNDS):
        started_s = time.perf_counter()
        for index in range(DISCS):
            files.disc(ANSWERS, machine(number * DISCS + index), _reveal)
        rates.append(DISCS / (time.perf_counter() - started_s))
    return rates


def large_file() -> bytes:
    """An answer file of FILE_BYTES, as large ones are: ours, with very many commands."""
    many = [
        Command(line=f"cmd /c echo this is command {number}", description=f"number {number}") for number in range(150)
    ]
    made = b""
    while len(made) < FILE_BYTES:
        made = files.files(replace(ANSWERS, specialize=tuple(many)), machine(0), _reveal)["Unattend.xml"]
        many += many[:10]
    return made


def validate_file_ms() -> list[float]:
    """Milliseconds to check one file of 50 kB."""
    source = large_file()
    assert not [one for one in check.check(source) if one.severity is check.Severity.ERROR]
    times_ms = []
    for _ in range(CHECKS):
        started_s = time.perf_counter()
        check.check(source)
        times_ms.append((time.perf_counter() - started_s) * 1000)
    return times_ms
