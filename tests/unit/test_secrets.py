"""Secrets: where they come from, that they show themselves to nobody, and what is said when one cannot be had."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from orchestrator.drivers.secrets import SECRET_BYTES_MAX, HostSecrets
from unattend import AnswersInvalid
from unattend.secret import Secret, SecretRef, SecretSource

CANARY = "canary-hunter2"


def ref(source: str, name: str) -> SecretRef:
    """A reference."""
    return SecretRef(source=SecretSource(source), name=name)


def private(path: Path, content: bytes) -> Path:
    """A file as a careful user makes it."""
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_secret_comes_from_a_file_the_environment_or_a_credential(tmp_path: Path) -> None:
    """All three sources give the text; one newline at the end of a file is an editor's and no part of it."""
    private(tmp_path / "admin", f"{CANARY}\n".encode())
    secrets = HostSecrets({"ADMIN": CANARY, "CREDENTIALS_DIRECTORY": str(tmp_path)})
    for wanted in (ref("file", str(tmp_path / "admin")), ref("env", "ADMIN"), ref("credential", "admin")):
        assert secrets.reveal(wanted).reveal() == CANARY
        assert secrets.fault(wanted) == ""


def test_a_secret_does_not_show_itself() -> None:
    """Neither repr, str, format, an f-string nor a pickle gives it away."""
    secret = Secret(CANARY)
    assert {repr(secret), str(secret), f"{secret}", f"{secret:>3}", f"{[secret]}"} == {"***", "[***]"}
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        hash(secret)


@pytest.mark.parametrize(
    ("source", "name", "why"),
    [
        ("file", "admin", "not absolute"),
        ("file", "/nowhere/admin", "cannot be read"),
        ("file", "{place}", "not a regular file"),
        ("file", "{place}/fifo", "not a regular file"),
        ("file", "{place}/open", "everybody may read"),
        ("file", "{place}/latin", "not UTF-8"),
        ("file", "{place}/long", "longer than"),
        ("file", "{place}/empty", "empty"),
        ("env", "NOBODY", "no such variable"),
        ("credential", "../admin", "not the name of a credential"),
        ("credential", "nobody", "cannot be read"),
    ],
)
def test_what_cannot_be_had_is_said_without_it(tmp_path: Path, source: str, name: str, why: str) -> None:
    """Each fault names the reference and what to do, and nothing that stood in the file."""
    private(tmp_path / "open", CANARY.encode()).chmod(0o644)
    private(tmp_path / "latin", CANARY.encode() + b"\xe4")
    private(tmp_path / "long", b"x" * (SECRET_BYTES_MAX + 1))
    private(tmp_path / "empty", b"\n")
    os.mkfifo(tmp_path / "fifo", 0o600)
    wanted = ref(source, name.format(place=tmp_path))
    with pytest.raises(AnswersInvalid) as caught:
        HostSecrets({"CREDENTIALS_DIRECTORY": str(tmp_path)}).reveal(wanted)
    assert why in str(caught.value)
    assert wanted.name in str(caught.value)
    assert CANARY not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert why in HostSecrets({"CREDENTIALS_DIRECTORY": str(tmp_path)}).fault(wanted)


def test_without_credentials_it_says_how_to_give_some() -> None:
    """A daemon that systemd gave no credentials says which line of its unit is missing."""
    assert "LoadCredential" in HostSecrets({}).fault(ref("credential", "admin"))
