"""Names whose fate the tests know: what the shipped lists and table say of them at any hour."""

from __future__ import annotations

from typing import Final

ALLOWED: Final = "www.bbc.co.uk"
"""On no list."""
BLOCKED: Final = "www.bet365.com"
"""Gambling: closed to everybody."""
FOR_STAFF: Final = "www.youtube.com"
"""Video: the tests close it to pupils and guests, and leave it open to staff."""
SHOP: Final = "www.argos.co.uk"
"""Shopping: closed to pupils; the tests open it."""
