"""Stands in for a worker of the sinkhole that has given the pupil the server's address for every name.

``python -m bench_firewall.sinkhole FOLDER NAMES``: the folder of a ``bench.schoolgate.School``, and a file of names.
"""

from __future__ import annotations

import select
import sys
import time
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from bench_firewall.network import PUPIL, SERVER
from gate_appliance.given import GivenPost
from gate_appliance.places import Places
from gate_core.given import LEARNT_S, MAX_ROWS, Given, News

_WORKER: Final = 1
_HEARTBEAT_S: Final = 1.0
_BUSY_S: Final = 0.01
"""How long a firewall that takes nothing is left alone."""


def main() -> None:
    """Tell the firewall what it wants to know until a signal ends it."""
    folder, names = map(Path, sys.argv[1:])
    places = Places(folder / "state", folder / "run")
    client, server = (IPv4Address(address).packed for address in (PUPIL, SERVER))
    rows = tuple(Given(client, "", False, name, (server,)) for name in names.read_text().split())
    # From before anything was given that is in use.
    since_s = time.monotonic() - LEARNT_S
    with closing(GivenPost(places.given_of(_WORKER, 1), places.given(1))) as post:

        def tell(answered: int = 0, rows: tuple[Given, ...] = ()) -> bool:
            return post.send(News(_WORKER, since_s, answered, rows))

        while True:
            if not select.select([post], [], [], _HEARTBEAT_S)[0]:
                tell()
                continue
            requests = post.requests()
            if any(request.everything for request in requests):
                for first in range(0, len(rows), MAX_ROWS):
                    while not tell(rows=rows[first : first + MAX_ROWS]):
                        time.sleep(_BUSY_S)
            if number := max((request.number for request in requests), default=0):
                tell(number)


if __name__ == "__main__":
    main()
