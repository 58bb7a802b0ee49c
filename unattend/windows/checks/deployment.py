"""What breaks a deployment as a whole: wiped disks, loops, joins, settings of another release."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from unattend.windows.answers import Windows
from unattend.windows.checks.place import Home, Place, Report, is_placeholder, short
from unattend.windows.time_zones import NAMES

_TRUE = ("true", "1")
_INTERFACE = ("ipv4settings", "ipv6settings", "identifier", "unicastipaddresses", "routes")
_SINCE_8 = frozenset({"hideonlineaccountscreens", "hidelocalaccountscreen", "hideoemregistrationscreen"})
_WIPES = re.compile(
    r"\bdiskpart\b|\bformat(\.com)?\s+(/\S+\s+)*\w:|\b(clear|initialize)-disk\b|\bformat-volume\b", re.IGNORECASE
)
_LAYS = (
    "diskconfiguration/disk/createpartitions",
    "imageinstall/osimage/installto",
    "windowsdeploymentservices/imageselection/installto",
)
_SOMEWHERE = "imageinstall/osimage/installtoavailablepartition"
_ZONES = frozenset(name.casefold() for name in NAMES)
_MAC_WITH_COLONS = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def check(homes: list[Home], windows: Windows | None, report: Report) -> None:
    """Everything that does not depend on how the file is used."""
    for home in homes:
        if home.is_named("Setup"):
            _partitions(home.find("diskconfiguration/disk/createpartitions/createpartition"), report)
        elif home.is_named("Shell-Setup"):
            _oobe(home.find("oobe"), windows, report)
            _commands(home.find("firstlogoncommands"), windows, report)
            _time_zone(home.find("timezone"), report)
        elif home.is_named("Deployment"):
            _reseal(home, report)
        elif home.is_named("UnattendedJoin"):
            _join(home.find("identification"), report)
        elif home.is_named("TCPIP"):
            _interfaces(home.find("interfaces/interface"), report)
            _identifiers(home.find("interfaces/interface/identifier"), report)
        elif home.is_named("DNS-Client") or home.is_named("NetBT"):
            _identifiers(home.find("interfaces/interface/identifier"), report)
        elif home.name.casefold() == "networking-mpssvc-svc":
            _firewall(home.find("firewallgroups/firewallgroup/group"), report)


def check_generalized(homes: list[Home], report: Report) -> None:
    """A file for a generalized image: what could destroy another disk, should it ever meet Windows' own Setup."""
    for home in homes:
        if home.phase != "windowspe":
            continue
        for place in home.every:
            wipes = place.name.casefold() == "willwipedisk" and place.text.casefold() in _TRUE
            lays = place.key in _LAYS or (place.key == _SOMEWHERE and place.text.casefold() in _TRUE)
            formats = place.name.casefold() == "format" and "modifypartition" in place.key
            runs = place.name.casefold() == "path" and "command/" in place.key and _WIPES.search(place.text)
            if wipes or lays or formats or runs:
                message = "the windowsPE pass installs on a disk or wipes it; a generalized image is never installed"
                mend = "remove the pass windowsPE: it would act if the machine ever started from Windows media"
                report.error(place, "disk-wipe", message, mend)
                return


def _oobe(found: Iterable[Place], windows: Windows | None, report: Report) -> None:
    for oobe in found:
        skipped = [
            one for one in oobe.children
            if one.name.casefold() in ("skipmachineoobe", "skipuseroobe") and one.text.casefold() in _TRUE
        ]  # fmt: skip
        if skipped:
            names = " and ".join(one.name for one in skipped)
            message = f"{names}: meant for tests before shipment, and gone from the reference"
            report.warning(skipped[0], "skip-oobe", message, "hide the pages instead: HideEULAPage and the others")
        for one in oobe.children:
            if windows is not None and not windows.at_least(6, 2) and one.name.casefold() in _SINCE_8:
                message = f"Windows {windows} does not know {one.name} and refuses the file"
                report.error(one, "release", message, "remove it")


def _commands(found: Iterable[Place], windows: Windows | None, report: Report) -> None:
    if windows is not None and not windows.at_least(10, 0):
        return
    for commands in found:
        if len(commands.children) > 1:
            message = (
                f"{len(commands.children)} first-logon commands: Windows 10 and later may start them all at once"
            )
            report.warning(commands, "first-logon", message, "run one script that runs them in order")


def _time_zone(found: Iterable[Place], report: Report) -> None:
    for place in found:
        zone = place.text.casefold().removesuffix("_dstoff")
        if zone and zone not in _ZONES and not is_placeholder(place.text) and not place.children:
            close = difflib.get_close_matches(place.text, NAMES, 1, 0.75)
            mend = f"perhaps {close[0]}" if close else "such as W. Europe Standard Time; tzutil /l lists them"
            report.doubt(place, "time-zone", f"Windows has no time zone {short(place.text)}", mend)


def _partitions(found: Iterable[Place], report: Report) -> None:
    for partition in found:
        size, extend = partition.said("size"), partition.said("extend").casefold()
        if size and extend in _TRUE:
            message = "the partition has a Size and is to Extend: Setup makes none, and ends"
            report.doubt(partition, "partition", message, "keep one of both")
        elif not size and extend in ("", "false", "0"):
            report.doubt(partition, "partition", "the partition has no size", "write Size, or Extend true")


def _identifiers(found: Iterable[Place], report: Report) -> None:
    for identifier in found:
        if _MAC_WITH_COLONS.fullmatch(identifier.text):
            message = f"a MAC address is written with hyphens there: {short(identifier.text)}"
            report.doubt(identifier, "identifier", message, f"write {identifier.text.replace(':', '-')}")


def _reseal(home: Home, report: Report) -> None:
    for reseal in home.find("reseal"):
        again = reseal.said("mode").casefold() == "oobe" and reseal.said("forceshutdownnow").casefold() in _TRUE
        if again and home.phase == "oobesystem":
            message = "Reseal to OOBE with ForceShutdownNow in oobeSystem: the machine shuts down at every start"
            report.error(reseal, "reseal-loop", message, "write Audit, or ForceShutdownNow false")


def _join(found: Iterable[Place], report: Report) -> None:
    for join in found:
        domain, workgroup = join.child("joindomain"), join.child("joinworkgroup")
        both = [one for one in (domain, workgroup) if one is not None and one.text and not is_placeholder(one.text)]
        if workgroup is not None and len(both) > 1:
            message = "JoinDomain and JoinWorkgroup: a machine is in one of both"
            report.error(workgroup, "join", message, "keep one")
        credentials = join.child("credentials")
        unsecure = join.said("unsecurejoin").casefold() in _TRUE
        if unsecure and credentials is not None and any(one.text for one in credentials.children):
            # A doubt: the reference forbids it, and a sample of the same reference does it.
            message = "UnsecureJoin is true, and there are Credentials: Windows joins with the one or the other"
            report.doubt(credentials, "join", message, "remove Credentials, or UnsecureJoin")


def _interfaces(found: Iterable[Place], report: Report) -> None:
    for interface in found:
        order = [name for one in interface.children if (name := one.name.casefold()) in _INTERFACE]
        if order != sorted(order, key=_INTERFACE.index):
            message = "the settings of the interface are not in the order that the reference demands"
            mend = "Ipv4Settings, Ipv6Settings, Identifier, UnicastIpAddresses, Routes"
            report.doubt(interface, "interface-order", message, mend)


def _firewall(found: Iterable[Place], report: Report) -> None:
    for group in found:
        if group.text and not group.text.startswith("@") and not is_placeholder(group.text):
            message = f"the firewall group {short(group.text)} has that name only in one language of Windows"
            mend = "write its resource, for example @FirewallAPI.dll,-28752 for Remote Desktop"
            report.warning(group, "firewall-group", message, mend)
