"""Time zones, languages and keyboards."""

from __future__ import annotations

import difflib
import re

from vmrole_unattend.windows.checks.file import File
from vmrole_unattend.windows.checks.place import Place, Report, short
from vmrole_unattend.windows.time_zones import NAMES, near
from vmrole_unattend.windows.world import KEYBOARDS, LANGUAGE_PACKS, LANGUAGES, REGIONS

_ZONES = frozenset(name.casefold() for name in NAMES)
_PACKS = {name.casefold(): name for name in LANGUAGE_PACKS}
_LOCALES = ("uilanguage", "systemlocale", "userlocale", "uilanguagefallback", "setupuilanguage/uilanguage")
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){1,3}")
_LAYOUT = re.compile(r"[0-9A-Fa-f]{4}:([0-9A-Fa-f]{8})")
_METHOD = re.compile(r"[0-9A-Fa-f]{4}:\{[0-9A-Fa-f-]{36}\}\{[0-9A-Fa-f-]{36}\}")  # an input method of newer releases


def check(file: File, report: Report) -> None:
    """Everything about where a machine stands and who speaks to it."""
    for home in file.named("Shell-Setup"):
        for place in home.find("timezone"):
            _time_zone(place, report)
    for name in ("International-Core", "International-Core-WinPE"):
        for home in file.named(name):
            for place in home.every:
                if not place.text or place.children or report.awaits(place, place.text):
                    continue
                if place.key in _LOCALES:
                    _locale(place, report)
                elif place.key == "inputlocale":
                    _keyboards(place, report)


def _time_zone(place: Place, report: Report) -> None:
    zone = place.text.casefold().removesuffix("_dstoff")
    if not zone or zone in _ZONES or place.children or report.awaits(place, place.text):
        return
    close = near(place.text)
    mend = f"perhaps {close}; tzutil /l lists them all" if close else "such as UTC; tzutil /l lists them all"
    report.doubt(place, "time-zone", f"Windows has no time zone {short(place.text)}", mend)


def _locale(place: Place, report: Report) -> None:
    text = place.text
    if _LOCALE.fullmatch(text) is None:
        right = text.replace("_", "-")
        mend = f"write {right}" if _LOCALE.fullmatch(right) else "language-region, such as en-US or de-DE"
        report.doubt(place, "language", f"{place.name} is no language of a region: {short(text)}", mend)
    elif (right := _known(text)) != text:
        report.doubt(place, "language", f"{place.name}: there is no {short(text)}", _such_as(right))
    elif place.name.casefold().startswith("uilanguage") and text.casefold() not in _PACKS:
        same = [name for name in LANGUAGE_PACKS if name.partition("-")[0] == text.casefold().partition("-")[0]]
        close = difflib.get_close_matches(text, sorted(same), 1, 0)
        mend = f"perhaps {close[0]}; formats of a region are UserLocale's to say" if close else "such as en-US"
        report.doubt(place, "language", f"Windows has no language pack {short(text)}", mend)


def _known(text: str) -> str:
    """The text itself where its language and its region are there; else the one that may be meant, or ""."""
    language, *rest = text.split("-")
    region = rest[-1].upper()
    right = _LANGUAGES_BY_REGION.get(language.casefold(), language)
    if len(right) == 2 and right.casefold() not in LANGUAGES:
        return ""
    if len(region) == 2 and region not in REGIONS:
        region = _REGIONS_MEANT.get(region, "")
    if not region:
        return ""
    whole = "-".join([right, *rest[:-1], region])
    return text if whole.casefold() == text.casefold() else whole


def _such_as(right: str) -> str:
    return f"perhaps {right}" if right else "language-region by ISO 639 and ISO 3166, such as en-GB"


_LANGUAGES_BY_REGION = {
    "jp": "ja",
    "cz": "cs",
    "dk": "da",
    "gr": "el",
    "cn": "zh",
    "ua": "uk",
    "rs": "sr",
    "ee": "et",
}
_LANGUAGES_BY_REGION |= {"tw": "zh", "vn": "vi", "us": "en", "at": "de", "cl": "es"}
"""Whose region was taken for the language; ee is a language too, of no Windows."""

_REGIONS_MEANT = {
    "UK": "GB",
    "EN": "GB",
    "JA": "JP",
    "CS": "CZ",
    "DA": "DK",
    "EL": "GR",
    "KO": "KR",
    "ZH": "CN",
    "UR": "PK",
}


def _keyboards(place: Place, report: Report) -> None:
    """Languages or layouts, several divided by semicolons."""
    for keyboard in (one.strip() for one in place.text.split(";")):
        if _LOCALE.fullmatch(keyboard) and (right := _known(keyboard)) != keyboard:
            report.doubt(place, "keyboard", f"there is no language {short(keyboard)}", _such_as(right))
            continue
        if not keyboard or _METHOD.fullmatch(keyboard) or _LOCALE.fullmatch(keyboard):
            continue
        layout = _LAYOUT.fullmatch(keyboard)
        if layout is None:
            divided = "," in keyboard or " " in keyboard
            mend = "divide them by semicolons" if divided else "a language such as de-DE, or such as 0407:00000407"
            report.doubt(place, "keyboard", f"this is no keyboard: {short(keyboard)}", mend)
        elif layout[1].casefold() not in KEYBOARDS and not layout[1].casefold().startswith("e0"):
            message = f"Windows has no keyboard layout {layout[1]}"
            report.doubt(place, "keyboard", message, _layout_like(layout[1].casefold()))


def _layout_like(layout: str) -> str:
    """What to write for a layout that there is not: that of the language's first region, most often."""
    language = int(layout[4:], 16) & 0x3FF  # the rest of the number says which region
    for region in (0x400, 0x800):
        if f"{language | region:08x}" in KEYBOARDS:
            return f"perhaps {language | region:08x}"
    return "a language such as de-DE stands for its usual keyboard"
