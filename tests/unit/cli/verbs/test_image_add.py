"""`image add` of what is no plain file: a URL, an appliance; and a name that is taken, told before the upload."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import hashlib
import http.server
import io
import ipaddress
import os
import socket
import ssl
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestrator.cli import fetching
from orchestrator.errors import InvalidInput
from tests.world.api_daemon import Daemon
from tests.world.command_line import Run
from tests.world.disk_files import MIB, content, exported_vmdk, make, noise


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon without an image, whose socket the environment names; and a cache of the test's own."""
    with Daemon(tmp_path) as running:
        monkeypatch.setenv("VMROLE_SOCKET", str(running.socket))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(fetching, "PAUSE_S", 0.01)
        yield running


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A standalone qcow2 of some MiB."""
    return make(tmp_path_factory.mktemp("disk") / "disk", noise(4 * MIB, 1), "qcow2", "compat=1.1").read_bytes()


# A server ----------------------------------------------------------------------------------------------------


class Web:
    """What a server says: a whole file, in parts when asked, and sometimes the wrong thing."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.etag = '"1"'
        self.cut_after: list[int] = []  # bytes of each answer to come, before it hangs up
        self.location = ""
        self.status = 200
        self.asked: list[str] = []  # the ranges, "" for the whole
        self.port = 0

    def handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        """For http.server."""
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                if self.path == "/moved":
                    self.send_response(302)
                    self.send_header("location", web.location)
                    self.end_headers()
                    return
                web.answer(self)

        return Handler

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """One GET of the file."""
        wanted = request.headers.get("range", "")
        self.asked.append(wanted)
        start = 0
        if wanted and request.headers.get("if-range", self.etag) == self.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if self.status != 200:
            request.send_error(self.status)
            return
        if start and start >= len(self.data):
            request.send_response(416)
            request.send_header("content-range", f"bytes */{len(self.data)}")
            request.end_headers()
            return
        body = self.data[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("content-range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        request.send_header("content-length", str(len(body)))
        request.send_header("etag", self.etag)
        request.end_headers()
        if self.cut_after:
            body = body[: self.cut_after.pop(0)]
        with contextlib.suppress(OSError):
            request.wfile.write(body)


def certificate(place: Path) -> tuple[Path, Path]:
    """An authority of the test's own that vouches for localhost: certificate, and it with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority, both = place / "authority.pem", place / "server.pem"
    pem = made.public_bytes(serialization.Encoding.PEM)
    authority.write_bytes(pem)
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    both.write_bytes(pem + secret)
    return authority, both


@contextlib.contextmanager
def serving(web: Web, pem: Path | None) -> Iterator[Web]:
    """A server on loopback as long as the context lasts; with https when it has a certificate."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), web.handler())
    server.daemon_threads = False
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def web(tmp_path: Path, disk: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """It has a disk at https://localhost:PORT/disk.qcow2, and the environment names its authority."""
    authority, both = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with serving(Web(disk), both) as running:
        yield running


def url(web: Web, path: str = "/disk.qcow2", scheme: str = "https") -> str:
    """Where it is."""
    return f"{scheme}://localhost:{web.port}{path}"


def cached(tmp_path: Path) -> list[Path]:
    """What is kept of downloads."""
    return sorted((tmp_path / "cache").rglob("downloads/*"))


def test_an_image_comes_from_the_web(run: Run, daemon: Daemon, web: Web, disk: bytes, tmp_path: Path) -> None:
    """With its digest, as any file; nothing is kept in the cache."""
    digest = hashlib.sha256(disk).hexdigest()
    assert run("image", "add", url(web), "--name", "web", "--sha256", digest)[0] == 0
    assert daemon.images.get("web").sha256 == digest
    assert cached(tmp_path) == []
    status, _, err = run("image", "add", url(web), "--name", "other", "--sha256", "0" * 64)
    assert (status, "the digest is" in err) == (1, True)
    assert cached(tmp_path) == []
    status, _, err = run("image", "add", url(web), "--name", "web", "--sha256", "0" * 64)
    assert (status, len(web.asked)) == (5, 2)  # the name is taken: nothing was fetched


def test_a_download_goes_on_where_it_stopped(run: Run, daemon: Daemon, web: Web, disk: bytes) -> None:
    """The server hangs up three times; no byte is asked for twice."""
    web.cut_after = [1_000_000, 500_000, 1]
    assert run("image", "add", url(web), "--name", "web")[0] == 0
    assert web.asked == ["", "bytes=1000000-", "bytes=1500000-", "bytes=1500001-"]
    assert daemon.images.get("web").sha256 == hashlib.sha256(disk).hexdigest()


def test_the_next_run_goes_on_too(run: Run, daemon: Daemon, web: Web, disk: bytes, tmp_path: Path) -> None:
    """What was here is kept when the server stays away; another file under the same address is fetched whole."""
    web.cut_after = [1_000_000, *[0] * 20]
    status, _, err = run("image", "add", url(web), "--name", "web")
    assert status == 1
    assert "goes on where it stopped" in err
    assert cached(tmp_path) != []
    web.cut_after, web.asked = [], []
    assert run("image", "add", url(web), "--name", "web")[0] == 0
    assert web.asked == ["bytes=1000000-"]
    web.cut_after, web.asked = [1_000_000, *[0] * 20], []
    assert run("image", "add", url(web), "--name", "again")[0] == 1
    web.cut_after, web.asked, web.etag = [], [], '"2"'
    web.data = make(tmp_path / "new", noise(3 * MIB, 2), "qcow2", "compat=1.1").read_bytes()
    assert run("image", "add", url(web), "--name", "again")[0] == 0
    assert daemon.images.get("again").sha256 == hashlib.sha256(web.data).hexdigest()
    assert cached(tmp_path) == []


def test_a_whole_download_is_not_fetched_again(run: Run, web: Web, disk: bytes, tmp_path: Path) -> None:
    """It was refused for what can be said better the next time."""
    web.data = noise(2 * MIB, 3)
    assert run("image", "add", url(web), "--name", "web")[0] == 1
    web.asked = []
    assert run("image", "add", url(web), "--name", "web", "--format", "raw")[0] == 0
    assert web.asked == [f"bytes={2 * MIB}-"]


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://localhost/disk",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/x",
        "https://10.0.0.1/x",
        "https://192.168.1.1/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[64:ff9b::7f00:1]/x",
        "https://0.0.0.0/x",
        "https://127.0.0.1:{port}/disk.qcow2",
        "https://localhost:1/x",
        "https://2130706433/x",
        "http://localhost:{port}/disk.qcow2",
        "gopher://x",
        "//169.254.169.254/x",
    ],
)
def test_a_redirect_leads_to_no_place_of_ours(run: Run, daemon: Daemon, web: Web, location: str) -> None:
    """Neither a file, nor this host, nor its networks, nor the metadata of a cloud, however it is written."""
    web.location = location.format(port=web.port)
    status, _, err = run("image", "add", url(web, "/moved"), "--name", "web")
    assert status in (1, 2)
    assert "error" in err.lower() or err
    assert web.asked == []
    assert daemon.images.all() == []


def test_a_redirect_of_the_same_server_is_followed(run: Run, web: Web) -> None:
    """Once, and not round and round."""
    web.location = "/disk.qcow2"
    assert run("image", "add", url(web, "/moved"), "--name", "web")[0] == 0
    web.location = "/moved"
    status, _, err = run("image", "add", url(web, "/moved"), "--name", "loop")
    assert (status, "on and on" in err) == (1, True)


def test_public_addresses_are_told_from_ours() -> None:
    """As a redirect may name them; the addresses of the first URL are its user's to choose, but for a link's."""
    for text, public, own in [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1::1", True, True),
        ("10.1.2.3", False, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("100.64.0.1", False, True),
        ("fd00::1", False, True),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("2002:a9fe:a9fe::1", False, False),
        ("224.0.0.1", False, False),
        ("0.0.0.0", False, False),
    ]:
        address = ipaddress.ip_address(text)
        assert fetching._may_be_used(address, is_start=False) == public, text
        assert fetching._may_be_used(address, is_start=True) == own, text


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd",
        "ftp://x/y",
        "https://",
        "https://u:p@localhost/x",
        "https://localhost:99999/x",
        "https://a b/",
    ],
)
def test_what_is_no_address_of_a_file_is_refused(run: Run, text: str) -> None:
    """Before anything is asked."""
    assert run("image", "add", text, "--name", "web")[0] == 2


def test_http_needs_a_digest(run: Run, daemon: Daemon, disk: bytes) -> None:
    """Then it does not matter who answers; and an error of the server is told."""
    with serving(Web(disk), None) as plain:
        address = url(plain, scheme="http")
        assert run("image", "add", address, "--name", "web")[0] == 2
        assert plain.asked == []
        assert run("image", "add", address, "--name", "web", "--sha256", hashlib.sha256(disk).hexdigest())[0] == 0
        plain.status = 404
        status, _, err = run("image", "add", address, "--name", "x", "--sha256", "0" * 64)
        assert (status, "404" in err) == (3, True)


def test_a_server_has_to_be_who_it_says(run: Run, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the authority, or by another name, nothing is fetched."""
    monkeypatch.delenv("SSL_CERT_FILE")
    status, _, err = run("image", "add", url(web), "--name", "web")
    assert (status, "SSL_CERT_FILE" in err) == (1, True)
    assert web.asked == []


def test_a_port_where_nobody_is_ends_soon(run: Run) -> None:
    """It is tried a few times."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        status, _, err = run("image", "add", f"https://127.0.0.1:{port}/x", "--name", "web")
    assert (status, "cut off" in err, "goes on where it stopped" in err) == (1, False, False)
    assert f"https://127.0.0.1:{port}/x cannot be fetched: " in err
    assert "hint: look at the address" in err


# An appliance ------------------------------------------------------------------------------------------------


def appliance(path: Path, members: dict[str, bytes]) -> str:
    """An OVA with these files."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


def test_the_one_disk_of_an_appliance_is_added(run: Run, daemon: Daemon, tmp_path: Path, disk: bytes) -> None:
    """A VMDK is converted without being asked; its manifest says which bytes it must have; a qcow2 stays as it is."""
    vmdk = exported_vmdk(content())
    manifest = f"SHA256(box.ovf)= {'0' * 64}\nSHA256(box-disk1.vmdk)= {hashlib.sha256(vmdk).hexdigest()}\n".encode()
    members = {"box.ovf": b"<Envelope/>", "box.mf": manifest, "box-disk1.vmdk": vmdk}
    path = appliance(tmp_path / "box.ova", members)
    assert run("image", "add", path, "--name", "box")[0] == 0
    whole = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert run("image", "add", path, "--name", "same", "--sha256", whole)[0] == 0
    assert daemon.images.get("box").names == ("box", "same")
    status, _, err = run("image", "add", path, "--name", "x", "--sha256", "0" * 64)
    assert (status, "the digest of" in err) == (1, True)
    members["box-disk1.vmdk"] = vmdk[:-2048] + noise(512, 1) + vmdk[-1536:]
    status, _, err = run("image", "add", appliance(tmp_path / "bad.ova", members), "--name", "bad")
    assert (status, "the digest is" in err) == (1, True)
    assert run("image", "add", appliance(tmp_path / "q.tar", {"q.qcow2": disk}), "--name", "q")[0] == 0
    assert daemon.images.get("q").sha256 == hashlib.sha256(disk).hexdigest()
    packed = {"box.ovf": b"x", "d.vmdk.gz": gzip.compress(exported_vmdk(content(3)))}
    assert run("image", "add", appliance(tmp_path / "gz.ova", packed), "--name", "gz")[0] == 0


def test_an_appliance_of_several_disks_names_them(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """And one of none says so; a cut one is no archive."""
    several = appliance(tmp_path / "two.ova", {"a.vmdk": b"a" * 512, "b.vmdk": b"b" * 512, "c.ovf": b"c"})
    status, _, err = run("image", "add", several, "--name", "x")
    assert status == 2
    assert "a.vmdk, b.vmdk" in err
    assert "tar xf" in err
    status, _, err = run("image", "add", appliance(tmp_path / "none.ova", {"c.ovf": b"c"}), "--name", "x")
    assert (status, "none of the kinds" in err) == (2, True)
    cut = Path(appliance(tmp_path / "cut.ova", {"a.vmdk": exported_vmdk(content())}))
    cut.write_bytes(cut.read_bytes()[:100_000])
    assert run("image", "add", str(cut), "--name", "x")[0] in (1, 2)
    assert daemon.images.all() == []


# Names -------------------------------------------------------------------------------------------------------


def test_a_taken_name_is_told_before_the_upload(run: Run, daemon: Daemon, tmp_path: Path, disk: bytes) -> None:
    """The bytes are compared where they are; the same bytes are no conflict."""
    place = tmp_path / "disk"
    place.write_bytes(disk)
    assert run("image", "add", str(place), "--name", "web")[0] == 0
    assert run("image", "add", str(place), "--name", "web")[0] == 0
    with (tmp_path / "other").open("wb") as file:
        file.truncate(1 << 39)  # Sent, it would not fit.
    os.truncate(tmp_path / "other", 64 * MIB)
    daemon.layout.incoming.rmdir()  # Whatever arrived would be noticed.
    status, _, err = run("image", "add", str(tmp_path / "other"), "--name", "web", "--format", "raw")
    daemon.layout.incoming.mkdir()
    assert status == 5
    assert "image tag web" in err
    for name in ("", "A b", "../x"):
        status, _, err = run("image", "add", str(place), "--name", name)
        assert (status, "image name" in err) == (2, True)


def test_names_are_moved_and_unused_images_pruned(run: Run, daemon: Daemon, tmp_path: Path, disk: bytes) -> None:
    """By the command line: what a name meant before is said, and nothing is removed unasked."""
    (tmp_path / "one").write_bytes(disk)
    (tmp_path / "two").write_bytes(noise(MIB, 1))
    assert run("image", "add", str(tmp_path / "one"), "--name", "web")[0] == 0
    assert run("image", "add", str(tmp_path / "two"), "--name", "new", "--format", "raw")[0] == 0
    old, new = daemon.images.get("web"), daemon.images.get("new")
    status, out, err = run("image", "tag", "web", "new")
    assert (status, out) == (0, f"web sha256:{new.sha256}\n")
    assert f"web meant sha256:{old.sha256} before" in err
    assert run("image", "tag", "x", "nope")[0] == 3
    status, out, err = run("image", "prune")
    assert (status, out.count("sha256:"), "--yes" in err) == (0, 2, True)
    assert len(daemon.images.all()) == 2
    assert run("image", "prune", "--yes", "--older-than", "1d")[0] == 0
    assert len(daemon.images.all()) == 2
    assert run("image", "prune", "--yes")[0] == 0
    assert daemon.images.all() == []


def test_only_urls_are_fetched() -> None:
    """A file may have a colon in its name."""
    assert fetching.is_url("https://x/y")
    assert not fetching.is_url("C:disk.vhd")
    assert not fetching.is_url("disk://"[:6])
    with pytest.raises(InvalidInput):
        fetching._checked("javascript://x", None)
