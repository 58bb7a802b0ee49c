"""The table of Windows' settings: what it knows, and that a mistake of the reference does not stay one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vmrole_unattend.windows import settings
from vmrole_unattend.windows.settings import Setting, components

TABLE = Path(settings.__file__).with_name("settings.json")


def known(component: str, path: str) -> Setting:
    found = components()[f"Microsoft-Windows-{component}".casefold()]
    assert found.settings is not None
    return found.settings[path.casefold()]


def test_the_table_names_whose_facts_it_holds() -> None:
    """The licence asks for it."""
    credit = json.loads(TABLE.read_text())["credit"]
    assert "Microsoft" in credit
    assert "CC-BY-4.0" in credit


def test_passes_are_those_that_windows_knows() -> None:
    """No pass is misspelt, and every setting is found by its own name."""
    passes = {name.casefold() for name in settings.PASSES}
    count = 0
    for component in components().values():
        for key, setting in (component.settings or {}).items():
            count += 1
            assert setting.passes <= passes
            assert key == setting.name.casefold()
    assert count > 1100


def test_settings_are_as_documented() -> None:
    """Passes, values, lengths and lists of some that every answer file has."""
    assert known("Shell-Setup", "ComputerName").passes == {"specialize", "offlineservicing"}
    assert known("Shell-Setup", "OOBE/HideEULAPage").values == settings.BOOL
    assert known("Shell-Setup", "FirstLogonCommands/SynchronousCommand").listed
    assert known("Deployment", "RunSynchronous/RunSynchronousCommand/Path").chars_max == 259
    assert known("Setup", "RunSynchronous/RunSynchronousCommand").listed


def test_mistakes_of_the_reference_are_mended() -> None:
    """Settings of older releases are known; a page that gives the passes of another component is not believed."""
    assert known("Shell-Setup", "OOBE/SkipMachineOOBE").passes == {"oobesystem"}
    assert known("PnpCustomizationsWinPE", "DriverPaths/PathAndCredentials/Key").passes == {"windowspe"}
    assert "path_to_logo" not in known("Shell-Setup", "OEMInformation/Logo").values


@pytest.mark.parametrize(
    ("component", "right", "wrong"),
    [
        ("Networking-MPSSVC-Svc", "PrivateProfile_DisableNotifications", "PrivateProfile_DisableNotfications"),
        ("Microsoft-Windows-Embedded-KeyboardFilterService", "WindowsU", ""),
        ("Microsoft-Windows-Embedded-KeyboardFilterService", "WindowsPlus", ""),
        ("Microsoft-Windows-Embedded-KeyboardFilterService", "WindowsSpace", "WindowsSpacebar"),
        ("Microsoft-Windows-Embedded-UnifiedWriteFilter", "AddAllVolumes", "AddAllVolume"),
        (
            "Microsoft-Windows-Embedded-ShellLauncher",
            "UserSettings/User/DefaultReturnCodeAction",
            "UserSettings/User/DefaultCodeReturnCodeAction",
        ),
        (
            "Microsoft-Windows-NetworkLoadBalancing-Core",
            "Clusters/Cluster/PersistSuspendedState",
            "Clusters/Cluster/PersistedSuspendedState",
        ),
        (
            "Microsoft-Windows-NetworkLoadBalancing-Core",
            "Clusters/Cluster/MulticastSpoofEnabled",
            "Clusters/MulticastSpoofEnabled",
        ),
        ("Microsoft-Windows-SecureStartup-FilterDriver", "SlicedEncryptionRequestsMax", "SlicedEncryptionMax"),
        (
            "Microsoft-Windows-Setup",
            "RunSynchronous/RunSynchronousCommand/Credentials/Password",
            "RunSynchronous/RunSynchronousCommand/Credentials/Pasword",
        ),
        ("Microsoft-Windows-Shell-Setup", "NotificationArea", "Notification"),
        ("Microsoft-Windows-TwinUI", "Hide", ""),
        (
            "Microsoft-Windows-Shell-Setup",
            "StartTiles/RegionalOverrides/RegionalOverride/SquareTiles/SquareTile12/FirstRunTask",
            "",
        ),
        ("Microsoft-Windows-Shell-Setup", "StartTiles/SquareTiles/SquareOrDesktopTile5/FirstRunTask", ""),
    ],
)
def test_a_setting_is_named_as_its_page_is(component: str, right: str, wrong: str) -> None:
    """The reference's lists and hierarchies misspell some; what its page's title says is what Windows takes."""
    found = components()[component.casefold()].settings
    assert found is not None
    assert found[right.casefold()].name == right
    assert not wrong or wrong.casefold() not in found


def test_a_group_is_good_for_every_pass_of_what_it_holds() -> None:
    """A group without a page of its own exists, and is not said to be in a wrong pass."""
    for component in components().values():
        for key, setting in (component.settings or {}).items():
            above, slash, _ = key.rpartition("/")
            if slash:
                assert component.settings is not None
                group = component.settings[above]
                assert not group.passes or setting.passes <= group.passes


def test_where_else_finds_a_misplaced_setting() -> None:
    """A setting under a wrong component can be told where it belongs."""
    assert settings.where_else("FirstLogonCommands") == ("Microsoft-Windows-Shell-Setup",)
    assert settings.where_else("nothing") == ()


def test_the_table_is_read_once() -> None:
    """Whoever checks many files does not wait for it each time."""
    assert components() is components()
