"""Unix datagram sockets to which only this process's user can send."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def open_private(path: Path) -> socket.socket:
    """Return a socket that listens at ``path``, in place of whatever lies there, and never waits.

    Raises:
        OSError: It can't be made.
    """
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    # Not chmod afterwards: until then somebody could send.
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        opened.bind(str(path))
    except OSError:
        opened.close()
        raise
    finally:
        os.umask(before)
    return opened
