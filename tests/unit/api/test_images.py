"""Images over the API, with the real repository and qemu-img behind it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.api import image_routes, server
from orchestrator.errors import Busy, Conflict, ImageRejected, InvalidInput, NotFound, VmroleError
from orchestrator.imagefiles import SourceFormat
from orchestrator.model import DiskBus, Firmware, Hardware, Os
from orchestrator.model.intake import Intake
from tests.world.api_daemon import SHOP, Daemon, exchange
from tests.world.disk_files import SIZE, Vhd, content, dynamic
from tests.world.waiting import comes_true, until


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon without an image."""
    with Daemon(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A standalone qcow2 with a few bytes in it."""
    place = tmp_path_factory.mktemp("disk")
    (place / "raw").write_bytes(b"a disk" * 500_000)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "raw", "disk"], cwd=place, check=True)
    return (place / "disk").read_bytes()


def nothing_is_left(daemon: Daemon) -> bool:
    """Whether neither a record, an image nor a copy is there."""
    comes_true(lambda: not any(daemon.layout.incoming.iterdir()), 10)
    files = [*daemon.layout.incoming.iterdir(), *daemon.layout.images.iterdir()]
    return not files and daemon.images.all() == []


def test_an_image_goes_through_its_whole_life(daemon: Daemon, disk: bytes) -> None:
    """Added with progress, shown by every kind of name, verified, refused to go while used, removed."""
    client, sent = daemon.client(), []
    added = client.add_image([(io.BytesIO(disk), len(disk))], Intake(name="micro"), sent.append)
    digest = hashlib.sha256(disk).hexdigest()
    assert (added["sha256"], added["names"], sum(sent)) == (digest, ["micro"], len(disk))
    assert client.images() == [added]
    for ref in ("micro", digest, f"micro@sha256:{digest}"):
        assert client.image(ref) == added
    assert client.verify_image("micro") == added
    client.apply(SHOP)
    with pytest.raises(Conflict, match="shop"):
        client.remove_image("micro")
    same = client.add_image([(io.BytesIO(disk), len(disk))], Intake(name="other"))
    assert same["names"] == ["micro", "other"]
    client.remove_image("other")
    assert [one["names"] for one in client.images()] == [["micro"]]


def test_the_wrong_bytes_leave_nothing(daemon: Daemon, disk: bytes) -> None:
    """A digest that is another one, and bytes that are no image, are refused with the reason."""
    with pytest.raises(ImageRejected) as other:
        daemon.client().add_image([(io.BytesIO(disk), len(disk))], Intake(name="micro", sha256="0" * 64))
    assert other.value.reason == "digest"
    with pytest.raises(ImageRejected):
        daemon.client().add_image(
            [(io.BytesIO(b"#!/bin/sh\n" * 100), 1000)], Intake(name="micro", format=SourceFormat.QCOW2)
        )
    assert nothing_is_left(daemon)


def test_an_upload_that_is_cut_off_leaves_nothing(daemon: Daemon, disk: bytes) -> None:
    """A client that goes away in the middle leaves neither a record nor a file, and the daemon goes on."""
    head = b"POST /v1/images?name=micro HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(disk)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(daemon.socket))
        raw.sendall(head + disk[: len(disk) // 2])
        time.sleep(0.1)
    assert nothing_is_left(daemon)
    assert daemon.client().images() == []


def test_an_upload_that_falls_silent_is_ended(daemon: Daemon, disk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends nothing more does not hold a thread for ever."""
    monkeypatch.setattr(image_routes, "SILENCE_S", 0.2)
    head = b"POST /v1/images?name=micro HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(disk)
    answer = exchange(daemon.socket, head + disk[:1000])
    assert b" 504 " in answer.split(b"\r\n")[0]
    assert nothing_is_left(daemon)


def test_an_upload_does_not_hold_up_the_end(
    tmp_path: Path, disk: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API ends while a client is still sending: the client hears why, nothing is left, no bug is logged."""
    monkeypatch.setattr(server, "GRACE_S", 3600)  # It ends by itself, before anybody is cut off.
    head = b"POST /v1/images?name=micro HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(disk)
    with Daemon(tmp_path) as daemon, socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(daemon.socket))
        raw.sendall(head + disk[:1000])
        until(lambda: any(daemon.layout.incoming.iterdir()), 10)
        daemon.server.stop()
        assert b" 503 " in raw.recv(65_536)
        assert nothing_is_left(daemon)
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


def test_uploads_have_a_limit(daemon: Daemon, disk: bytes) -> None:
    """One upload too many is refused, requests are answered all the while, and a place is free when one ends."""
    daemon.app.state.uploads.places.most = 2 * 2
    head = b"POST /v1/images?name=micro HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(disk)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        for raw in (first, second):
            raw.connect(str(daemon.socket))
            raw.sendall(head + disk[:1000])
        until(lambda: len([*daemon.layout.incoming.iterdir()]) == 2, 10)
        with pytest.raises(Busy, match="2 uploads"):
            daemon.client().add_image([(io.BytesIO(disk), len(disk))], Intake(name="third"))
        assert daemon.client().images() == []
    assert nothing_is_left(daemon)
    added: list[list[str]] = []

    def adds() -> bool:
        with contextlib.suppress(Busy):
            added.append(daemon.client().add_image([(io.BytesIO(disk), len(disk))], Intake(name="third"))["names"])
        return bool(added)

    until(adds, 10, what="a place that becomes free")
    assert added == [["third"]]


def test_a_refusal_reaches_a_client_that_is_still_sending(daemon: Daemon, disk: bytes) -> None:
    """A name that is taken is refused before the upload is read, and the client hears why, not of a broken pipe."""
    daemon.client().add_image([(io.BytesIO(disk), len(disk))], Intake(name="micro"))
    with pytest.raises(Conflict, match="image name 'micro'"):
        daemon.client().add_image(
            [(io.BytesIO(bytes(64 << 20)), 64 << 20)], Intake(name="micro", sha256="0" * 64, size_bytes=64 << 20)
        )
    daemon.client().remove_image("micro")
    assert nothing_is_left(daemon)
    answer = exchange(daemon.socket, b"POST /v1/images?name=..%2Fetc HTTP/1.0\r\ncontent-length: 9\r\n\r\n")
    assert b"image name" in answer


def test_uploads_are_larger_than_documents(daemon: Daemon) -> None:
    """The cap on bodies is not for images, and a large one does not pass through memory whole."""
    size = 32 << 20
    added = daemon.client().add_image([(io.BytesIO(bytes(size)), size)], Intake(name="raw", format=SourceFormat.RAW))
    assert added["size_bytes"] == size


def test_a_disk_is_converted_with_its_parent(daemon: Daemon) -> None:
    """The parent follows the disk in one upload, and what the image is for is recorded."""
    base = dynamic(bytes(content()))
    child = Vhd(kind=4, identity=b"c" * 16, parent=b"i" * 16).bytes()
    hardware = Hardware(firmware=Firmware.SECURE_BOOT, disk_bus=DiskBus.SATA, tpm=True)
    sent: list[int] = []
    added = daemon.client().add_image(
        [(io.BytesIO(child), len(child)), (io.BytesIO(base), len(base))],
        Intake(name="win", os=Os.WINDOWS, convert=True, hardware=hardware, parts=(len(child), len(base))),
        sent.append,
    )
    assert (added["format"], added["virtual_size_bytes"], added["answers"]) == ("qcow2", SIZE, "unattend")
    assert added["hardware"] == {"firmware": "secure-boot", "disk_bus": "sata", "tpm": True}
    assert sum(sent) == len(child) + len(base)
    whole = daemon.client().add_image(
        [(io.BytesIO(base), len(base))],
        Intake(name="whole", os=Os.WINDOWS, convert=True, format=SourceFormat.VHD, hardware=hardware),
    )
    assert whole["sha256"] == added["sha256"]
    with pytest.raises(Conflict, match="firmware secure-boot"):
        daemon.client().add_image([(io.BytesIO(base), len(base))], Intake(name="bios", os=Os.WINDOWS, convert=True))
    with pytest.raises(ImageRejected) as caught:
        daemon.client().add_image([(io.BytesIO(child), len(child))], Intake(name="alone", convert=True))
    assert caught.value.reason == "parent"


def test_what_is_on_its_way_is_told(daemon: Daemon, disk: bytes) -> None:
    """While an upload waits for its client: its name, its step and how much is here; afterwards nothing."""
    head = b"POST /v1/images?name=slow HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % (len(disk) + (1 << 20))
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(daemon.socket))
        raw.sendall(head + disk)
        until(lambda: any(one["copied_bytes"] for one in daemon.client().arrivals()), 10)
        (arrival,) = daemon.client().arrivals()
    assert (arrival["name"], arrival["step"], arrival["percent"]) == ("slow", "copying", None)
    assert arrival["copied_bytes"] > 0
    assert nothing_is_left(daemon)
    until(lambda: daemon.client().arrivals() == [])


def test_a_conversion_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The API ends while a disk is converted: the program is ended, the client hears why, nothing is left."""
    programs, started = tmp_path / "programs", tmp_path / "started"
    programs.mkdir()
    real = shutil.which("qemu-img")
    script = f'#!/bin/sh\n[ "$1" = convert ] || exec {real} "$@"\n: > {started}\nexec sleep 100\n'
    (programs / "qemu-img").write_text(script)
    (programs / "qemu-img").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    data = dynamic(bytes(content()))
    heard: list[Exception] = []

    def wait() -> None:
        try:
            running.client().add_image([(io.BytesIO(data), len(data))], Intake(name="disk", convert=True))
        except VmroleError as error:
            heard.append(error)

    with Daemon(tmp_path) as running:
        client = threading.Thread(target=wait)
        client.start()
        until(started.exists, 20)
        assert running.client().arrivals()[0]["step"] == "converting"
        running.server.stop()
        client.join(10)
        assert [type(error) for error in heard] == [Busy]
        assert nothing_is_left(running)
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


def test_an_unknown_image_is_not_found(daemon: Daemon) -> None:
    """Whatever is asked of an image that is not there."""
    client = daemon.client()
    for ask in (client.image, client.verify_image, client.remove_image):
        with pytest.raises(NotFound, match="no image"):
            ask("nope")


def test_the_os_and_the_digest_are_checked_before_the_upload(daemon: Daemon) -> None:
    """Parameters that cannot be meant are a faulty input."""
    wrong = ("answers=floppy", "firmware=efi", "disk=ide", "tpm=perhaps", "parts=1,x", "parts=-1", "convert=some")
    for query in (
        *(f"name=x&{one}" for one in wrong),
        "name=x&os=beos",
        "name=x&sha256=abc",
        "name=x&format=vdi",
        "os=linux",
    ):
        answer = exchange(daemon.socket, f"POST /v1/images?{query} HTTP/1.0\r\ncontent-length: 0\r\n\r\n".encode())
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "InvalidInput", query


def test_what_the_request_says_is_enough_to_refuse_it(daemon: Daemon) -> None:
    """More than a disk may have, or than there is room: not a byte of it is waited for."""
    free = shutil.disk_usage(daemon.layout.state).free
    for size, reason in ((14 << 40, "ImageRejected"), (min(free * 2, 1 << 40), "NoSpace")):
        head = f"POST /v1/images?name=huge&format=raw HTTP/1.0\r\ncontent-length: {size}\r\n\r\n"
        assert json.loads(exchange(daemon.socket, head.encode()).partition(b"\r\n\r\n")[2])["error"] == reason
    assert nothing_is_left(daemon)


def test_a_client_that_goes_away_gets_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is interrupted while its disk is converted: the program is ended, nothing is left, no bug is logged."""
    programs, started = tmp_path / "programs", tmp_path / "started"
    programs.mkdir()
    real = shutil.which("qemu-img")
    script = f'#!/bin/sh\n[ "$1" = convert ] || exec {real} "$@"\n: > {started}\nexec sleep 100\n'
    (programs / "qemu-img").write_text(script)
    (programs / "qemu-img").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    data = dynamic(bytes(content()))
    head = b"POST /v1/images?name=gone&convert=true HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(data)
    with Daemon(tmp_path) as running:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(running.socket))
            raw.sendall(head + data)
            until(started.exists, 60)
            assert running.client().arrivals()[0]["step"] == "converting"
        assert nothing_is_left(running)
        until(lambda: running.client().arrivals() == [], 60)
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


def test_a_file_that_shrinks_while_it_is_sent_is_told_at_once(daemon: Daemon, disk: bytes) -> None:
    """By the client, who would wait for the daemon, which would wait for the rest."""
    with pytest.raises(InvalidInput, match="became shorter") as caught:
        daemon.client().add_image([(io.BytesIO(disk[:100_000]), len(disk))], Intake(name="micro"))
    assert str(len(disk)) in str(caught.value)
    assert nothing_is_left(daemon)
    until(lambda: daemon.client().arrivals() == [], 10)
    assert daemon.client().images() == []
