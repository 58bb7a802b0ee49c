"""A daemon's configuration for a test, and how long its start may take."""

from __future__ import annotations

from pathlib import Path

UP_S = 60.0  # It waits 10 s for a libvirtd of which nothing is there.


def configured(place: Path, **more: str) -> Path:
    """A configuration file whose directories are yet to be made."""
    keys = {"state_dir": str(place / "state"), "run_dir": str(place / "run"), "accelerator": "tcg"}
    keys |= {"libvirt_uri": f"qemu+unix:///system?socket={place}/nobody", **more}
    file = place / "vmrole.toml"
    file.write_text("".join(f'{key} = "{value}"\n' for key, value in keys.items()))
    return file
