"""The same for Windows, and what is wrong with a changed one."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator import servicefile
from orchestrator.errors import InvalidInput, Problem
from orchestrator.model import AnswerFormat, Firmware, Hardware, Image, Os, Role
from tests.world.images import MICRO

WINDOWS = dataclasses.replace(
    MICRO,
    os=Os.WINDOWS,
    names=("w2022",),
    answers=AnswerFormat.UNATTEND,
    hardware=Hardware(firmware=Firmware.SECURE_BOOT, tpm=True),
)


GOOD = """service: shop
vip: 203.0.113.10
roles:
  web:
    image: w2022
    instances: 2
    answers:
      unattend:
        windows: 2022
        edition: server
        computerName: "WEB{index}"
        timeZone: W. Europe Standard Time
        locale: de-DE
        organization: Contoso
        administratorPassword: {file: /etc/vmrole/admin}
        productKey: {env: KEY}
        accounts:
          Operator: {password: {credential: operator}, group: Users}
        join: {domain: corp.example, user: joiner, password: {file: /etc/vmrole/join}}
        remoteDesktop: true
        specialize:
          - {run: cmd /c ver, description: shows the version, restart: OnRequest}
        firstLogon: [cmd /c first.cmd]
        scripts:
          first.cmd: |
            echo hello
    ready: {services: [W3SVC], ignore: [Spooler], delayed: true}
"""


def parse(source: str, image: Image = WINDOWS, why_not: str = "") -> Role:
    """The one role of the file."""
    return servicefile.parse(source, lambda _: image, lambda *_: why_not).roles[0]


def problems(source: str, image: Image = WINDOWS, why_not: str = "") -> tuple[Problem, ...]:
    """What is wrong with the file."""
    with pytest.raises(InvalidInput) as caught:
        parse(source, image, why_not)
    return caught.value.problems
