"""What a generalized Windows image can be told: wishes of a role, and which machine they are for. Values only.

`Answers` are the same for all instances of a role and hold no secret, only references to them; `Machine` says which
instance it is. Together they make the files of one disc. Limits and passes: Microsoft's Unattended Windows Setup
Reference, CC-BY-4.0.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from vmrole_unattend.secret import SecretRef


class Architecture(enum.StrEnum):
    """processorArchitecture of the components."""

    AMD64 = "amd64"
    X86 = "x86"
    ARM64 = "arm64"


class Edition(enum.StrEnum):
    """A client needs a local account; a server needs the administrator's password."""

    SERVER = "server"
    CLIENT = "client"


class Windows(enum.StrEnum):
    """A release. What differs between them is asked of `at_least`."""

    W2008R2 = "2008r2"
    W2012 = "2012"
    W2012R2 = "2012r2"
    W2016 = "2016"
    W2019 = "2019"
    W2022 = "2022"
    W2025 = "2025"
    W7 = "7"
    W8 = "8"
    W81 = "8.1"
    W10 = "10"
    W11 = "11"

    @property
    def edition(self) -> Edition:
        """Servers are named by their year."""
        return Edition.SERVER if self.value.startswith("20") else Edition.CLIENT

    def at_least(self, *build: int) -> bool:
        """Whether this release has that build number or a later one, e.g. `at_least(6, 2)`."""
        return BUILDS[self] >= build


BUILDS: Mapping[Windows, tuple[int, int, int]] = {
    Windows.W2008R2: (6, 1, 7600),
    Windows.W7: (6, 1, 7600),
    Windows.W2012: (6, 2, 9200),
    Windows.W8: (6, 2, 9200),
    Windows.W2012R2: (6, 3, 9600),
    Windows.W81: (6, 3, 9600),
    Windows.W10: (10, 0, 10240),
    Windows.W2016: (10, 0, 14393),
    Windows.W2019: (10, 0, 17763),
    Windows.W2022: (10, 0, 20348),
    Windows.W11: (10, 0, 22000),
    Windows.W2025: (10, 0, 26100),
}
"""The first build of each release."""


class Restart(enum.StrEnum):
    """WillReboot of a command at specialize."""

    NEVER = "Never"
    ALWAYS = "Always"
    ON_REQUEST = "OnRequest"  # exit status 1: restart and go on; 2: restart and run it again; others are fatal


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A local account. `group` may name several, separated by ';'."""

    name: str
    password: SecretRef
    group: str = "Administrators"
    display_name: str = ""
    description: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A domain to join: with credentials, with an offline-join blob, or unsecured (neither); or a workgroup."""

    domain: str = ""
    user: str = ""
    user_domain: str = ""  # the account's, when it is not the domain that is joined
    password: SecretRef | None = None
    unit: str = ""  # MachineObjectOU, a distinguished name
    blob: SecretRef | None = None  # what `djoin /provision` printed: base64
    unsecure: bool = False
    workgroup: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line that runs at specialize, as SYSTEM."""

    line: str
    description: str = ""
    restart: Restart = Restart.NEVER


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A file that stands on the disc under vmrole\\NAME; it holds no secret, for its text is stored."""

    name: str
    text: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a role wishes of its Windows instances. Every field may be left as it is.

    `computer_name` is a pattern: {role}, {index} and {service} are put in; at most 15 bytes must come out.
    """

    windows: Windows = Windows.W2022
    edition: Edition = Edition.SERVER
    architecture: Architecture = Architecture.AMD64
    computer_name: str = "{role}-{index}"
    time_zone: str = "UTC"  # a name of Windows': tzutil /l
    locale: str = "en-US"  # UserLocale and SystemLocale
    ui_language: str = ""  # UILanguage; the image's own when empty
    keyboard: str = ""  # InputLocale, e.g. "0407:00000407"; the locale's when empty
    organization: str = ""
    owner: str = ""
    product_key: SecretRef | None = None
    administrator_password: SecretRef | None = None
    accounts: tuple[Account, ...] = ()
    join: Join = Join()
    static_network: bool = False  # the address that the instance has anyway, written down instead of asked by DHCP
    remote_desktop: bool = False
    firewall_groups: tuple[str, ...] = ()  # e.g. "@FirewallAPI.dll,-28752": the same in every language
    specialize: tuple[Command, ...] = ()
    first_logon: tuple[str, ...] = ()  # command lines, one after the other, run by the one script of ours
    scripts: tuple[Script, ...] = ()
    own_xml: str = dataclasses.field(default="", repr=False)  # the user's Unattend.xml; ours is merged into it
    own_xml_from: SecretRef | None = None  # the same, kept elsewhere because it holds passwords


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Which instance a disc is for, in one generation. `address` in CIDR; `mac` as 52:54:00:12:34:56."""

    role: str
    index: int
    service: str
    instance: str  # "web-0.shop"
    generation: int
    instance_id: str  # UUID, new for each generation
    mac: str
    address: str
    gateway: str
    dns: tuple[str, ...] = ()
    local_storage: tuple[str, ...] = ()  # names of its disks
    blank_storage: tuple[str, ...] = ()  # those of them that nothing has ever been written to


def secrets_of(answers: Answers) -> tuple[SecretRef, ...]:
    """Every secret that the answers name; a disc without any may lie anywhere."""
    named = (
        answers.product_key,
        answers.administrator_password,
        answers.own_xml_from,
        answers.join.password,
        answers.join.blob,
        *(account.password for account in answers.accounts),
    )
    return tuple(one for one in named if one is not None)
