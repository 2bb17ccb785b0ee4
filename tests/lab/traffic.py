"""Traffic at a bounded rate: ``python traffic.py RATE SECONDS TARGET...``, printing a line of JSON for each attempt.

A TARGET is ``http://NAME/PATH``, ``https://NAME/PATH`` or ``dns://NAME/``; with ``@ADDRESS`` behind it, it is sent there
without asking for the name. Attempts that would be more than 16 at once are left out.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import ssl
import sys
import threading
import time
from functools import partial
from urllib.parse import SplitResult, urlsplit

import dns.exception
import dns.message
import dns.query
from plan import ROUTER

TIMEOUT_S = 2.0
MAX_AT_ONCE = 16


def fetch(url: SplitResult, address: str) -> str:
    name = url.hostname or ""
    with socket.create_connection(
        (address or name, 443 if url.scheme == "https" else 80), TIMEOUT_S
    ) as plain:
        sock = plain
        if url.scheme == "https":
            sock = ssl.create_default_context().wrap_socket(plain, server_hostname=name)
        with sock:
            connection = http.client.HTTPConnection(name, timeout=TIMEOUT_S)
            connection.sock = sock
            connection.request("GET", url.path or "/", headers={"Connection": "close"})
            return str(connection.getresponse().status)


def ask(url: SplitResult, address: str) -> str:
    query = dns.message.make_query(url.hostname or "", "A")
    response = dns.query.udp(query, address or ROUTER.v4, timeout=TIMEOUT_S)
    return " ".join(str(record) for rrset in response.answer for record in rrset)


def attempt(target: str, room: threading.Semaphore) -> None:
    link, _, address = target.partition("@")
    url = urlsplit(link)
    act = ask if url.scheme == "dns" else fetch
    try:
        outcome = act(url, address)
    except (OSError, http.client.HTTPException, dns.exception.DNSException) as e:
        outcome = type(e).__name__
    finally:
        room.release()
    line = json.dumps({"at": time.time(), "target": target, "outcome": outcome})
    # In one piece: several threads write.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    rate, seconds, *targets = sys.argv[1:]
    room = threading.Semaphore(MAX_AT_ONCE)
    until = time.monotonic() + float(seconds)
    for target in itertools.cycle(targets):
        if time.monotonic() > until:
            break
        if room.acquire(blocking=False):
            threading.Thread(target=partial(attempt, target, room), daemon=True).start()
        time.sleep(1 / float(rate))
    time.sleep(TIMEOUT_S)


if __name__ == "__main__":
    main()
