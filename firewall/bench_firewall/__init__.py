"""``make bench-firewall``: packets on their way through the firewall, beside other ways to pass them."""
