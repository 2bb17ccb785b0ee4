import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gate_webui.certificate import is_current, make_certificate

NOW = datetime(2027, 1, 12, 10, 41, tzinfo=UTC)
WHO = {"names": ["schoolgate.local"], "addresses": ["192.0.2.2", "2001:db8::2"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "certificate.pem"
    make_certificate(path, **WHO, now=NOW)
    return path


def test_make_certificate_names_names_and_addresses(path: Path):
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["schoolgate.local"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ip_address("192.0.2.2"),
        ip_address("2001:db8::2"),
    ]
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=825)


def test_make_certificate_is_for_its_owner_alone(path: Path):
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_make_certificate_serves(path: Path):
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)


def test_make_certificate_makes_a_new_key_each_time(path: Path):
    before = path.read_bytes()
    make_certificate(path, **WHO, now=NOW)
    assert path.read_bytes() != before


def test_is_current_holds_for_what_was_made(path: Path):
    assert is_current(path, **WHO, now=NOW)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"addresses": ["192.0.2.3"]}, id="another address"),
        pytest.param({"names": ["schoolgate.local", "gate.example"]}, id="one more name"),
        pytest.param({"now": NOW + timedelta(days=760)}, id="about to end"),
    ],
)
def test_is_current_does_not_hold(path: Path, other: dict[str, object]):
    assert not is_current(path, **{**WHO, "now": NOW, **other})


@pytest.mark.parametrize(
    "octets",
    [None, b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_is_current_does_not_hold_for_what_cannot_be_read(tmp_path: Path, octets: bytes | None):
    path = tmp_path / "certificate.pem"
    if octets is not None:
        path.write_bytes(octets)
    assert not is_current(path, **WHO, now=NOW)
