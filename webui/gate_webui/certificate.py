"""The appliance's own certificate: made at first start, self-signed, one PEM file with the key.

One file, so that no power cut can leave a key beside another key's certificate.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_FOR: Final = timedelta(days=800)
"""Apple's devices refuse server certificates that are valid for more than 825 days."""

_RENEW_BEFORE: Final = timedelta(days=60)
_COMMON_NAME: Final = "Schoolgate"


def make_certificate(
    path: Path, *, names: Iterable[str], addresses: Iterable[str], now: datetime
) -> None:
    """Write a new key and a certificate for ``names`` and ``addresses`` to ``path``, mode 0600, durably.

    Args:
        path: PEM file; its folder exists. What was there is replaced whole.
        names: Host names.
        addresses: IPv4 and IPv6 addresses.
        now: Aware time; the certificate is valid from a day before it, for clocks that are behind.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _COMMON_NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALID_FOR)
        .add_extension(_alternative_names(names, addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_secret(path, private + certificate.public_bytes(Encoding.PEM))


def write_secret(path: Path, octets: bytes) -> None:
    """Write ``octets`` to ``path`` for its owner alone; after a power cut there is the old content or the new, whole."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def is_current(
    path: Path, *, names: Iterable[str], addresses: Iterable[str], now: datetime
) -> bool:
    """Tell whether ``path`` holds a certificate for all ``names`` and ``addresses`` that is not about to end."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        has = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    ends = certificate.not_valid_after_utc
    return set(_alternative_names(names, addresses)) <= set(has) and now < ends - _RENEW_BEFORE


def _alternative_names(
    names: Iterable[str], addresses: Iterable[str]
) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            *(x509.DNSName(name) for name in names),
            *(x509.IPAddress(ip_address(address)) for address in addresses),
        ]
    )
