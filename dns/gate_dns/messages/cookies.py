"""Server cookies (RFC 7873), by which a client tells our answers from forged ones.

Nothing is granted to whoever sends one back, so that none needs to be remembered; a client without is served alike.
"""

from __future__ import annotations

import secrets
from hashlib import blake2s
from typing import Final

RENEWAL_S: Final = 86_400.0
"""RFC 7873, section 7.1: a secret is to be used for no more than 36 days, and better for about one."""
_OCTETS: Final = 8


class ServerCookies:
    """The cookies of one worker: a keyed hash of client cookie and address (RFC 7873, appendix B.1)."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, cookie: bytes, source: bytes, now: float) -> bytes:
        """Return the server cookie, 8 octets.

        Args:
            cookie: Begins with the client cookie, 8 octets.
            source: The client's address, 4 or 16 octets.
            now: Monotonic time in seconds.
        """
        period = int(now // RENEWAL_S).to_bytes(8, "big")
        hashed = blake2s(period + cookie[:8] + source, digest_size=_OCTETS, key=self._secret)
        return hashed.digest()
