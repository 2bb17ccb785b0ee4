"""Files that outlive a power cut: the old content or the new, whole."""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, octets: bytes, mode: int = 0o640) -> None:
    """Replace what is at ``path`` by ``octets``; once it returns, they outlive a power cut.

    Raises:
        OSError: The disk refuses; what was there has not changed, and nothing half-written takes up its room.
    """
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        if beside.is_file():
            beside.unlink()
        raise
    # The rename is on the disk once the directory is.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
