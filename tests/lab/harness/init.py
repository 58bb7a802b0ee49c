"""PID 1 of a lab: prepares the private world, runs the command, reaps orphans. Started by `enter.py` only.

What it prepares: a private /run, /sys and libvirt directories; the host side of the outside link with forwarding on;
the network namespace `client` on its other end. No daemon is started here; `lab.py` does that.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import stat
import subprocess
import sys
import uuid
from pathlib import Path

from tests.lab.harness import places
from tests.lab.harness.enter import REPOSITORY, ROOT_ENV

# QEMU as the user that Debian's libvirt has for it, to whom libvirt gives the files of each VM: a guest that broke
# out can do here what it can do in earnest. Without cgroups or security labels: there is no systemd to make scopes,
# and this kernel has no labels. Without `remember_owner = 0` libvirt wants xattrs on the files.
_QEMU_CONF = """\
user = "libvirt-qemu"
group = "kvm"
dynamic_ownership = 1
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "logd"
"""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBVIRTD_CONF = """\
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_rw_perms = "0700"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
host_uuid = "{uuid}"
"""


def main(argv: list[str]) -> int:
    """`argv` is ROOT STATUS_FD LOCK_FD KEEP -- COMMAND...; returns the command's exit status.

    The first process after `unshare` is still outside the new PID namespace; its child is PID 1.
    """
    root, status_fd, lock_fd, keep = Path(argv[0]), int(argv[1]), int(argv[2]), argv[3] == "1"
    pid = os.fork()
    if pid:
        return _hold(pid, (status_fd, lock_fd), keep)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    _mount("-t", "proc", "proc", "/proc")
    for descriptor in (status_fd, lock_fd):
        os.set_inheritable(descriptor, False)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)  # For the command alone; a handler, because it does not survive exec.
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))  # `enter.py` ends the lab by this.
    _private_files(root)
    _outside_link()
    environment = _environment(root)
    child = os.posix_spawnp(argv[5], argv[5:], environment, setsigdef=(signal.SIGPIPE,))
    status = _reap_until(child)
    os.write(status_fd, f"{status}\n".encode())
    os.close(status_fd)
    if keep:
        _stay()
    return status


def _hold(child: int, of_child: tuple[int, ...], keep: bool) -> int:
    """Waits for PID 1; a kept lab lets go of the terminal, or whoever reads our output would wait for ever."""
    for descriptor in of_child:
        os.close(descriptor)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    if keep:
        _let_go()
    _, status = os.waitpid(child, 0)
    return _shell_status(status)


def _private_files(root: Path) -> None:
    """Puts private directories over those that libvirt, iproute2 and the daemon use."""
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    _mount("-t", "sysfs", "sysfs", "/sys")  # Shows this network namespace; without cgroups, so libvirt makes none.
    for place in ("lib", "cache", "log"):
        _bind(root / place, Path("/var") / place / "libvirt")
    for place in ("lib/swtpm-localca", "log/swtpm"):  # of a user of their own, which libvirt starts swtpm as
        _bind_alike(root / place.replace("/", "-"), Path("/var") / place)
    etc = root / "etc"
    (etc / "qemu" / "networks" / "autostart").mkdir(parents=True)
    (etc / "qemu.conf").write_text(_QEMU_CONF)
    (etc / "libvirtd.conf").write_text(_LIBVIRTD_CONF.format(uuid=uuid.uuid4()))
    _bind(etc, Path("/etc/libvirt"))
    if places.KVM.exists():
        _kvm_for_qemu(root / "kvm")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)  # swtpm_setup goes there as well, as its own user.
    root.chmod(0o711)


def _outside_link() -> None:
    """Joins the host's namespace and `client` by a veth pair in 203.0.113.0/24 (RFC 5737, never a real network)."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    client = places.CLIENT_NAMESPACE
    for command in (
        "link set lo up",
        f"netns add {client}",
        f"link add {places.OUTSIDE_LINK} type veth peer name up0 netns {client}",
        f"addr add {places.HOST_ADDRESS}/24 dev {places.OUTSIDE_LINK}",
        f"link set {places.OUTSIDE_LINK} up",
        f"-n {client} link set lo up",
        f"-n {client} addr add {places.CLIENT_ADDRESS}/24 dev up0",
        f"-n {client} link set up0 up",
        # So that the client can try to reach a DIP: it must be refused by the host, not for want of a route.
        f"-n {client} route add default via {places.HOST_ADDRESS}",
    ):
        subprocess.run(["ip", *command.split()], check=True)


def _environment(root: Path) -> dict[str, str]:
    """The environment inside, also written to ROOT/environment for those who enter later."""
    ours = {
        ROOT_ENV: str(root),
        "TMPDIR": str(root / "tmp"),
        "LIBVIRT_DEFAULT_URI": places.LIBVIRT_URI,
        "PATH": f"{REPOSITORY}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    (root / "environment").write_text("\n".join(f"{name}={value}" for name, value in ours.items()))
    return {**os.environ, **ours}


def _reap_until(child: int) -> int:
    """Reaps whatever ends until `child` did; returns its exit status, 128 + signal when it was killed."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return _shell_status(status)


def _shell_status(status: int) -> int:
    """What a shell makes of a wait status: the exit status, 128 + signal for the killed."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _let_go() -> None:
    """Lets go of the terminal."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def _stay() -> None:
    """Reaps until nothing is left or the lab is ended."""
    _let_go()
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


def _bind(private: Path, over: Path) -> None:
    private.mkdir(exist_ok=True)
    _mount("--bind", str(private), str(over))


def _bind_alike(private: Path, over: Path) -> None:
    """Binds a private directory with the owner and the mode of what it hides; nothing where there is nothing."""
    if over.is_dir():
        hidden = over.stat()
        private.mkdir(mode=hidden.st_mode)
        os.chown(private, hidden.st_uid, hidden.st_gid)
        _bind(private, over)


def _kvm_for_qemu(private: Path) -> None:
    """Lets QEMU's group use KVM, as udev does it on a host.

    Where QEMU's user may not open what root may, libvirt (9.0) takes what it knows of QEMU for outdated each time
    that it looks, and asks all of it again: that made each start of a VM ten seconds longer.
    """
    os.mknod(private, stat.S_IFCHR | 0o660, places.KVM.stat().st_rdev)
    private.chmod(0o660)
    shutil.chown(private, "root", places.QEMU_GROUP)
    _mount("--bind", str(private), str(places.KVM))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
