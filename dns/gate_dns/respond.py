"""From decisions to responses: what a blocked query gets, and what an upstream's answer must pass. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Final, assert_never

from gate_core.clients import Address, Client
from gate_core.policy import Action, Decision, Policy, Reason, decide, decide_address
from gate_dns.messages.answer import Answer
from gate_dns.messages.codes import Ede, Qclass, Qtype, Rcode
from gate_dns.messages.render import Response
from gate_dns.messages.wire import Query
from gate_dns.settings import BlockAnswer, DnsSettings

ANY_TTL_S: Final = 3600
"""Of the answer to a query for all types, which says nothing that may change."""
_IN: Final = int(Qclass.IN)
_ANY: Final = int(Qtype.ANY)
_BLOCK: Final = Action.BLOCK
# Tuples, as to hash an enumeration's value is a call.
_BEHIND_CANARIES: Final = (Reason.MATRIX, Reason.DEFAULT, Reason.EXCEPTION, Reason.LESSON)
_META: Final = frozenset((0, Qtype.OPT, *range(128, 256))) - {Qtype.ANY}
"""Types that no record has (RFC 6895, section 3.1): zone transfers, keys of transactions, and the unassigned ones."""


class Forward(Enum):
    """The query goes to an upstream."""

    FORWARD = "forward"


FORWARD: Final = Forward.FORWARD


def respond(
    query: Query, decision: Decision, policy: Policy, settings: DnsSettings
) -> Response | Forward:
    """Return what ``query`` gets by ``decision``; the upstream's answer, if any, must still pass ``recheck``."""
    # What we do not speak comes first: it says nothing about the name.
    if query.edns and query.edns.version:
        return Response(Rcode.BADVERS)
    qtype = query.qtype
    if query.qclass != _IN or qtype in _META:
        return Response(Rcode.REFUSED)
    # Also where a pause's essential list lets a canary through. What decides behind the canaries is about none of them.
    if decision.action is _BLOCK or (
        decision.reason not in _BEHIND_CANARIES and policy.canaries.match(query.qname)
    ):
        return block(query, decision, policy, settings)
    if qtype == _ANY:
        # RFC 8482, section 4.2: whoever forges a source gets no long answers sent there.
        return Response(Rcode.NOERROR, ttl_s=ANY_TTL_S, minimal_any=True)
    return FORWARD


def block(query: Query, decision: Decision, policy: Policy, settings: DnsSettings) -> Response:
    """Return what a query for a type of class IN gets where ``decision`` stops it."""
    # A canary must not exist; the decision may also be about a name that the one asked for is an alias of.
    if policy.canaries.match(query.qname) or decision.reason is Reason.CANARY:
        return _negative(Rcode.NXDOMAIN, decision, policy, settings)
    address: Address | None = None
    v4 = query.qtype == Qtype.A
    kind = _answer(decision, settings)
    match kind:
        case BlockAnswer.NXDOMAIN:
            # For each type: a name that is not there has none of them (RFC 8020).
            return _negative(Rcode.NXDOMAIN, decision, policy, settings)
        case BlockAnswer.NODATA:
            pass
        case BlockAnswer.BLOCK_PAGE:
            address = settings.block_page_ipv4 if v4 else settings.block_page_ipv6
        case BlockAnswer.NULL_ADDRESS:
            address = IPv4Address(0) if v4 else IPv6Address(0)
        case _:
            assert_never(kind)
    # The other types have none: an HTTPS or SVCB record would lead past the address.
    if address is None or query.qtype not in (Qtype.A, Qtype.AAAA):
        return _negative(Rcode.NOERROR, decision, policy, settings)
    return _forged(address, decision, settings)


def _answer(decision: Decision, settings: DnsSettings) -> BlockAnswer:
    for mask, kind in settings.block_answers:
        if decision.categories & mask:
            return kind
    return settings.block_answer


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


_ASKED_FOR: Final = (Reason.PAUSED, Reason.LESSON)


def _ede(decision: Decision) -> Ede:
    """Return the INFO-CODE that fits ``decision``.

    Censored is an "external requirement imposed by an entity other than the operator" (RFC 8914, section 4.17): the law.
    Filtered is "as requested by the client" (section 4.18): whoever teaches has asked for quiet, or for these sites only,
    on the devices of the class, for a while. All else is the "internal security policy imposed by the operator"
    (section 4.16): what the school has put on paper, and what it did to one device. Prohibited (section 4.19) goes
    with REFUSED, which sends clients to another resolver.
    """
    if decision.reason is Reason.ILLEGAL:
        return Ede.CENSORED
    return Ede.FILTERED if decision.blocked and decision.reason in _ASKED_FOR else Ede.BLOCKED


def _text(decision: Decision) -> str:
    # A child's browser may show it: of the illegal tier no category is named.
    if decision.reason is Reason.ILLEGAL:
        return "illegal content"
    return f"school policy {decision.rule_id}"


_ABOUT_THE_TARGET: Final = (Reason.CANARY, Reason.EXCEPTION, Reason.MATRIX)
"""Reasons for which the target of a CNAME, DNAME, SRV, HTTPS or SVCB record, or an address, stops an answer, as they
speak of that very target. A pause, a lesson's list or a group's default speak of the names they leave out; where they allow
``www.example.org``, they mean it with the content network it is an alias of, which stands on no school's list."""

_NOT_ASKED_FOR: Final = (Reason.MATRIX, Reason.DEFAULT)
"""Reasons which allow a name nobody allowed by name. Whoever allowed a name by name has allowed what it is an alias
of, and the addresses it has, short of the illegal tier."""


def recheck(
    decision: Decision, answer: Answer, policy: Policy, client: Client, at: datetime | None
) -> Decision | None:
    """Return the decision that stops an upstream's answer; None where it may be kept.

    Args:
        decision: Allows the name asked for.
        answer: What the upstream said; looked at are the names and addresses it leads to.
        policy: The policy that made ``decision``.
        client: Who asks.
        at: The time of ``decision``.
    """
    decisions = [decide(policy, client, target, at) for target in answer.targets]
    if policy.index.lists_addresses:
        decisions += [decide_address(policy, client, address, at) for address in answer.addresses]
    blocked = [d for d in decisions if d.blocked]
    illegal = next((d for d in blocked if d.reason is Reason.ILLEGAL), None)
    if illegal or decision.reason not in _NOT_ASKED_FOR:
        return illegal
    return next((d for d in blocked if d.reason in _ABOUT_THE_TARGET), None)
