"""A file vmrole.toml as people read it: every key with its words, switched off where it is not said. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.host.config import DEFAULT_FILE, defaults, written
from orchestrator.host.config_keys import KEYS, block

ABOUT: Final = "what the daemon and `vmrole doctor` go by"
_HEAD: Final = f"""\
# {DEFAULT_FILE}: {ABOUT}. Each line that is switched off says what holds
# without it; take the # away to change it. """
_LAYERS: Final = """\
Files *.toml of the directory conf.d beside this one come after it, by
name, and last the environment of the daemon: {environment}; VMROLE_CONFIG names
another file. `vmrole config show` says what all came to, and where each value is from.
"""


def layers() -> str:
    """What else is read, and in what order: sentences, on several lines."""
    return _LAYERS.format(environment=", ".join(key.environment for key in KEYS.values() if key.environment))


def text(values: Mapping[str, object]) -> str:
    """The file that says these values; the others are there to be switched on."""
    unsaid = defaults()
    head = _HEAD + layers().replace("\n", "\n# ").removesuffix("# ")
    blocks = (
        block(key, written(values[key]), takes_effect=True)
        if key in values
        else block(key, KEYS[key].sample or written(unsaid[key]), takes_effect=False)
        for key in KEYS
    )
    return "\n".join((head, *blocks))
