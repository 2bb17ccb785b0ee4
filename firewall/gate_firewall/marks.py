"""The layout of packet marks and conntrack marks: which bits are ours, and what they say.

::

    31     24 23    20 19 18 17      12 11         0
    [ epoch ] [verdict] r  u  [ group ] [ others'  ]

A conntrack mark carries the verdict on its flow, the epoch in which it was given, and the number of the client's group.
A packet mark carries a request to the classifier, and then its answer. Bits 11 to 0 belong to others: when a packet is
asked about, they are restored from its conntrack mark, and they come back with the answer unchanged.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

OTHERS: Final = 0x0000_0FFF
EPOCH: Final = 0xFF00_0000
VERDICT: Final = 0x00F0_0000
SETTLED: Final = 0x0030_0000
"""The part of the verdict that is set where a flow passes or is blocked."""
GROUP: Final = 0x0003_F000
FROM_ROUTER: Final = 0x0008_0000
"""Packet mark only: the frame came in by the port towards the router."""
UNSHAKEN: Final = 0x0004_0000
"""A client's SYN opened the flow, and no SYN of the responder has answered it: it may have the flow's octets from before."""

# What a request says where an answer has the group. Packet mark only.
REPLY: Final = 0x0000_1000
"""The packet runs against the direction in which its flow was opened."""
DECIDED: Final = 0x0000_2000
"""The flow has a verdict of an epoch that is over."""
NEW: Final = 0x0000_8000
"""Conntrack knew nothing of the flow."""
OPEN: Final = 0x0000_4000
"""The client's device may pass while nobody listens."""

EPOCHS: Final = 255
"""Epochs run from 1 to 255 and begin again. A flow without one packet through 255 changes of policy keeps its
verdict; epoch 0 is the mark of a flow nobody judged."""


class Answer(IntEnum):
    """The verdict field; in NONE, PENDING and UNANSWERED the flow is open."""

    NONE = 0
    ACCEPT = 1
    BLOCK = 2
    PENDING = 4
    """The name is allowed, but the responder has not acknowledged it: each packet is asked about, bare ones as well."""
    UNANSWERED = 12
    """The name is allowed, but the responder has not answered it: the kernel makes it ACCEPT with the server's hello, and all
    other packets with payload are asked about."""
    WATCH = 5
    """The flow passes, but what its initiator sends is read on: each packet of it with payload is asked about."""
    ASK = 8
    """A request nobody answered. Packet mark only."""


class Request(NamedTuple):
    """What the kernel tells of a packet that it asks about."""

    from_router: bool
    reply: bool
    decided: bool
    new: bool = False
    unshaken: bool = False


def field(answer: Answer) -> int:
    """Return the mark with nothing but ``answer``."""
    return answer << 20


def _parse(mark: int) -> Request:
    return Request(
        bool(mark & FROM_ROUTER),
        bool(mark & REPLY),
        bool(mark & DECIDED),
        bool(mark & NEW),
        bool(mark & UNSHAKEN),
    )


_REQUESTS: Final = tuple(_parse(bits << 12) for bits in range(256))
"""By bits 12 to 19, which have all that a request says: each packet has one."""


def parse_request(mark: int) -> Request:
    """Return what the packet mark of a queued packet says."""
    return _REQUESTS[mark >> 12 & 0xFF]


def render_answer(asked: int, answer: Answer, epoch: int, group: int) -> int:
    """Return the packet mark that answers the packet mark ``asked``.

    Args:
        asked: Packet mark of the request; others' bits, the port and ``UNSHAKEN`` are kept.
        answer: The verdict. NONE leaves the flow undecided.
        epoch: 1 to 255.
        group: Number of the client's group, 1 to 63.
    """
    kept = asked & (OTHERS | FROM_ROUTER | UNSHAKEN)
    if answer is Answer.NONE:
        return kept
    return kept | epoch << 24 | answer << 20 | group << 12


def next_epoch(epoch: int) -> int:
    """Return the epoch after ``epoch``; 1 after 0 and after 255."""
    return epoch % EPOCHS + 1
