"""Octets to values and back: queries, answers of upstreams, responses. No socket, no policy, no clock."""
