"""``make bench-dns``: processor time of a query, beside the servers that Debian has. Part of no wheel."""
