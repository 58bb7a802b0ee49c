"""What is taken out of texts that leave the host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.hiding import hide, secrets_of
from orchestrator.host.config import Config


def test_the_hosts_secrets_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of all services, each line of them by itself, and listed variables; what is in every text is none."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "admin").write_text("sesame\n")
    (tmp_path / "shop" / "key").write_text("-----BEGIN KEY-----\nMIIE1\n-----END KEY-----\n")
    (tmp_path / "short").write_text("ab\n")
    (tmp_path / "nowhere").symlink_to("absent")
    monkeypatch.setenv("SHOP_TOKEN", "tok-1")
    found = secrets_of(Config(secrets_dir=tmp_path, secrets_env=("SHOP_TOKEN", "UNSET")))
    assert {"sesame", "MIIE1", "tok-1"} <= found
    assert "ab" not in found
    assert secrets_of(Config(secrets_dir=tmp_path / "absent")) == frozenset()


@pytest.mark.parametrize("secret", ["sesame", 'se"same', "se\\same", "sesäme", "two\nlines", "tab\tbed"])
def test_a_secret_is_hidden_however_it_is_written(secret: str) -> None:
    """In prose, in JSON, in JSON of ASCII alone."""
    text = f"is {secret}. {json.dumps([secret])} {json.dumps([secret], ensure_ascii=False)}"
    assert hide(text, frozenset({secret})) == 'is ***. ["***"] ["***"]'


def test_the_whole_is_hidden_before_its_parts() -> None:
    """A secret that another begins with leaves no rest of that one."""
    assert hide("sesame-open", frozenset({"sesame", "sesame-open"})) == "***"


def test_a_password_in_a_uri_is_hidden() -> None:
    """Though nobody knows it for a secret of the host."""
    assert hide("to qemu+ssh://me:hunter2@host/system", frozenset()) == "to qemu+ssh://me:***@host/system"
