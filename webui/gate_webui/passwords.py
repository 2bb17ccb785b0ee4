"""Passwords: what is good enough, and argon2id."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gate_webui.texts import gettext

MIN_CHARACTERS: Final = 12
MAX_CHARACTERS: Final = 200

_OBVIOUS: Final = (
    "password",
    "passw0rd",
    "letmein",
    "welcome",
    "qwertyuiop",
    "qwerty",
    "schoolgate",
    "changeme",
    "administrator",
    "coordinator",
    "abcdefghijklmnopqrstuvwxyz",
    "1234567890",
    "12345678",
    "987654321",
)


NOBODYS: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$nLpSfHy+jb+NND9iYnDYcg$bB2dcR"
    "Huvvpd9E1e7xvgKLWr/gmCflysoPtuY2Ib6IA"
)
"""Hash of a random text that nobody kept: checked where there is no account, so that it takes as long."""


def fault_of(password: str, *known: str) -> str | None:
    """Return what is wrong with a new ``password``, as a sentence; None where it will do.

    Args:
        password: As typed.
        known: What others know of the person and the school.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        return gettext(
            "Use %(least)s to %(most)s characters. Three random words are good.",
            least=MIN_CHARACTERS,
            most=MAX_CHARACTERS,
        )
    # What is left once an obvious word is taken out must be as good as a short password.
    rest = password.lower()
    for word in (*_OBVIOUS, *(w for k in known for w in k.lower().split() if len(w) > 3)):
        rest = rest.replace(word, "")
    if len(rest) < MIN_CHARACTERS / 2 or len(set(rest)) < 4:
        return gettext("This password is easy to guess. Three random words are good.")
    return None


class BusyError(RuntimeError):
    """Others are being signed in; try again in a moment."""


class Passwords:
    """Hashes and checks passwords, one at a time: each takes 64 MiB and all a core has.

    One more may wait for its turn, and a third if it comes from where somebody has signed in before. All others get
    ``BusyError`` at once, so that a flood of guesses takes neither the threads that serve everything else nor the
    coordinator's place.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._one = threading.Lock()
        self._places = threading.Semaphore(2)
        self._kept_place = threading.Semaphore(1)

    def hash(self, password: str) -> str:
        """Return the argon2id hash of ``password``; may raise ``BusyError``."""
        with self._turn():
            return self._hasher.hash(password)

    def matches(self, password: str, stored: str | None, *, familiar: bool = False) -> bool:
        """Tell whether ``stored`` was made from ``password``; takes as long where nothing is stored.

        Args:
            password: As typed.
            stored: argon2id hash; None where there is no account.
            familiar: Whether it comes from where somebody has signed in before; one place is kept for those.

        Raises:
            BusyError: Too many others are waiting.
        """
        with self._turn(familiar=familiar):
            try:
                self._hasher.verify(stored or NOBODYS, password)
            except (VerificationError, InvalidHashError):
                return False
        return stored is not None

    @contextmanager
    def _turn(self, *, familiar: bool = False) -> Iterator[None]:
        wanted = (self._kept_place, self._places) if familiar else (self._places,)
        place = next((p for p in wanted if p.acquire(blocking=False)), None)
        if place is None:
            raise BusyError
        try:
            with self._one:
                yield
        finally:
            place.release()
