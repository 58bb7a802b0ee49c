"""The certificates of endpoints, asked about while they are being looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vmrole_unattend.secret import Reveal, Secret, SecretRef, SecretSource

from orchestrator.drivers.balancer.haproxy_tls import Certificates
from orchestrator.model import Certificate
from tests.contract.suites.balancer import HTTP
from tests.world.certificates import EXPIRED, certificate

SHOP = Certificate(
    certificate=SecretRef(source=SecretSource.SECRET, name="shop.crt"),
    key=SecretRef(source=SecretSource.SECRET, name="shop.key"),
)
HTTPS = replace(HTTP, probe=None, service="shop", certificates=(SHOP,))


def test_what_is_wrong_is_told_while_it_is_looked_at_again(tmp_path: Path) -> None:
    """Secrets take their time, and are looked at every few seconds: nobody hears in between that all is well."""
    pem, key = certificate("shop.example", EXPIRED)
    kept = {"shop.crt": pem, "shop.key": key}
    meanwhile: list[Sequence[str]] = []

    def secrets(_service: str) -> Reveal:
        def reveal(wanted: SecretRef) -> Secret:
            meanwhile.append(certificates.faults())
            return Secret(kept[wanted.name])

        return reveal

    certificates = Certificates(tmp_path / "tls", secrets)
    certificates.renew([HTTPS])
    (expired,) = certificates.faults()
    assert "it has expired; renew it" in expired
    meanwhile.clear()
    certificates.renew([HTTPS])
    assert meanwhile == [[expired], [expired]]
    kept["shop.crt"], kept["shop.key"] = certificate("shop.example")
    certificates.renew([HTTPS])
    assert certificates.faults() == []
