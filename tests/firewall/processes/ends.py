"""Listens to the ends of flows in a buffer of the size that is given; prints them, and at the end of the input the counts."""

import json
import select
import sys

from gate_firewall import conntrack


def tell(end):
    print(json.dumps([end.protocol, end.initiator.hex(), end.responder.hex(), end.responder_port,
        end.sent, end.received, end.mark]), flush=True)  # fmt: skip


ends = conntrack.EndSocket(tell, *map(int, sys.argv[1:]))
print("listening", flush=True)
poll = select.poll()
poll.register(0, select.POLLIN)
poll.register(ends.fileno(), select.POLLIN)
done = False
while not done:
    ready = {descriptor for descriptor, _ in poll.poll()}
    if 0 in ready and not sys.stdin.readline():
        done = ready == {0}
    if ends.fileno() in ready:
        ends.serve()
print(json.dumps(ends.counts()), flush=True)
ends.close()
