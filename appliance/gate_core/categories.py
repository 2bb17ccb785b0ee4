"""The categories that lists sort names into: 64 bits, of which the first four are the illegal tier.

A category's bit is part of the format of compiled lists: entries are added at the end, never moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class Category:
    """One kind of content, and the row of the acceptable-use table it belongs to."""

    bit: int
    """Place in the mask, 0 to 63."""
    id: str
    title: str
    row: str
    """Id of the row of the acceptable-use table that decides it by default."""
    concern: str
    """Which of the four Cs of Keeping Children Safe in Education: content, contact, conduct, commerce."""

    @property
    def mask(self) -> int:
        """The category as a mask of one bit."""
        return 1 << self.bit


_TABLE: Final = (
    # id, title, row, concern
    ("child-abuse", "Child sexual abuse material", "child-abuse", "content"),
    ("grooming", "Grooming and sexual contact with children", "grooming", "contact"),
    ("extreme-pornography", "Extreme pornography", "extreme-pornography", "content"),
    ("terrorism", "Terrorism and criminal hatred", "criminal-hatred", "content"),
    ("pornography", "Pornography and nudity", "pornography", "content"),
    ("discrimination", "Discrimination and hate speech", "discrimination", "content"),
    ("violence", "Violence", "violence", "content"),
    ("weapons", "Weapons", "violence", "content"),
    ("self-harm", "Self-harm, suicide and eating disorders", "violence", "content"),
    ("drugs", "Drugs", "ethos", "content"),
    ("alcohol-tobacco", "Alcohol, tobacco and vaping", "ethos", "commerce"),
    ("dating", "Dating", "ethos", "contact"),
    ("misinformation", "Misinformation and conspiracy theories", "ethos", "content"),
    ("school-blocked", "Blocked by the school", "ethos", "content"),
    ("private-business", "Private business and job search", "private-business", "commerce"),
    ("advertising", "Advertising and trackers", "private-business", "commerce"),
    ("vpn", "VPN services", "bypass", "conduct"),
    ("proxy", "Web proxies and anonymisers", "bypass", "conduct"),
    ("encrypted-dns", "Encrypted DNS resolvers", "bypass", "conduct"),
    ("tor", "Tor and similar networks", "bypass", "conduct"),
    ("remote-desktop", "Remote control of computers", "bypass", "conduct"),
    ("piracy", "Piracy of films, music and software", "copyright", "conduct"),
    ("phishing", "Phishing and scams", "confidential", "commerce"),
    ("paste", "Paste and anonymous upload sites", "confidential", "conduct"),
    ("malware", "Malware and its control servers", "malware", "commerce"),
    ("hacking", "Hacking tools and stalkerware", "malware", "conduct"),
    ("cryptomining", "Mining of cryptocurrency in the browser", "malware", "commerce"),
    ("large-downloads", "Large software downloads", "unfair-usage", "conduct"),
    ("games-educational", "Educational games", "games-educational", "content"),
    ("games", "Games", "games", "content"),
    ("gambling", "Gambling", "gambling", "commerce"),
    ("shopping", "Shopping", "shopping", "commerce"),
    ("file-sharing", "File sharing", "file-sharing", "conduct"),
    ("peer-to-peer", "Peer-to-peer networks", "file-sharing", "conduct"),
    ("social-media", "Social media", "social-media", "contact"),
    ("messaging", "Messaging apps", "messaging", "contact"),
    ("anonymous-chat", "Chat with strangers", "messaging", "contact"),
    ("ai-chat", "AI chat and companions", "messaging", "contact"),
    ("video", "Video sharing", "video", "content"),
    # With what offends, not with getting round the filter: to type into the wrong search box is no such try.
    ("unsafe-search", "Search engines without safe search", "ethos", "content"),
)

CATEGORIES: Final = tuple(
    Category(bit, id_, title, row, concern) for bit, (id_, title, row, concern) in enumerate(_TABLE)
)
"""All categories, in the order of their bits."""

BY_ID: Final = {category.id: category for category in CATEGORIES}

ILLEGAL_MASK: Final = 0b1111
"""The illegal tier. A constant of the program, so that no policy, import or edit can make it smaller."""

UNSAFE_SEARCH_MASK: Final = BY_ID["unsafe-search"].mask
"""Counts only for groups with safe search: for the others these are sites like any."""

SUPERSEDED: Final = {"games-educational": BY_ID["games"].mask}
"""What a category takes away from a name's mask: an educational game is no game (row 15 before row 16)."""


def mask_of(ids: Iterable[str]) -> int:
    """Return the mask of the categories named ``ids``.

    Raises:
        ValueError: An id is no category; the message lists those that are.
    """
    mask = 0
    for id_ in ids:
        if id_ not in BY_ID:
            raise ValueError(f"{id_!r} is no category; allowed are {', '.join(sorted(BY_ID))}")
        mask |= BY_ID[id_].mask
    return mask


def in_mask(mask: int) -> Iterator[Category]:
    """Yield the categories of a ``mask``, in the order of their bits; unknown bits are passed over."""
    return (category for category in CATEGORIES if mask & category.mask)


def effective(mask: int) -> int:
    """Return ``mask`` less what its own categories supersede; the illegal tier always stays."""
    for id_, superseded in SUPERSEDED.items():
        if mask & BY_ID[id_].mask:
            mask &= ~superseded | ILLEGAL_MASK
    return mask


class CategoryIndex(Protocol):
    """All lists, compiled."""

    def mask(self, name: str) -> int:
        """Return the categories of a canonical ``name``: the union over the name and all names above it."""

    @property
    def lists_addresses(self) -> bool:
        """Whether any address is listed: where none is, there is no need to ask."""

    def address_mask(self, address: bytes) -> int:
        """Return the categories of the 4 or 16 octets of ``address``."""
