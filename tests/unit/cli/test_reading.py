"""Files that a user names: read whole within bounds, or refused by name."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import reading
from orchestrator.cli.main import main
from orchestrator.errors import ConfigError, InvalidInput, NotFound
from orchestrator.host import config


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_file_and_a_pipe_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the bound, byte for byte."""
    content = b"\r\n\xff" + b"x" * (reading.FILE_MAX_BYTES - 3)
    Path("full").write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert reading.read_bytes("full", hint="") == reading.read_bytes("-", hint="") == content


@pytest.mark.parametrize("file", ["large", "endless", "-"])
def test_what_is_larger_is_not_read_to_its_end(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte too many, a device without an end, or a pipe."""
    Path("large").write_bytes(b"x" * (reading.FILE_MAX_BYTES + 1))
    Path("endless").symlink_to("/dev/zero")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path("large").read_bytes())))
    with pytest.raises(InvalidInput, match=f"{file} is larger than 1 MiB") as caught:
        reading.read_bytes(file, hint="name a small one")
    assert caught.value.hint == "name a small one"


def test_what_is_no_file_is_named() -> None:
    """A missing file, a directory, and text that is none."""
    with pytest.raises(NotFound, match="there is no file none"):
        reading.read_text("none", hint="")
    with pytest.raises(InvalidInput, match=r"^\. cannot be read: Is a directory"):
        reading.read_text(".", hint="")
    Path("latin").write_bytes(b"ab\ncd\ne\xe9")
    with pytest.raises(InvalidInput, match="latin:3: byte 0xe9 is not UTF-8"):
        reading.read_text("latin", hint="")


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that everybody reaches."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="root takes the rights of somebody else")
@pytest.mark.parametrize(
    "words",
    [
        ["apply", "-f", "closed/x.yaml"],
        ["apply", "-f", "closed"],
        ["diff", "-f", "closed/x.yaml", "-f", "closed"],
        ["answers", "check", "closed/x.yaml"],
        ["answers", "check", "open", "--for", "cloud-init", "--schema", "closed/x.yaml"],
        ["answers", "diff", "closed/x.yaml"],
        ["image", "add", "closed/x.yaml", "--name", "x"],
        ["doctor", "--config", "closed/x.toml"],
    ],
    ids=" ".join,
)
def test_what_one_may_not_read_is_not_called_absent(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, open_place: Path
) -> None:
    """A file or directory behind a closed door is refused as that, in a sentence."""
    monkeypatch.chdir(open_place)
    Path("closed").mkdir(mode=0o700)
    for name in ("closed/x.yaml", "closed/x.toml", "open"):
        Path(name).write_text("#cloud-config\n")
    main(["--help"])  # What is imported on the way is where only root may read it.
    main(words)
    capsys.readouterr()
    os.seteuid(65534)
    try:
        status = main(words)
    finally:
        os.seteuid(0)
    told = capsys.readouterr().err
    assert status not in (0, 3)
    assert "closed" in told
    assert "Permission denied" in told


def test_a_configuration_that_may_not_be_read_is_not_taken_for_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a file the defaults hold; with one behind a loop of links, or a closed door, nothing is begun."""
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "absent.toml")
    assert config.load(None, {}) == config.Config()
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "loop.toml")
    with pytest.raises(ConfigError, match="loop"):
        config.load(None, {})
