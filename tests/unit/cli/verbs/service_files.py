"""Small service files for the command line."""

from __future__ import annotations

from pathlib import Path


def service(name: str, last: int, *, instances: int = 1, more: str = "") -> str:
    """A service file of a few lines; `last` is that of its VIP."""
    vip = f"vip: 203.0.113.{last}\n"
    return f"service: {name}\n{vip}roles:\n  web:\n    image: micro\n    instances: {instances}\n{more}"


A, B, C = service("a", 11), service("b", 12), service("c", 13)


def write(**files: str) -> None:
    """Files in the working directory: `a_yaml` is a.yaml."""
    for name, text in files.items():
        Path(name.replace("_", ".")).write_text(text)
