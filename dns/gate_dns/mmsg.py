"""Many datagrams a call: recvmmsg(2) and sendmmsg(2) through cffi, whole columns of their structures at a time.

A call for each datagram costs more than all that Python does with it; where the other side sleeps until something comes,
sending one by one also wakes it each time.
"""

from __future__ import annotations

import os
import socket
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from cffi import FFI

BATCH: Final = 64
"""Datagrams a call: beyond it the cost of a call is no longer felt, and each batch delays a new policy."""

# The structures as words of 8 octets, so that a column of them is read or written at once.
_MMSGHDR_WORDS: Final = 8
_NAME_WORD: Final = 0
_CONTROL_WORD: Final = 4
_LENGTH_HALF: Final = 14
"""msg_len, the half of the last word that comes first in memory."""
_IOVEC_WORDS: Final = 2
_BASE_WORD, _LENGTH_WORD = 0, 1
_WORD: Final = "Q"


_ffi: Final[Any] = FFI()
_ffi.cdef(
    """
    struct iovec { void *iov_base; size_t iov_len; };
    struct msghdr { void *msg_name; unsigned int msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
                    void *msg_control; size_t msg_controllen; int msg_flags; };
    struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
    int recvmmsg(int fd, struct mmsghdr *vector, unsigned int count, int flags, void *timeout);
    int sendmmsg(int fd, struct mmsghdr *vector, unsigned int count, int flags);
    """
)
_C: Final[Any] = _ffi.dlopen(None)
"""The C library of this process: no compiler is needed where the appliance is installed."""


class Vector:
    """``BATCH`` datagrams as the kernel takes them: octets, and where wanted names of the other side and control messages."""

    def __init__(self, octets: int, name_octets: int = 0, control_octets: int = 0) -> None:
        """Make room.

        Args:
            octets: Longest datagram.
            name_octets: Of the structure of an address; 0 for a connected socket.
            control_octets: Of the control messages that come with each, exactly; 0 for none.
        """
        self.name_octets, self.control_octets = name_octets, control_octets
        texts = _ffi.new("char[]", BATCH * octets)
        names = _ffi.new("char[]", BATCH * name_octets)
        controls = _ffi.new("char[]", BATCH * control_octets)
        parts = _ffi.new("struct iovec[]", BATCH)
        self._headers = _ffi.new("struct mmsghdr[]", BATCH)
        for place in range(BATCH):
            parts[place].iov_base = texts + place * octets
            parts[place].iov_len = octets
            header = self._headers[place].msg_hdr
            if name_octets:
                header.msg_name = names + place * name_octets
                header.msg_namelen = name_octets
            if control_octets:
                header.msg_control = controls + place * control_octets
                header.msg_controllen = control_octets
            header.msg_iov = parts + place
            header.msg_iovlen = 1
        self._pointers = tuple(texts + place * octets for place in range(BATCH))
        self._begin = int(_ffi.cast("uintptr_t", texts))
        self._texts = memoryview(_ffi.buffer(texts))
        self.names = memoryview(_ffi.buffer(names))
        self.controls = memoryview(_ffi.buffer(controls))
        words = memoryview(_ffi.buffer(self._headers)).cast(_WORD)
        self.name_pointers = words[_NAME_WORD::_MMSGHDR_WORDS]
        self.control_pointers = words[_CONTROL_WORD::_MMSGHDR_WORDS]
        halves = memoryview(_ffi.buffer(self._headers)).cast("I")
        self._lengths = halves[_LENGTH_HALF :: 2 * _MMSGHDR_WORDS]
        parts_words = memoryview(_ffi.buffer(parts)).cast(_WORD)
        self._bases = parts_words[_BASE_WORD::_IOVEC_WORDS]
        self._part_lengths = parts_words[_LENGTH_WORD::_IOVEC_WORDS]
        # cffi frees what nothing refers to, and a pointer to it is no reference.
        self._kept = (texts, names, controls, parts)

    def receive(self, descriptor: int) -> list[bytes]:
        """Return what has come to a socket, ``BATCH`` datagrams at most; their names and control messages lie in place.

        Raises:
            BlockingIOError: Nothing has.
            OSError: The kernel tells of a fault, such as an ICMP message about an earlier datagram.
        """
        count = _C.recvmmsg(descriptor, self._headers, BATCH, socket.MSG_DONTWAIT, _ffi.NULL)
        if count < 0:
            raise _fault()
        unpack = _ffi.unpack
        return [
            unpack(pointer, length)
            for pointer, length in zip(self._pointers, self._lengths[:count].tolist(), strict=False)
        ]

    def put(self, texts: Sequence[bytes]) -> None:
        """Put the datagrams to send in their places, one behind the other."""
        lengths = array(_WORD, map(len, texts))
        whole = b"".join(texts)
        self._texts[: len(whole)] = whole
        self._bases[: len(lengths)] = array(_WORD, accumulate(lengths, initial=self._begin))[:-1]
        self._part_lengths[: len(lengths)] = lengths

    def send(self, descriptor: int, count: int) -> Iterator[tuple[int, OSError]]:
        """Send the first ``count``, and yield the place of each that can't be sent, with the reason."""
        first = 0
        while first < count:
            sent = _C.sendmmsg(
                descriptor, self._headers + first, count - first, socket.MSG_DONTWAIT
            )
            if sent < 0:
                # The first of them; the others can perhaps.
                yield first, _fault()
                sent = 1
            first += sent


def _fault() -> OSError:
    number = _ffi.errno
    return OSError(number, os.strerror(number))
