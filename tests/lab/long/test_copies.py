"""Files into real guests and out of them, also while those hardly run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import VMROLE, RoleDaemon
from tests.lab.shop import WEB
from tests.world.waiting import until

SIZE_BYTES = 3 << 20
ASLEEP_S, AWAKE_S = 3.5, 1.5  # longer than an agent's time for an answer


@contextlib.contextmanager
def starved(domain: str) -> Iterator[None]:
    """Its QEMU stands still most of the time, for longer than an agent may be silent."""
    pid = int(Path(f"/run/libvirt/qemu/{domain}.pid").read_text())
    over = threading.Event()

    def starve() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            over.wait(ASLEEP_S)
            os.kill(pid, signal.SIGCONT)
            over.wait(AWAKE_S)

    thread = threading.Thread(target=starve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def there_and_back(lab: Lab, daemon: RoleDaemon, place: Path) -> None:
    """Copies a file into the guest and out of it: byte for byte, by the guest's own word, with its mode."""
    data = os.urandom(SIZE_BYTES)
    (place / "a").write_bytes(data)
    (place / "a").chmod(0o750)
    began_s = time.monotonic()
    daemon.run("cp", str(place / "a"), f"{WEB}:/local/cache/")
    there_s = time.monotonic()
    daemon.run("cp", f"{WEB}:/local/cache/a", str(place / "b"))
    print(f"{SIZE_BYTES >> 20} MiB: in {there_s - began_s:.1f} s, out {time.monotonic() - there_s:.1f} s")
    assert (place / "b").read_bytes() == data
    assert (place / "b").stat().st_mode & 0o7777 == 0o750


def interrupt(lab: Lab, daemon: RoleDaemon, ending: signal.Signals) -> None:
    """Copies what never ends over the file, and ends that when some of it is in the guest."""
    command = ["env", *(f"{key}={value}" for key, value in daemon.environment.items()), VMROLE]
    process = subprocess.Popen([*command, "cp", "/dev/zero", f"{WEB}:/local/cache/a"], stderr=subprocess.DEVNULL)
    try:
        until(lambda: ".vmrole-" in lab.guest(WEB, ["/bin/ls", "-A", "/local/cache"]), 60.0, what="its beginning")
    finally:
        process.send_signal(ending)
        process.wait(60.0)


def in_the_guest(lab: Lab) -> list[str]:
    """Digest and mode of the file, and what lies where it does."""
    words = "sha256sum /local/cache/a; stat -c %a /local/cache/a; ls -A /local/cache"
    told = lab.guest(WEB, ["/bin/sh", "-c", words]).split()
    return [told[0], told[2], *(name for name in told[3:] if name != "lost+found")]


def test_a_file_goes_in_and_comes_back(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """Also while the guest stands still most of the time; what is no file is told as that."""
    there_and_back(lab, ready, tmp_path)
    digest = hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    assert in_the_guest(lab) == [digest, "750", "a"]
    for ending, left in ((signal.SIGINT, 0), (signal.SIGKILL, 1)):
        interrupt(lab, ready, ending)
        [told, mode, *names] = in_the_guest(lab)
        assert (told, mode, names[-1]) == (digest, "750", "a")
        assert len([name for name in names if re.fullmatch(r"\.vmrole-[0-9a-f]{12}\.part", name)]) == left
    lab.guest(WEB, ["/bin/sh", "-c", "rm /local/cache/.vmrole-*"])
    refused = ready.run("cp", f"{WEB}:/etc", str(tmp_path / "c"), check=False)
    assert (refused.returncode, "is a directory" in refused.stderr) == (5, True)
    assert ready.run("cp", f"{WEB}:/proc/uptime", "-").stdout.count(".") == 2
    with starved(WEB):
        there_and_back(lab, ready, tmp_path)
    digest = hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    assert in_the_guest(lab) == [digest, "750", "a"]
