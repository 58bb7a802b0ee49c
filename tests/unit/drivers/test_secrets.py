"""Secrets: where they come from, who may name which, and what is said when one cannot be had."""

from __future__ import annotations

import os
import pickle
import re
import socket
from pathlib import Path

import pytest
from vmrole_unattend import AnswersInvalid
from vmrole_unattend.secret import Secret, SecretRef, SecretSource

from orchestrator.drivers.secrets import SECRET_BYTES_MAX, HostSecrets
from orchestrator.model import Certificate
from tests.world.certificates import certificate

CANARY = "canary-hunter2"
SERVICE = "shop"


def ref(source: str, name: str) -> SecretRef:
    """A reference."""
    return SecretRef(source=SecretSource(source), name=name)


def private(path: Path, content: bytes) -> Path:
    """A file as a careful owner makes it."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of the host's owner: a secret for all, and one for each of two services."""
    private(tmp_path / "secrets" / "admin", CANARY.encode())
    private(tmp_path / "secrets" / SERVICE / "own", f"{CANARY}\n".encode())
    private(tmp_path / "secrets" / "blog" / "theirs", CANARY.encode())
    private(tmp_path / "outside", CANARY.encode())
    return tmp_path / "secrets"


def host(place: Path) -> HostSecrets:
    """A host whose owner keeps secrets there, and lets service files name one variable."""
    environment = {"ADMIN": CANARY, "PRIVATE": CANARY, "CREDENTIALS_DIRECTORY": str(place)}
    return HostSecrets(place, variables=["ADMIN", "UNSET"], environment=environment)


def refused(place: Path, wanted: SecretRef) -> str:
    """What is said to the shop instead of the secret; it holds no piece of one, and `fault` says the same."""
    with pytest.raises(AnswersInvalid) as caught:
        host(place).of(SERVICE)(wanted)
    assert CANARY not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert caught.value.message in host(place).fault(SERVICE, wanted)
    return f"{caught.value}; {caught.value.hint}"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("secret", "admin"),
        ("secret", "own"),
        ("file", "{place}/admin"),
        ("file", "{place}/shop/own"),
        ("env", "ADMIN"),
        ("credential", "admin"),
    ],
)
def test_a_secret_comes_from_the_owners_directory_or_what_he_hands_over(place: Path, source: str, name: str) -> None:
    """Each source gives the text; one newline at the end of a file is an editor's and no part of it."""
    wanted = ref(source, name.format(place=place))
    assert host(place).of(SERVICE)(wanted).reveal() == CANARY
    assert host(place).fault(SERVICE, wanted) == ""


def test_a_certificate_is_looked_at_with_its_key(place: Path) -> None:
    """What is wrong with it is said, and what helps; neither of its texts."""
    pem, key = certificate("shop.example")
    private(place / "shop.crt", pem.encode())
    private(place / "shop.key", key.encode())
    beside = Certificate(certificate=ref("secret", "shop.crt"), key=ref("secret", "shop.key"))
    assert host(place).fault(SERVICE, beside) == ""
    alone = Certificate(certificate=ref("secret", "shop.crt"))
    assert "no private key for it; put its key behind it" in host(place).fault(SERVICE, alone)
    private(place / "shop.key", certificate("shop.example")[1].encode())
    assert "does not fit" in host(place).fault(SERVICE, beside)
    absent = Certificate(certificate=ref("secret", "none.crt"), key=ref("secret", "shop.key"))
    assert "there is no such secret" in host(place).fault(SERVICE, absent)


def test_a_services_own_secret_comes_before_the_one_for_all(place: Path) -> None:
    """Of the same name in both places; other services get the one for all."""
    private(place / "own", b"for all")
    assert host(place).of(SERVICE)(ref("secret", "own")).reveal() == CANARY
    assert host(place).of("blog")(ref("secret", "own")).reveal() == "for all"


def test_the_directory_itself_may_be_a_link_of_its_owner(place: Path, tmp_path: Path) -> None:
    """Its place is the configuration's; what is in it is followed nowhere."""
    (tmp_path / "linked").symlink_to(place)
    assert host(tmp_path / "linked").of(SERVICE)(ref("secret", "admin")).reveal() == CANARY


def test_a_secret_does_not_show_itself() -> None:
    """Neither repr, str, format, an f-string nor a pickle gives it away."""
    secret = Secret(CANARY)
    assert {repr(secret), str(secret), f"{secret}", f"{secret:>3}", f"{[secret]}"} == {"***", "[***]"}
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        hash(secret)


OUTSIDE = [
    "/etc/shadow",
    "/proc/self/environ",
    "/proc/kmsg",
    "/nowhere/at/all",
    "/dev/zero",
    "admin",
    "",
    "{place}",
    "{place}/",
    "{place}/../outside",
    "{place}/shop/../../outside",
    "{place}/shop/../admin",
    "{place}/./admin",
    "{place}//admin",
    "{place}/shop//own",
    "{place}/admin/",
    "{place}x/admin",
    "{place}/blog/theirs",
    "{place}/blog/nothing",
    "{place}/nobody/nothing",
    "{place}/shop/deeper/own",
    "{place}/admin\0",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_the_directory_and_none_is_an_oracle(place: Path, path: str) -> None:
    """Another service's is outside, too. All get one answer, whether there is such a file or not."""
    (place / "shop" / "deeper").mkdir()
    private(place / "shop" / "deeper" / "own", CANARY.encode())
    said = refused(place, ref("file", path.format(place=place)))
    assert re.sub(r"\Afile .*?: it is", "it is", said, flags=re.DOTALL) == (
        "it is not a file that shop may name; "
        f"the host's owner puts it into {place} or {place}/shop: {{secret: NAME}}"
    )


@pytest.mark.parametrize("name", ["", ".", "..", "../outside", "shop/own", "blog/theirs", "/etc/shadow", "admin\0"])
@pytest.mark.parametrize("source", ["secret", "credential"])
def test_a_name_is_no_path(place: Path, source: str, name: str) -> None:
    """Neither of a secret nor of a credential."""
    assert "name of a" in refused(place, ref(source, name))


def test_a_name_that_no_file_can_have_is_said(place: Path) -> None:
    """Half a character of UTF-16, which YAML can write, and one that is too long."""
    assert "no such secret" in refused(place, ref("secret", "\ud800"))
    assert "cannot be read: File name too long" in refused(place, ref("secret", "x" * 300))


@pytest.mark.parametrize("name", ["theirs", "blog", "nothing"])
def test_what_another_service_has_is_as_if_it_were_not(place: Path, name: str) -> None:
    """Its secret, and its directory."""
    assert f"secret {name}: there is no such secret" in refused(place, ref("secret", name))
    (place / "link").symlink_to(place / "blog")
    assert "it is not a file that shop may name" in refused(place, ref("file", f"{place}/link/theirs"))


def test_no_link_is_followed(place: Path, tmp_path: Path) -> None:
    """Neither at the end nor on the way, whether it leads to a file or nowhere; nor is another file's second name."""
    (place / "linked").symlink_to(tmp_path / "outside")
    (place / "dangling").symlink_to(tmp_path / "nothing")
    said = {
        name: refused(place, ref("secret", name)).replace(f" {name}:", " NAME:") for name in ("linked", "dangling")
    }
    assert "not a regular file" in said["linked"]
    assert said["linked"] == said["dangling"]
    (place / "hard").hardlink_to(tmp_path / "outside")
    assert "hard link" in refused(place, ref("secret", "hard"))
    (place / "news").symlink_to(place / "blog")
    with pytest.raises(AnswersInvalid, match="no such secret"):
        host(place).of("news")(ref("secret", "theirs"))


def test_a_link_that_is_put_there_meanwhile_is_not_followed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever exchanges the file between looking and opening wins nothing: what was opened is looked at again."""
    swapped = place / "admin"

    original = os.stat

    def stat_then_swap(path: object, *arguments: object, **more: object) -> os.stat_result:
        found = original(path, *arguments, **more)  # type: ignore[call-overload]
        if path == "admin":
            swapped.unlink()
            swapped.symlink_to(tmp_path / "outside")
        return found  # type: ignore[no-any-return]

    monkeypatch.setattr(os, "stat", stat_then_swap)
    with pytest.raises(AnswersInvalid, match="cannot be read: Too many levels of symbolic links"):
        host(place).of(SERVICE)(ref("secret", "admin"))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("fifo", "not a regular file"),
        ("socket", "not a regular file"),
        ("open", "everybody may read"),
        ("shared", "it may be written by others"),
        ("latin", "not UTF-8"),
        ("long", "longer than"),
        ("empty", "empty"),
        ("nothing", "no such secret"),
        ("folder", "no such secret"),
        ("admin/x", "no name of a secret"),
    ],
)
def test_what_cannot_be_had_is_said_without_it(
    place: Path, name: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fault names the reference and what to do, and nothing that stood in the file."""
    private(place / "open", CANARY.encode()).chmod(0o604)
    private(place / "shared", CANARY.encode()).chmod(0o620)
    private(place / "latin", CANARY.encode() + b"\xe4")
    private(place / "long", b"x" * (SECRET_BYTES_MAX + 1))
    private(place / "empty", b"\n")
    (place / "folder").mkdir()
    os.mkfifo(place / "fifo", 0o600)
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(place)  # The path of a socket is short.
        listener.bind("socket")
        said = refused(place, ref("secret", name))
    assert why in said
    assert name in said


@pytest.mark.parametrize(("part", "name"), [("", "admin"), ("", "own"), ("shop", "own")])
def test_a_directory_that_others_may_write_to_holds_no_secrets(place: Path, part: str, name: str) -> None:
    """Whoever may put files there would decide what a guest's password is."""
    (place / part).chmod(0o770)
    assert "its directory may be written by others; chmod go-w" in refused(place, ref("secret", name))


@pytest.mark.parametrize("part", ["", "admin"])
def test_what_belongs_to_somebody_else_is_no_secret(place: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the directory nor the file may be a user's: he could make it be something else at any time."""
    if os.geteuid() == 0:
        os.chown(place / part, 12345, -1)
    else:  # Who cannot give a file away is somebody else himself.
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "neither root's nor the daemon's" in refused(place, ref("secret", "admin"))


def test_a_file_that_cannot_be_read_to_its_end_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is reading and not opening that fails, as on a broken disk."""

    def broken(descriptor: int, count: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", broken)
    assert "cannot be read: Input/output error" in refused(place, ref("secret", "admin"))


def test_a_variable_is_the_daemons_own_unless_it_is_listed(place: Path) -> None:
    """One answer for all that are not listed, set or not; what is listed and not set is said."""
    said = {
        name: refused(place, ref("env", name)).replace(f" {name}:", " NAME:")
        for name in ("PRIVATE", "PATH", "NOBODY")
    }
    assert set(said.values()) == {"env NAME: the configuration does not list this variable; secrets_env, on the host"}
    assert "no such variable" in refused(place, ref("env", "UNSET"))


def test_without_a_directory_or_credentials_it_says_how_to_have_some(tmp_path: Path) -> None:
    """A daemon that systemd gave no credentials says which line of its unit is missing."""
    bare = HostSecrets(tmp_path / "absent", environment={})
    assert "LoadCredential" in bare.fault(SERVICE, ref("credential", "admin"))
    assert f"puts it into {tmp_path}/absent" in bare.fault(SERVICE, ref("secret", "admin"))
