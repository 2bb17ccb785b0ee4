"""The probe of whoever filters illegal content before us: the resolver of the internet provider, or of a school trust.

The lists of the IWF and of the CTIRU are not given to schools. Who has them gives a test name, which this asks for.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from gate_core.config import IllegalFilterConfig
from gate_core.desk import Component
from gate_core.upstreams import Upstream, parse_upstream

NAME: Final = "illegal-content"

_TIMEOUT_S: Final = 3.0
_RCODES: Final = {dns.rcode.NXDOMAIN: "nxdomain", dns.rcode.REFUSED: "refused"}


def unknown(config: IllegalFilterConfig) -> Component:
    """Return what is said before the first look: that nothing is configured, or that it is being tested."""
    if config.resolvers:
        return Component(NAME, "starting", "Whether illegal content is filtered is being tested.")
    return Component(
        NAME,
        "off",
        "Nothing checks that illegal content (IWF, CTIRU) is filtered. Ask the internet provider which of its resolvers"
        " filters it and for a test name; whoever looks after the box enters both (docs/watching.md).",
    )


def look(config: IllegalFilterConfig, tls_authorities: str) -> Component:
    """Ask for the test names, and return what came of it; may take some seconds for each.

    The state is "off" where nothing is configured, "down" where names are not filtered, and "degraded" where nobody
    answers. Whether the resolvers that filter are those that are asked, ``with_asked`` tells.

    Args:
        config: The table ``illegal_filter``.
        tls_authorities: File of the authorities that vouch for resolvers over TLS; "" for the system's.
    """
    if not config.resolvers:
        return unknown(config)
    for upstream in map(parse_upstream, config.resolvers):
        for name in config.names:
            try:
                answers = _ask(upstream, name, tls_authorities)
            except (OSError, ValueError, dns.exception.DNSException) as e:
                return Component(
                    NAME,
                    "degraded",
                    f"The resolver {upstream}, which filters illegal content, does not answer ({type(e).__name__}).",
                )
            if not answers <= set(config.answers):
                return Component(
                    NAME,
                    "down",
                    f"The resolver {upstream} does not filter the test name {name}: it answers"
                    f" {', '.join(sorted(answers))}. Illegal content may not be filtered: call the internet provider.",
                )
    return Component(
        NAME,
        "ok",
        f"Illegal content is filtered: {', '.join(config.resolvers)} blocks the test names.",
    )


def with_asked(
    tested: Component, config: IllegalFilterConfig, asked: Collection[Upstream]
) -> Component:
    """Return what ``look`` found, or that it says little as names are looked up elsewhere.

    Args:
        tested: What ``look`` returned.
        config: As for ``look``.
        asked: Who is asked for names at this moment.
    """
    if tested.state != "ok":
        return tested
    known = set(map(parse_upstream, config.resolvers))
    others = [str(upstream) for upstream in asked if upstream not in known]
    if others:
        also = "also " if known.intersection(asked) else ""
        return Component(
            NAME,
            "degraded",
            f"Names are {also}looked up at {', '.join(others)}, where illegal content may not be filtered. Ask the internet"
            " provider whether it is; whoever looks after the box then enters it as tested, or takes it out"
            " (docs/watching.md).",
        )
    if not asked:
        return Component(
            NAME,
            "degraded",
            f"{', '.join(config.resolvers)} filters illegal content, but it is not known who is asked for names: the"
            " network hands out no resolver, and none is entered.",
        )
    return tested


def replies(upstream: Upstream, tls_authorities: str) -> bool:
    """Tell whether a resolver says anything, by a question that all of them know; may take some seconds."""
    try:
        _ask(upstream, ".", tls_authorities)
    except (OSError, dns.exception.DNSException):
        return False
    return True


def _ask(upstream: Upstream, name: str, authorities: str) -> set[str]:
    """Return what an A query gets: addresses, or one word as in the configuration.

    Raises:
        OSError: There is no way to the resolver.
        dns.exception.DNSException: It gives no answer that can be read.
    """
    query = dns.message.make_query(name, dns.rdatatype.A)
    # A datagram may get lost.
    with suppress(dns.exception.Timeout):
        return _answers(_exchange(upstream, query, authorities))
    return _answers(_exchange(upstream, query, authorities))


def _exchange(
    upstream: Upstream, query: dns.message.Message, authorities: str
) -> dns.message.Message:
    where, port = str(upstream.address), upstream.port
    if not upstream.tls_name:
        response, _ = dns.query.udp_with_fallback(query, where, _TIMEOUT_S, port)
        return response
    context = ssl.create_default_context(cafile=authorities or None)
    return dns.query.tls(
        query, where, _TIMEOUT_S, port, ssl_context=context, server_hostname=upstream.tls_name
    )


def _answers(response: dns.message.Message) -> set[str]:
    found = set(_addresses(response))
    if found:
        return found
    rcode = response.rcode()
    return {
        "nodata" if rcode == dns.rcode.NOERROR else _RCODES.get(rcode, dns.rcode.to_text(rcode))
    }


def _addresses(response: dns.message.Message) -> Iterable[str]:
    for rrset in response.answer:
        if rrset.rdtype == dns.rdatatype.A:
            yield from (rdata.address for rdata in rrset)
