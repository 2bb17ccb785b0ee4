"""From decisions to responses: what a blocked query gets, and what an upstream's answer must pass. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Final, assert_never

from gate_core.clients import Address, Client
from gate_core.policy import Decision, Policy, Reason, decide
from gate_dns.settings import BlockAnswer, DnsSettings
from gate_dns.wire import Ede, Qclass, Qtype, Query, Rcode, Response


@dataclass(frozen=True, slots=True)
class Forward:
    """The query goes to an upstream."""

    query: Query


def respond(
    query: Query, decision: Decision, policy: Policy, settings: DnsSettings
) -> Response | Forward:
    """Return what ``query`` gets by ``decision``; the upstream's answer, if any, must still pass ``recheck``."""
    # What we do not speak comes first: it says nothing about the name.
    if query.edns and query.edns.version:
        return Response(Rcode.BADVERS)
    if query.qclass != Qclass.IN or query.qtype in (Qtype.AXFR, Qtype.IXFR):
        return Response(Rcode.REFUSED)
    # Whatever place decided: also where a pause would stop a canary by an address, or its essential list let it through.
    if not decision.blocked and not policy.canaries.match(query.qname):
        return Forward(query)
    return block(query, decision, policy, settings)


def block(query: Query, decision: Decision, policy: Policy, settings: DnsSettings) -> Response:
    """Return what a query for a type of class IN gets where ``decision`` stops it."""
    # A canary must not exist; the decision may also be about a name that the one asked for is an alias of.
    if policy.canaries.match(query.qname) or decision.reason is Reason.CANARY:
        return _negative(Rcode.NXDOMAIN, decision, policy, settings)
    if query.qtype not in (Qtype.A, Qtype.AAAA):
        return _negative(Rcode.NOERROR, decision, policy, settings)
    match settings.block_answer:
        case BlockAnswer.NXDOMAIN:
            return _negative(Rcode.NXDOMAIN, decision, policy, settings)
        case BlockAnswer.NODATA:
            return _negative(Rcode.NOERROR, decision, policy, settings)
        case BlockAnswer.BLOCK_PAGE:
            v4 = query.qtype == Qtype.A
            address = settings.block_page_ipv4 if v4 else settings.block_page_ipv6
        case BlockAnswer.NULL_ADDRESS:
            address = IPv4Address(0) if query.qtype == Qtype.A else IPv6Address(0)
        case _:
            assert_never(settings.block_answer)
    if address is None:
        return _negative(Rcode.NOERROR, decision, policy, settings)
    return _forged(address, decision, settings)


def _negative(rcode: Rcode, decision: Decision, policy: Policy, settings: DnsSettings) -> Response:
    return Response(
        rcode,
        ttl_s=settings.block_ttl_s,
        serial=policy.version,
        edes=(_ede(decision),),
        text=_text(decision),
    )


def _forged(address: Address, decision: Decision, settings: DnsSettings) -> Response:
    return Response(
        Rcode.NOERROR,
        ttl_s=settings.block_ttl_s,
        address=address,
        edes=(_ede(decision), Ede.FORGED_ANSWER),
        text=_text(decision),
    )


def _ede(decision: Decision) -> Ede:
    # RFC 8914, section 4.17: Censored is "imposed by an external requirement": the law, not the school.
    return Ede.CENSORED if decision.reason is Reason.ILLEGAL else Ede.BLOCKED


def _text(decision: Decision) -> str:
    # A child's browser may show it: of the illegal tier no category is named.
    if decision.reason is Reason.ILLEGAL:
        return "illegal content"
    return f"school policy {decision.rule_id}"


_ABOUT_THE_TARGET: Final = frozenset((Reason.CANARY, Reason.EXCEPTION, Reason.MATRIX))
"""Reasons for which the target of a CNAME record stops an answer, as they speak of that very name. A pause, a lesson's
list or a group's default speak of the names they leave out; where they allow ``www.example.org``, they mean it with
the content network it is an alias of, which stands on no school's list."""

_NOT_ASKED_FOR: Final = frozenset((Reason.MATRIX, Reason.DEFAULT))
"""Reasons which allow a name nobody allowed by name. Whoever allowed a name by name has allowed what it is an alias
of, short of the illegal tier."""


def recheck(
    decision: Decision, targets: Iterable[str], policy: Policy, client: Client, at: datetime | None
) -> Decision | None:
    """Return the decision that stops an upstream's answer; None where it may be kept.

    Args:
        decision: Allows the name asked for.
        targets: Canonical names that the answer says it is an alias of.
        policy: The policy that made ``decision``.
        client: Who asks.
        at: The time of ``decision``.
    """
    decisions = [decide(policy, client, target, at) for target in targets]
    blocked = [d for d in decisions if d.blocked]
    illegal = next((d for d in blocked if d.reason is Reason.ILLEGAL), None)
    if illegal or decision.reason not in _NOT_ASKED_FOR:
        return illegal
    return next((d for d in blocked if d.reason in _ABOUT_THE_TARGET), None)
