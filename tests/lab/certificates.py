"""The laboratory's certificate authority: one root, one key for all leaves, a certificate for whatever name is asked for."""

from __future__ import annotations

import datetime as dt
import hashlib
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=30)
LEAF = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Laboratory")])
"""Whose names are those of the extension; without any subject kdig takes the certificate for broken."""


class Authority:
    """A root and what it signs; its files lie in ``directory``: ``ca.pem`` for clients, ``leaf.spki`` for Chromium."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Laboratory root")])
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        self._root = (
            self._builder(self._subject, self._root_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._root_key, hashes.SHA256())
        )
        spki = self._leaf_key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        (directory / "ca.pem").write_bytes(self._root.public_bytes(Encoding.PEM))
        (directory / "leaf.spki").write_bytes(b64encode(hashlib.sha256(spki).digest()))
        self._lock = threading.Lock()
        self._contexts = lru_cache(maxsize=1024)(self._context)

    def context(self, *names: str) -> ssl.SSLContext:
        """Return a server's context with a certificate for ``names``, which may be addresses; the same each time."""
        with self._lock:
            return self._contexts(*names)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        since = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)  # noqa: TID251  # the servers' clock is the machine's
        root_public = self._root_key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(since + LIFETIME)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root_public), critical=False
            )
        )

    def write_leaf(self, file: Path, *names: str) -> None:
        """Write a certificate for ``names`` to ``file``, with its key."""
        leaf = (
            self._builder(LEAF, self._leaf_key)
            .add_extension(x509.SubjectAlternativeName(_general(names)), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._root_key, hashes.SHA256())
        )
        file.write_bytes(
            leaf.public_bytes(Encoding.PEM)
            + self._leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )

    def _context(self, *names: str) -> ssl.SSLContext:
        file = self._directory / "leaf.pem"
        self.write_leaf(file, *names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        file.unlink()
        return context


def _general(names: Iterable[str]) -> Iterable[x509.GeneralName]:
    for name in names:
        try:
            yield x509.IPAddress(ip_address(name))
        except ValueError:
            yield x509.DNSName(name)
