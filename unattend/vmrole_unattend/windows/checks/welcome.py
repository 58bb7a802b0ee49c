"""What Windows asks at its first start."""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from vmrole_unattend.windows.answers import Edition
from vmrole_unattend.windows.checks.file import TRUE, Deployment, File
from vmrole_unattend.windows.checks.passwords import DELETED
from vmrole_unattend.windows.checks.place import Home, Place, Report

_ADMINISTRATOR = "useraccounts/administratorpassword/value"
_ACCOUNTS = (
    "useraccounts/localaccounts/localaccount/name",
    "useraccounts/domainaccounts/domainaccountlist/domainaccount/name",
)
_DEPRECATED = frozenset(
    {
        "shell-setup/oobe/networklocation",
        *(
            f"shell-setup/oeminformation/{name}"
            for name in ("helpcustomized", "logo", "manufacturer", "model", "supporthours", "supportphone")
        ),
        *(
            f"helpandsupport/helpandsupport/{name}"
            for name in ("logo", "logourl", "manufacturer", "searchcontent", "supportsearchurl", "tilecolor")
        ),
        "shell-setup/visualeffects/fontsmoothing",
        "shell-setup/visualeffects/systemdefaultbackgroundcolor",
        "shell-setup/themes/customdefaultthemefile",
        "shell-setup/themes/screensaver",
        "international-core-winpe/setupuilanguage/willshowui",
        "outofboxexperience/donotopeninitialconfigurationtasksatlogon",
        "outofboxexperience/oemextensionxmlfilepath",
        "security-spp-ux/sppcc/referralid",
        *(
            f"wifinetworkmanager/{name}"
            for name in (
                "defaultautoconnectsharedstate",
                "wifisharingfacebookinitial",
                "wifisharingoutlookinitial",
                "wifisharingskypeinitial",
            )
        ),
        "wlansvc/wlanfunctionleveldeviceresetsupported",
        "wlansvc/wlanplatformleveldeviceresetsupported",
    }
)
"""What the reference calls deprecated in Windows 10 or in one of its versions."""

_SINCE_8 = frozenset({"hideonlineaccountscreens", "hidelocalaccountscreen", "hideoemregistrationscreen"})


def check(file: File, report: Report) -> None:
    """Everything about the first start."""
    for home in file.named("Shell-Setup"):
        _oobe(home.find("oobe"), file, report)
    _license(file, report)
    _deprecated(file, report)
    asked = "" if file.use is Deployment.UNKNOWN else question(file.homes, file.edition)
    # Who installs a desktop may want to be asked, if he says nothing about which Windows it is.
    wanted = file.edition is None or not any(home.phase == "oobesystem" for home in file.homes)
    if asked and (file.use is Deployment.GENERALIZED or not wanted):
        report.doubt(_where_accounts_go(file), "password-missing", asked, _ANSWERS[file.edition])


def _license(file: File, report: Report) -> None:
    """The license, which Windows shows at the first start of a generalized image unless the file hides it."""
    places = [place for home in file.homes if home.phase == "oobesystem" for place in home.every]
    pages = [place for place in places if place.key == "oobe/hideeulapage"]
    asked = file.use is not Deployment.UNKNOWN and not any(_skips(place) for place in places)
    if not asked or any(report.awaits(one, one.text) for one in pages):
        return
    group = next((place for place in places if place.key == "oobe"), None)
    shown = next((one for one in pages if one.text.casefold() in ("false", "0")), None)
    if shown is not None:
        report.doubt(shown, "asks", "HideEULAPage is false: Windows shows the license, and waits", "write true")
    elif not pages and group is not None and file.use is Deployment.GENERALIZED:
        message = "HideEULAPage is missing: Windows shows the license at its first start, and waits"
        report.doubt(group, "asks", message, "add <HideEULAPage>true</HideEULAPage>")


_ANSWERS = {
    Edition.SERVER: "add UserAccounts/AdministratorPassword to Microsoft-Windows-Shell-Setup in oobeSystem",
    Edition.CLIENT: "add UserAccounts/LocalAccounts to Microsoft-Windows-Shell-Setup in oobeSystem",
    None: "add UserAccounts to Microsoft-Windows-Shell-Setup in oobeSystem: on a server AdministratorPassword,"
    " on a client LocalAccounts",
}


def question(homes: list[Home], edition: Edition | None) -> str:
    """What Windows asks at its first start, and waits for, because the file does not say it; "" when nothing.

    Sysprep empties the administrator's password, and a client's Administrator is disabled; Microsoft's reference of
    AdministratorPassword and of AutoLogon.
    """
    places = [place for home in homes if home.phase == "oobesystem" for place in home.every]
    if any(_skips(place) for place in places):
        return ""
    administrator = any(place.key == _ADMINISTRATOR and place.text not in ("", DELETED) for place in places)
    account = any(place.key in _ACCOUNTS and place.text for place in places)
    logon = any(place.key == "autologon/username" and place.text for home in homes for place in home.every)
    if edition is Edition.SERVER and not administrator:
        return "no administrator's password: a server asks for one at its first start, and waits for ever"
    if edition is Edition.CLIENT and not (account or logon):
        return "no account: a client asks who will use it at its first start, and waits for ever"
    if edition is None and not (administrator or account or logon):
        return "no password and no account: Windows asks for one at its first start, and waits for ever"
    return ""


def _skips(place: Place) -> bool:
    """Whether the pages that ask are never reached."""
    if place.key == "reseal/mode":
        return place.text.casefold() == "audit"
    return place.key in ("oobe/skipmachineoobe", "oobe/skipuseroobe") and place.text.casefold() in TRUE


def _where_accounts_go(file: File) -> Home | etree._Element:
    return next((home for home in file.named("Shell-Setup") if home.phase == "oobesystem"), file.root)


def _deprecated(file: File, report: Report) -> None:
    """Settings that do nothing any more, one finding for each group and its place."""
    if file.windows is not None and not file.windows.at_least(10, 0):
        return
    for home in file.homes:
        groups: dict[str, list[Place]] = {}
        for place in home.every:
            said = place.text and not place.children
            if said and f"{home.name.casefold().removeprefix('microsoft-windows-')}/{place.key}" in _DEPRECATED:
                groups.setdefault(place.key.rpartition("/")[0], []).append(place)
        for places in groups.values():
            names = ", ".join(place.name for place in places)
            message = f"{names}: of no effect since Windows 10, by the reference"
            report.note(places[0], "deprecated", message, "leave it out, unless an older Windows reads the file too")


def _oobe(found: Iterable[Place], file: File, report: Report) -> None:
    for oobe in found:
        skipped = [
            one for one in oobe.children
            if one.name.casefold() in ("skipmachineoobe", "skipuseroobe") and one.text.casefold() in TRUE
        ]  # fmt: skip
        if skipped:
            names = " and ".join(one.name for one in skipped)
            message = f"{names}: meant for tests before shipment, and gone from the reference"
            report.warning(skipped[0], "skip-oobe", message, "hide the pages instead: HideEULAPage and the others")
        for one in oobe.children:
            if file.windows is not None and not file.windows.at_least(6, 2) and one.name.casefold() in _SINCE_8:
                message = f"Windows {file.windows} does not know {one.name} and refuses the file"
                report.error(one, "release", message, "remove it")
