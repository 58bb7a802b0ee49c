"""Certificates are looked at before anybody serves with them: real ones, by the host's own OpenSSL."""

from __future__ import annotations

import subprocess

import pytest
from vmrole_unattend.secret import Secret

from orchestrator.drivers.tools.certificates import REMEDY, Trouble, examine
from tests.world.certificates import EXPIRED, NOT_YET, certificate

PEM, KEY = certificate("shop.example")
OTHER_PEM, OTHER_KEY = certificate("shop.example")
LOCKED = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC\n-----END ENCRYPTED PRIVATE KEY-----\n"
OLD_LOCKED = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIC\n-----END EC PRIVATE KEY-----\n"
BROKEN = "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n"


def test_a_good_one_is_good_with_its_key_behind_or_beside_it() -> None:
    """In any order; what else stands in the text does not get through."""
    for whole, key in ((PEM + KEY, None), (KEY + "hello\n" + PEM, None), (PEM, KEY), (PEM + OTHER_PEM, KEY)):
        bundle = examine(Secret(whole), None if key is None else Secret(key))
        assert bundle.trouble is None, whole
        assert bundle.loads
        assert bundle.pem.reveal().startswith(PEM)
        assert bundle.pem.reveal().endswith(KEY)
        assert "hello" not in bundle.pem.reveal()


def test_it_is_known_by_what_everybody_may_see() -> None:
    """Its digest is that of certificate and chain, and not of the key."""
    assert examine(Secret(PEM), Secret(KEY)).digest == examine(Secret(PEM), Secret(OTHER_KEY)).digest
    assert examine(Secret(PEM), Secret(KEY)).digest != examine(Secret(PEM + OTHER_PEM), Secret(KEY)).digest


@pytest.mark.parametrize(
    ("pem", "key", "trouble"),
    [
        ("", "", Trouble.NO_CERTIFICATE),
        (KEY, None, Trouble.NO_CERTIFICATE),
        (PEM, None, Trouble.NO_KEY),
        (PEM + KEY, PEM, Trouble.NO_KEY),
        (PEM, LOCKED, Trouble.LOCKED),
        (PEM, OLD_LOCKED, Trouble.LOCKED),
        (PEM, OTHER_KEY, Trouble.MISFIT),
        (OTHER_PEM + PEM, KEY, Trouble.MISFIT),
        (BROKEN, KEY, Trouble.UNREADABLE),
        (PEM, KEY.replace("M", "N"), Trouble.UNREADABLE),
    ],
)
def test_what_cannot_be_loaded_is_said(pem: str, key: str | None, trouble: Trouble) -> None:
    """And nobody is asked for a passphrase."""
    bundle = examine(Secret(pem), None if key is None else Secret(key))
    assert (bundle.trouble, bundle.loads) == (trouble, False)
    assert REMEDY[trouble]


@pytest.mark.parametrize(("valid", "trouble"), [(EXPIRED, Trouble.EXPIRED), (NOT_YET, Trouble.NOT_YET)])
def test_what_clients_would_not_believe_loads(valid: tuple[object, object], trouble: Trouble) -> None:
    """By the host's clock."""
    pem, key = certificate("shop.example", valid)  # type: ignore[arg-type]
    bundle = examine(Secret(pem), Secret(key))
    assert (bundle.trouble, bundle.loads) == (trouble, True)


def test_a_key_that_is_too_short_is_said() -> None:
    """OpenSSL serves nobody with it."""
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:512", "-nodes", "-subj", "/CN=a", "-keyout", "-", "-out", "-"]
    made = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert examine(Secret(made.stdout), None).trouble is Trouble.UNFIT


def test_a_megabyte_of_nonsense_takes_no_time() -> None:
    """Each mark begins nothing that is looked for to the text's end."""
    assert examine(Secret("-----BEGIN CERTIFICATE-----\n" * 35_000), None).trouble is Trouble.NO_CERTIFICATE
