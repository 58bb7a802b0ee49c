"""What Windows' documentation says about each setting: passes, values, lengths, lists. No judgement about a file.

The table is `settings.json`, from Microsoft's Unattended Windows Setup Reference (CC-BY-4.0, as of 2018). What it
gets wrong or leaves out, and what we know better, stands here. Names are looked up without regard to case.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

BOOL = ("true", "false")
PASSES = (
    "windowsPE",
    "offlineServicing",
    "generalize",
    "specialize",
    "auditSystem",
    "auditUser",
    "oobeSystem",
    "oobeUser",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One setting or group of settings. Empty `passes` or `values`, and `chars_max` 0: nothing is known."""

    name: str  # "OOBE/ProtectYourPC", as the reference writes it
    passes: frozenset[str] = frozenset()  # in small letters
    values: tuple[str, ...] = ()
    chars_max: int = 0
    listed: bool = False  # may stand several times, each with wcm:action
    inside: tuple[str, ...] = ()  # names of the settings that it holds, as the reference writes them


@dataclasses.dataclass(frozen=True, slots=True)
class Component:
    """A component; `settings` by their names in small letters, None when no setting of it is known."""

    name: str
    passes: frozenset[str]
    settings: Mapping[str, Setting] | None


# The reference's own pages disagree with its samples, with what the other pages say, or with Windows' own catalogs.
_PASSES = {
    "Microsoft-Windows-PnpCustomizationsWinPE": "windowsPE",
    "Microsoft-Windows-International-Core": "specialize oobeSystem",
    "Microsoft-Windows-International-Core-WinPE": "windowsPE",
    "Microsoft-Windows-Setup": "windowsPE",
    "Microsoft-Windows-PnpCustomizationsNonWinPE": "offlineServicing auditSystem",
}
"""Components whose settings are all good for the same passes."""

_LISTED = (
    "Microsoft-Windows-DNS-Client/Interfaces/Interface/DNSServerSearchOrder/IpAddress",
    "Microsoft-Windows-DNS-Client/DNSSuffixSearchOrder/DomainName",
    "Microsoft-Windows-Setup/RunSynchronous/RunSynchronousCommand",
    "Microsoft-Windows-Setup/RunAsynchronous/RunAsynchronousCommand",
    "Microsoft-Windows-Shell-Setup/OfflineUserAccounts/OfflineLocalAccounts/LocalAccount",
    "Microsoft-Windows-Shell-Setup/OfflineUserAccounts/OfflineDomainAccounts/OfflineDomainAccount",
    "Microsoft-Windows-IE-InternetExplorer/StartPages/StartPage",
    "Microsoft-Windows-IE-InternetExplorer/QuickLinkList/QuickLinkItem",
    "Microsoft-Windows-IE-InternetExplorer/FavoriteBarItems/FavoriteBarItem",
    "Microsoft-Windows-MicrosoftEdgeBrowser/FavoriteBarItems/FavoriteBarItem",
    "Microsoft-Windows-NetworkLoadBalancing-Core/Clusters/Cluster",
    "Microsoft-Windows-NetworkLoadBalancing-Core/Clusters/Cluster/Portrules/Portrule",
    "Microsoft-Windows-Shell-Setup/StartTiles/RegionalOverrides/RegionalOverride",
)

_MORE: Mapping[str, Mapping[str, str]] = {
    "Microsoft-Windows-Shell-Setup": {
        # Of earlier releases, whose reference is no longer kept.
        "oobeSystem": "OOBE/SkipMachineOOBE OOBE/SkipUserOOBE OOBE/HideWirelessSetupInOOBE OOBE/OEMAppId",
        "oobeSystem specialize": "VisualEffects/FontSmoothing",
        "auditUser oobeSystem specialize": "ClientApplications/IM ClientApplications/Internet "
        "ClientApplications/JavaVM ClientApplications/Mail ClientApplications/Media",
        "": "WindowsFeatures/ShowWindowsMail Themes/DefaultThemesOff "
        "DoNotCleanTaskBar ShowWindowsLive StartPanelOff StartPanelLinks StartTiles RegionalOverrides "
        "NotificationArea StartTilesRegionalOverrides OEMWelcomeCenter Display/DPI OEMInformation/SupportProvider "
        "ConfigureChatAutoInstall ConfigureStartPins OEMInformation/TradeInURL OEMInformation/RecycleURL",
    },
    "Microsoft-Windows-IE-InternetExplorer": {
        "specialize": "EnableLinksBar ShowMenuBar ShowStatusBar ShowCommandBar SmallCommandBarIcons NoDial "
        "IEWelcomeMsg FavoritesDelete MSCompatibilityMode ShowCompatibilityViewButton"
    },
    "Microsoft-Windows-TCPIP": {"specialize windowsPE": "EnableICMPRedirect"},
    "Microsoft-Windows-NetBT": {"specialize windowsPE": "EnableLMHOSTS"},
    "Microsoft-Windows-Printing-Spooler-Core": {"specialize": "RemoveMPDW"},
    "Microsoft-Windows-Deployment": {"specialize auditUser": "RunAsynchronous RunSynchronous"},
    "Microsoft-Windows-PnpSysprep": {"generalize": "DoNotCleanUpNonPresentDevices PersistAllDeviceInstalls"},
    "Microsoft-Windows-Setup": {
        "windowsPE": "ImageInstall/OSImage/Compact ImageInstall/OSImage/InstallToAvailablePartition "
        "RunSynchronous/RunSynchronousCommand/Credentials/Password "
        "RunSynchronous/RunSynchronousCommand/WillReboot ImageInstall/DataImage/Order DynamicUpdate/WillShowUI "
        "Diagnostics UpgradeData UseConfigurationSet EnableNetwork "
        "ImageInstall/OSImage/InstallTo ImageInstall/OSImage/AllowUnsupportedHardware",
    },
}
"""component: {passes: settings} that are good there besides what the table says; "" is any pass."""

# Known to Windows, but not to the reference; nothing can be said about their settings.
_COMPONENTS = (
    "Microsoft-Windows-Authentication-AuthUI",
    "Microsoft-Windows-MPR",
    "Microsoft-Windows-Sidebar",
    "Microsoft-Windows-SystemSettings",
    "Microsoft-Windows-Security-Licensing-SLC",
    "Microsoft-Windows-Security-Licensing-SLC-UX",
    "Microsoft-Windows-IIS-WebServer",
    "Microsoft-Windows-ehome-reg-inf",
    "Microsoft-Windows-ehome-devices-mcx",
    "Microsoft-Windows-TerminalServices-RemoteApplications-ClientSku",
    "Microsoft-Windows-Feeds",
    "Microsoft-Windows-GameExplorer",
    "Microsoft-Windows-mobsync",
    "Microsoft-Windows-Tasks",
)


@functools.cache
def components() -> Mapping[str, Component]:
    """Every known component, by its name in small letters. Read once, when first asked for."""
    source = pathlib.Path(__file__).with_name("settings.json").read_text(encoding="utf-8")
    table: dict[str, dict[str, dict[str, Any]]] = json.loads(source)["components"]
    listed = frozenset(name.casefold() for name in _LISTED)
    found = {name.casefold(): Component(name, frozenset(), None) for name in _COMPONENTS}
    for name, rows in table.items():
        settings = {
            path.casefold(): Setting(
                path,
                frozenset(row.get("passes", "").casefold().split()),
                BOOL if row.get("values") == "bool" else tuple(row.get("values", ())),
                row.get("max", 0),
                "list" in row or f"{name}/{path}".casefold() in listed,
            )
            for path, row in rows.items()
        }
        found[name.casefold()] = _corrected(name, settings)
    return found


def _corrected(name: str, settings: dict[str, Setting]) -> Component:
    for passes, more in _MORE.get(name, {}).items():
        for path in more.split():
            old = settings.get(path.casefold(), Setting(path))
            both = old.passes | frozenset(passes.casefold().split()) if passes else frozenset[str]()
            settings[path.casefold()] = dataclasses.replace(old, passes=both)
    if name in _PASSES:
        same = frozenset(_PASSES[name].casefold().split())
        settings = {path: dataclasses.replace(one, passes=same) for path, one in settings.items()}
    _raise_passes(settings)
    _tell_groups(settings)
    tops = [one.passes for one in settings.values() if "/" not in one.name]
    known: frozenset[str] = frozenset().union(*tops) if tops and all(tops) else frozenset()
    return Component(name, known, settings or None)


def _raise_passes(settings: dict[str, Setting]) -> None:
    """A group is good for every pass that one of its settings is good for, and exists when one of them does."""
    for leaf, setting in list(settings.items()):
        above, name = leaf, setting.name
        while "/" in above:
            above, name = above.rpartition("/")[0], name.rpartition("/")[0]
            group = settings.setdefault(above, Setting(name, setting.passes))
            if group.passes and setting.passes:
                settings[above] = dataclasses.replace(group, passes=group.passes | setting.passes)


def _tell_groups(settings: dict[str, Setting]) -> None:
    inside: dict[str, list[str]] = {}
    for key, one in settings.items():
        inside.setdefault(key.rpartition("/")[0], []).append(one.name.rpartition("/")[2])
    for group, names in inside.items():
        if group:
            settings[group] = dataclasses.replace(settings[group], inside=tuple(sorted(names)))


def where_else(path: str) -> tuple[str, ...]:
    """The components that have a setting of that path."""
    key = path.casefold()
    return tuple(one.name for one in components().values() if one.settings is not None and key in one.settings)
