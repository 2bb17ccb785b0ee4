"""The appliance's own key: what it writes for people outside carries its signature (Ed25519, RFC 8032).

The key tells that this appliance wrote a text, not that the text is good: it is made at first start, and nobody
vouches for it. Whoever compares its fingerprint with the one that the appliance shows has checked it.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gate_appliance.durable import write_durably

_GROUPS: Final = 8
_GROUP_DIGITS: Final = 4


class Signer:
    """The key at ``path``; made there, mode 0600, where there is none."""

    def __init__(self, path: Path) -> None:
        """Load the key, or make it.

        Raises:
            ValueError: What lies there is no Ed25519 key; it is left as it is.
            OSError: The disk refuses.
        """
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_durably(path, pem, 0o600)
        key = _key_in(path.read_bytes())
        if key is None:
            raise ValueError(
                f"{path} is no Ed25519 key in PEM form; put it back from a backup, or take it away to have another made"
            )
        self._key = key
        self.public_key: Final = base64.b64encode(key.public_key().public_bytes_raw()).decode()
        """In base64."""
        self.fingerprint: Final = fingerprint(self.public_key)
        """What people compare."""

    def sign(self, octets: bytes) -> str:
        """Return the signature of ``octets``, in base64."""
        return base64.b64encode(self._key.sign(octets)).decode()


def fingerprint(public_key: str) -> str:
    """Return the first 128 bits of a key's SHA-256 as people read them: eight groups of four hexadecimal digits.

    Raises:
        ValueError: ``public_key`` is not base64.
    """
    digits = hashlib.sha256(_octets(public_key)).hexdigest()
    size = _GROUP_DIGITS
    return "-".join(digits[size * n : size * (n + 1)] for n in range(_GROUPS))


def verify(public_key: str, signature: str, octets: bytes) -> bool:
    """Tell whether ``signature`` is that of ``octets`` by ``public_key``; what is no key or signature at all is not."""
    try:
        key = Ed25519PublicKey.from_public_bytes(_octets(public_key))
        key.verify(_octets(signature), octets)
    except (InvalidSignature, ValueError):
        return False
    return True


def _key_in(pem: bytes) -> Ed25519PrivateKey | None:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PrivateKey) else None


def _octets(text: str) -> bytes:
    octets = base64.b64decode(text, validate=True)
    if base64.b64encode(octets).decode() != text:
        # The last letter has bits that say nothing; with them, there would be several texts for one signature.
        raise ValueError("the base64 is not in its one form")
    return octets
