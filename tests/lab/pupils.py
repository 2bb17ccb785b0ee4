"""Pupils who try everything that they may not, and what of it a server got to see."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from appliance import Appliance
from clients import curl
from laboratory import HERE, Laboratory, Served
from plan import CLIENTS, RESOLVER, RESOLVER_V6, UNRESOLVED, UNRESOLVED_V6, address6_of, address_of
from sites import ALLOWED, BLOCKED

PUPILS = tuple(c for c in CLIENTS if c.group == "ks2")
PUPIL_ADDRESSES = frozenset(a for c in PUPILS for a in (c.v4, c.v6))

ATTEMPTS = (
    # With the name's real address, as a device would that has asked elsewhere.
    f"http://{BLOCKED}/@{address_of(BLOCKED)}",
    f"https://{BLOCKED}/@{address_of(BLOCKED)}",
    f"https://{BLOCKED}/@{address6_of(BLOCKED)}",
    # At an address that an allowed name has.
    f"https://{BLOCKED}/@{address_of(ALLOWED)}",
    f"http://{BLOCKED}/@{address6_of(ALLOWED)}",
    # At an address that nobody resolved.
    f"https://{BLOCKED}/@{UNRESOLVED}",
    f"http://{BLOCKED}/@{UNRESOLVED_V6}",
    # Past the school's resolver.
    f"dns://{BLOCKED}/@{RESOLVER}",
    f"dns://{BLOCKED}/@{RESOLVER_V6}",
    # And what is allowed, so that there is always something under way.
    f"https://{ALLOWED}/",
)


MIN_ATTEMPTS = 40


@contextmanager
def pupils_trying(lab: Laboratory, rate: int = 15) -> Iterator[None]:
    """Let each pupil's device try everything that is not allowed, over and over."""
    argv = [sys.executable, str(HERE / "traffic.py"), str(rate), "300", *ATTEMPTS]
    running = [lab.popen(pupil.name, argv, log=f"attempts-{pupil.name}") for pupil in PUPILS]
    logs = [f"attempts-{pupil.name}" for pupil in PUPILS]
    try:
        lab.wait_for(lambda: all(lab.log(log) for log in logs), "the first attempts", 10)
        before = {log: lab.log(log).count("\n") for log in logs}
        yield
        lab.wait_for(
            lambda: all(lab.log(log).count("\n") - before[log] > MIN_ATTEMPTS for log in logs),
            "enough attempts to show anything",
            60,
        )
    finally:
        for process in running:
            process.terminate()
            process.wait(10)


def leaks(lab: Laboratory, since: int) -> list[Served]:
    """Return what pupils got through to a server that they must not reach; a TCP handshake alone is nothing yet."""
    return [
        s
        for s in lab.served(since)
        if s.client in PUPIL_ADDRESSES
        and s.kind != "accepted"
        and (
            s.name == BLOCKED
            or s.address in {UNRESOLVED, UNRESOLVED_V6}
            or s.kind in {"dns", "dot", "doh", "udp"}
        )
    ]


def wait_until_served(school: Appliance, deadline_s: float = 20) -> None:
    """Wait until pupils get what they may have."""
    fetch = ("laptop", f"https://{ALLOWED}/")
    school.lab.wait_for(
        lambda: curl(school.lab, *fetch, deadline_s=2).status == 200,
        "service to be back",
        deadline_s,
    )
