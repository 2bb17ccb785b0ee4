"""Files that outlive a power cut: the old content or the new, whole."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import IO, Final

_CHUNK_OCTETS: Final = 1 << 20


def write_durably(path: Path, octets: bytes, mode: int = 0o640) -> None:
    """Replace what is at ``path`` by ``octets``; once it returns, they outlive a power cut.

    Raises:
        OSError: The disk refuses; what was there has not changed, and nothing half-written takes up its room.
    """
    copy_durably(io.BytesIO(octets), path, mode)


def copy_durably(octets: IO[bytes], path: Path, mode: int = 0o640) -> None:
    """Replace what is at ``path`` by what ``octets`` reads, in bounded memory; see ``write_durably``."""
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            os.fchmod(file.fileno(), mode)
            shutil.copyfileobj(octets, file, _CHUNK_OCTETS)
            file.flush()
            os.fsync(file.fileno())
        replace_durably(beside, path)
    except OSError:
        if beside.is_file():
            beside.unlink()
        raise


def replace_durably(new: Path, path: Path) -> None:
    """Put the file ``new``, whose content is on the disk, in the place of ``path`` on the same file system."""
    new.replace(path)
    # The rename is on the disk once the directory is.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
