"""A question in flight: who waits for its answer, who is asked, and what carries it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gate_dns.messages.answer import Answer
from gate_dns.messages.codes import Ede
from gate_dns.messages.render import question_frame
from gate_dns.messages.wire import Query

if TYPE_CHECKING:
    from gate_dns.forwarding.contact import Contact


class Failure(NamedTuple):
    """No upstream gave an answer."""

    ede: Ede


Outcome = Answer | Failure
Answered = Callable[[Outcome, str], None]
"""Takes what came of a question, and the name of the upstream that said so, as configured; "" where none did."""


class Flight:
    """One question and all who wait for its answer."""

    __slots__ = (
        "answered",
        "asked",
        "asked_at",
        "carrier",
        "contact",
        "due",
        "edns",
        "edns_refused",
        "fault",
        "frame",
        "key",
        "last_answer",
        "others",
        "query",
        "registered",
        "resent",
        "route",
        "sent",
        "tried",
    )

    def __init__(  # a row of values
        self,
        query: Query,
        key: bytes,
        answered: Answered | None,
        route: tuple[Contact, ...],
        registered: str,
    ) -> None:
        """Begin a flight that is not under way yet.

        Args:
            query: What is asked.
            key: Under which questions are merged.
            answered: Told what came of it; None for a question that nobody waits for.
            route: Who may be asked, best first.
            registered: The registered name above what is asked for.
        """
        self.query = query
        self.frame = question_frame(query)
        """What stands in the message besides ID and question."""
        self.key = key
        self.answered = answered
        self.others: list[Answered] | None = None
        """Who asked the same while it was in flight."""
        self.route = route
        self.registered = registered
        self.edns = True
        """Whether ``frame`` has an OPT record."""
        self.edns_refused: tuple[Contact, ...] = ()
        """Who did not understand the question with EDNS."""
        self.tried: tuple[Contact, ...] = ()
        """Who gave no answer."""
        self.carrier: Carrier | None = None
        """What carries it; None before and after."""
        self.sent = b""
        """The message as it left."""
        self.asked = query.question
        """The question as it left, in the letter case of the message."""
        self.last_answer: tuple[Answer, str] | None = None
        """An upstream's own SERVFAIL or REFUSED, given where no other does better."""
        self.fault = Ede.NO_REACHABLE_AUTHORITY
        # All set when it is sent.
        self.contact: Contact
        """Who is asked."""
        self.asked_at: float
        """Monotonic time in seconds."""
        self.due: float
        """Monotonic time in seconds at which something is to be done about it."""
        self.resent: bool
        """Whether it was sent more than once."""


class Carrier(Protocol):
    """A socket or connection that carries questions."""

    def drop(self, flight: Flight) -> None:
        """Wait for its answer no longer."""


class Answers(Protocol):
    """Who is told what becomes of questions."""

    def received(self, flight: Flight, message: bytes) -> None:
        """Take a ``message`` that answers the question; it may still be broken."""

    def failed(self, flight: Flight, fault: OSError) -> None:
        """Take note that nothing more will come; the question is carried no longer."""

    def doubtful(self, flight: Flight) -> None:
        """Take note that its answers over UDP are not to be trusted; the question is carried no longer."""
