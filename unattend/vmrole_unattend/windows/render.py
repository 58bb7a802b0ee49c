"""Unattend.xml for a generalized image: one function per subject, in the order of the passes.

Elements that are defaults of ours are marked, so that `merge` lets a user's own file win there. Which setting stands
in which pass, and in which order, is Microsoft's reference's; what differs between releases stands where it is made.
"""

from __future__ import annotations

import base64
import ipaddress
import re

from lxml import etree

from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.secret import Reveal, SecretRef
from vmrole_unattend.windows import guest_command, passwords
from vmrole_unattend.windows.answers import Answers, Edition, Machine
from vmrole_unattend.windows.names import computer_name
from vmrole_unattend.windows.product_key import product_key
from vmrole_unattend.windows.tree import Pass, add, item, root

SHELL = "Microsoft-Windows-Shell-Setup"
INTERNATIONAL = "Microsoft-Windows-International-Core"
REMOTE_DESKTOP_GROUP = "@FirewallAPI.dll,-28752"  # "Remote Desktop" in the language of the image
_DEFAULTS = Answers()


def render(answers: Answers, machine: Machine, reveal: Reveal) -> bytes:
    """The file for one machine, with the marks that `merge` reads (`merge.strip_marks` takes them away).

    The same arguments give the same bytes. Raises AnswersInvalid for what Windows would refuse.
    """
    top = root()
    instance = re.sub("-(?=-)", "- ", machine.instance)  # No comment in XML holds two hyphens side by side.
    top.append(
        etree.Comment(f" vmrole instance {instance} generation {machine.generation} id {machine.instance_id} ")
    )
    specialize = Pass(top, "specialize", answers.architecture)
    _identity(specialize, answers, machine, reveal)
    _commands(specialize, answers)
    _international(specialize, answers)
    if answers.static_network:
        _network(specialize, machine)
    _join(specialize, answers, reveal)
    _remote_access(specialize, answers)
    oobe = Pass(top, "oobeSystem", answers.architecture)
    _international(oobe, answers)
    _welcome(oobe, answers)
    _accounts(oobe, answers, reveal)
    _first_logon(oobe, answers)
    etree.indent(top, "  ")
    return etree.tostring(top, xml_declaration=True, encoding="utf-8") + b"\n"


# specialize ---------------------------------------------------------------------------------------------------


def _identity(settings: Pass, answers: Answers, machine: Machine, reveal: Reveal) -> None:
    shell = settings.component(SHELL)
    name = computer_name(answers.computer_name, role=machine.role, index=machine.index, service=machine.service)
    add(shell, "ComputerName", name)
    add(shell, "TimeZone", answers.time_zone, default=answers.time_zone == _DEFAULTS.time_zone)
    for element, text in (("RegisteredOwner", answers.owner), ("RegisteredOrganization", answers.organization)):
        if text:
            add(shell, element, text)
    if answers.product_key is not None:  # An empty element makes Setup fail, so there is none without a key.
        add(shell, "ProductKey", product_key(reveal(answers.product_key)))


def _commands(settings: Pass, answers: Answers) -> None:
    deployment = settings.component("Microsoft-Windows-Deployment")
    extend = add(deployment, "ExtendOSPartition", default=True)
    add(extend, "Extend", "true")
    commands = add(deployment, "RunSynchronous")
    lines = [(guest_command.from_disc(guest_command.SPECIALIZE), "vmrole: notes which boot runs setup", "Never")]
    lines += [(one.line, one.description, one.restart.value) for one in answers.specialize]
    for order, (line, description, restart) in enumerate(lines, start=1):
        command = item(commands, "RunSynchronousCommand")
        add(command, "Order", str(order))
        if description:
            add(command, "Description", description)
        add(command, "Path", line)
        add(command, "WillReboot", restart)


def _international(settings: Pass, answers: Answers) -> None:
    core = settings.component(INTERNATIONAL)
    default = answers.locale == _DEFAULTS.locale
    keyboard = answers.keyboard or answers.locale
    add(core, "InputLocale", keyboard, default=default and not answers.keyboard)
    add(core, "SystemLocale", answers.locale, default=default)
    if answers.ui_language:
        add(core, "UILanguage", answers.ui_language)
    add(core, "UserLocale", answers.locale, default=default)


def _network(settings: Pass, machine: Machine) -> None:
    """The address by the card's MAC: no name or number of a card is known before it runs.

    Windows wants the children of Interface and of Route in this order; Microsoft's reference of both.
    """
    mac = machine.mac.replace(":", "-").upper()
    interface = item(add(settings.component("Microsoft-Windows-TCPIP"), "Interfaces"), "Interface")
    add(add(interface, "Ipv4Settings"), "DhcpEnabled", "false")
    add(interface, "Identifier", mac)
    add_item(add(interface, "UnicastIpAddresses"), "IpAddress", "1", machine.address)
    if machine.gateway:
        route = item(add(interface, "Routes"), "Route")
        add(route, "Identifier", "1")
        add(route, "NextHopAddress", machine.gateway)
        add(route, "Prefix", "0.0.0.0/0")
    if machine.dns:
        client = item(add(settings.component("Microsoft-Windows-DNS-Client"), "Interfaces"), "Interface")
        add(client, "Identifier", mac)
        order = add(client, "DNSServerSearchOrder")
        for number, server in enumerate(machine.dns, start=1):
            add_item(order, "IpAddress", str(number), str(ipaddress.ip_address(server)))


def add_item(parent: etree._Element, name: str, key: str, text: str) -> None:
    """A member of a list that is told from the others by a key of its own."""
    item(parent, name, key=key).text = text


def _join(settings: Pass, answers: Answers, reveal: Reveal) -> None:
    join = answers.join
    if not (join.domain or join.workgroup or join.blob):
        return
    identification = add(settings.component("Microsoft-Windows-UnattendedJoin"), "Identification")
    if join.blob is not None:
        add(add(identification, "Provisioning"), "AccountData", _blob(join.blob, reveal))
    elif join.workgroup:
        add(identification, "JoinWorkgroup", join.workgroup)
    else:
        if join.password is not None:  # This is the one password that Windows offers no way to hide.
            credentials = add(identification, "Credentials")
            add(credentials, "Domain", join.user_domain or join.domain)
            add(credentials, "Password", _plain(join.password, reveal))
            add(credentials, "Username", join.user)
        add(identification, "JoinDomain", join.domain)
        if join.unit:
            add(identification, "MachineObjectOU", join.unit)
        if join.unsecure:
            add(identification, "UnsecureJoin", "true")


def _remote_access(settings: Pass, answers: Answers) -> None:
    groups = list(answers.firewall_groups)
    if answers.remote_desktop:
        sessions = settings.component("Microsoft-Windows-TerminalServices-LocalSessionManager")
        add(sessions, "fDenyTSConnections", "false")
        stations = settings.component("Microsoft-Windows-TerminalServices-RDP-WinStationExtensions")
        add(stations, "UserAuthentication", "1")
        if REMOTE_DESKTOP_GROUP not in groups:
            groups.append(REMOTE_DESKTOP_GROUP)
    if groups:
        firewall = add(settings.component("Networking-MPSSVC-Svc"), "FirewallGroups")
        for number, group in enumerate(groups, start=1):
            opened = item(firewall, "FirewallGroup", key=f"vmrole{number}")
            add(opened, "Active", "true")
            add(opened, "Group", group)
            add(opened, "Profile", "all")


# oobeSystem ---------------------------------------------------------------------------------------------------


def _welcome(settings: Pass, answers: Answers) -> None:
    """Nothing is asked. Elements that a release does not know make Setup refuse the file, so they are left out."""
    oobe = add(settings.component(SHELL), "OOBE")
    hidden = ["HideEULAPage"]
    if answers.windows.at_least(6, 2):
        hidden.append("HideLocalAccountScreen")
        hidden.append("HideOEMRegistrationScreen")
        if answers.edition is Edition.CLIENT:
            hidden.append("HideOnlineAccountScreens")
    hidden.append("HideWirelessSetupInOOBE")
    for element in hidden:
        add(oobe, element, "true", default=True)
    if not answers.windows.at_least(10, 0):
        add(oobe, "NetworkLocation", "Work", default=True)
    add(oobe, "ProtectYourPC", "3", default=True)


def _accounts(settings: Pass, answers: Answers, reveal: Reveal) -> None:
    if answers.administrator_password is None and not answers.accounts:
        return
    accounts = add(settings.component(SHELL), "UserAccounts")
    if answers.administrator_password is not None:
        _password(accounts, passwords.ADMINISTRATOR, answers.administrator_password, reveal)
    if not answers.accounts:
        return
    listed = add(accounts, "LocalAccounts")
    for account in answers.accounts:
        made = item(listed, "LocalAccount")
        _password(made, passwords.ACCOUNT, account.password, reveal)
        for element, text in (("Description", account.description), ("DisplayName", account.display_name)):
            if text:
                add(made, element, text)
        add(made, "Group", account.group, default=account.group == "Administrators")
        add(made, "Name", account.name)


def _first_logon(settings: Pass, answers: Answers) -> None:
    """One command that runs one script: Windows 10 and later start all of them at once."""
    if not answers.first_logon:
        return
    command = item(add(settings.component(SHELL), "FirstLogonCommands"), "SynchronousCommand")
    add(command, "CommandLine", guest_command.from_copy(guest_command.FIRST_LOGON))
    add(command, "Description", "vmrole: commands of the first logon")
    add(command, "Order", "1")
    add(command, "RequiresUserInput", "false")


def _password(parent: etree._Element, element: str, wanted: SecretRef, reveal: Reveal) -> None:
    secret = reveal(wanted)
    try:
        value = passwords.encode(secret, element)
    except AnswersInvalid as refused:
        raise AnswersInvalid(refused.message, where=str(wanted), hint=refused.hint) from None
    hidden = add(parent, element)
    add(hidden, "Value", value)
    add(hidden, "PlainText", "false")


def _plain(wanted: SecretRef, reveal: Reveal) -> str:
    try:
        return passwords.plain(reveal(wanted))
    except AnswersInvalid as refused:
        raise AnswersInvalid(refused.message, where=str(wanted), hint=refused.hint) from None


def _blob(wanted: SecretRef, reveal: Reveal) -> str:
    """What `djoin /provision /printblob` printed; whether a domain knows it, nobody here can say."""
    blob = "".join(reveal(wanted).reveal().split())
    try:
        whole = bool(base64.b64decode(blob, validate=True))
    except ValueError:  # Not chained: the error may quote the blob.
        whole = False
    if not whole:
        raise AnswersInvalid(
            "this is no offline-join blob",
            where=str(wanted),
            hint="what `djoin /provision /printblob` prints: base64",
        )
    return blob
