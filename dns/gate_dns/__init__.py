"""The DNS sinkhole: answers the school's queries by policy, forwards what is allowed.

``gate_dns.server.serve`` is the entry: one worker, blocking.
"""
