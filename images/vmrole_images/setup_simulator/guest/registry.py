"""The few values of the registry that tell how far Setup is. They lie in a JSON file on C:, and in State.ini.

Names and values: Microsoft, Windows Setup States; what Sysprep leaves behind is seen in many public scripts.
"""

from __future__ import annotations

import json
from typing import Final

from vmrole_images.setup_simulator.guest.drive import Drive

GENERALIZED: Final = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
UNDEPLOYABLE: Final = "IMAGE_STATE_UNDEPLOYABLE"
SPECIALIZED: Final = "IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE"
COMPLETE: Final = "IMAGE_STATE_COMPLETE"

IMAGE_STATE: Final = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State!ImageState"
SYSTEM_SETUP: Final = r"SYSTEM\Setup!SystemSetupInProgress"
OOBE: Final = r"SYSTEM\Setup!OOBEInProgress"
ANSWER_FILE: Final = r"SYSTEM\Setup!UnattendFile"
CHILD: Final = r"SYSTEM\Setup\Status\ChildCompletion!setup.exe"
NAME: Final = r"SYSTEM\CurrentControlSet\Control\ComputerName\ComputerName!ComputerName"
ACTIVE_NAME: Final = r"SYSTEM\CurrentControlSet\Control\ComputerName\ActiveComputerName!ComputerName"
COMMANDS_DONE: Final = r"SYSTEM\Setup\Simulator!CommandsDone"
RESTART_WANTED: Final = r"SYSTEM\Setup\Simulator!RestartWanted"
WELCOME: Final = r"SYSTEM\Setup\Simulator!WelcomeWaits"

FILE: Final = r"Windows\System32\config\simulated-registry.json"
STATE_INI: Final = r"Windows\Setup\State\State.ini"

# What Sysprep /generalize /oobe leaves behind; the name is one that nobody asked for.
SEALED: Final[dict[str, str]] = {
    IMAGE_STATE: GENERALIZED,
    SYSTEM_SETUP: "1",
    OOBE: "1",
    NAME: "WIN-GENERALIZED",
    ACTIVE_NAME: "WIN-GENERALIZED",
}


class Registry:
    """Values by `KEY!NAME` below HKEY_LOCAL_MACHINE, as text. Every change is on the disk when `set` returns."""

    def __init__(self, system: Drive) -> None:
        self._system = system
        kept = system.read(FILE)
        self._values: dict[str, str] = json.loads(kept) if kept else dict(SEALED)

    def get(self, name: str) -> str:
        """The value; "" when there is none."""
        return self._values.get(name, "")

    def set(self, changes: dict[str, str]) -> None:
        """Changes values in one step; State.ini follows ImageState."""
        self._values = self._values | changes
        self._system.write(FILE, json.dumps(self._values, indent=1, sort_keys=True).encode())
        self._system.write(STATE_INI, f"[State]\r\nImageState={self.get(IMAGE_STATE)}\r\n".encode())
