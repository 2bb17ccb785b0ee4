"""Many datagrams a call: recvmmsg(2) and sendmmsg(2) through cffi, whole columns of their structures at a time.

A call for each datagram costs more than all that Python does with it; where the other side sleeps until something comes,
sending one by one also wakes it each time.
"""

from __future__ import annotations

import os
import socket
import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from gate_dns.libc_abi import ffi

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

HEAD_OCTETS: Final = 2
"""What ``Vector.receive_apart`` takes off each datagram."""
_LINE_OCTETS: Final = 64
"""Of the processor's cache: datagrams a power of two apart would all fall into the same few of its lines."""


_C: Final[Any] = ffi.dlopen(None)
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
        stride = octets + _LINE_OCTETS
        texts = ffi.new("char[]", BATCH * stride)
        names = ffi.new("char[]", BATCH * name_octets)
        controls = ffi.new("char[]", BATCH * control_octets)
        parts = ffi.new("struct iovec[]", BATCH)
        self._headers = ffi.new("struct mmsghdr[]", BATCH)
        for place in range(BATCH):
            parts[place].iov_base = texts + place * stride
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
        self._pointers = tuple(texts + place * stride for place in range(BATCH))
        self._behind_heads = tuple(pointer + HEAD_OCTETS for pointer in self._pointers)
        head = f"{HEAD_OCTETS}s{stride - HEAD_OCTETS}x"
        self._heads = tuple(struct.Struct(head * count) for count in range(BATCH + 1))
        self._begin = int(ffi.cast("uintptr_t", texts))
        self._texts = memoryview(ffi.buffer(texts))
        self.names = memoryview(ffi.buffer(names))
        self.controls = memoryview(ffi.buffer(controls))
        words = memoryview(ffi.buffer(self._headers)).cast(_WORD)
        self.name_pointers = words[_NAME_WORD::_MMSGHDR_WORDS]
        self.control_pointers = words[_CONTROL_WORD::_MMSGHDR_WORDS]
        halves = memoryview(ffi.buffer(self._headers)).cast("I")
        self._lengths = halves[_LENGTH_HALF :: 2 * _MMSGHDR_WORDS]
        parts_words = memoryview(ffi.buffer(parts)).cast(_WORD)
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
        unpack = ffi.unpack
        lengths = self._receive(descriptor)
        return [
            unpack(pointer, length)
            for pointer, length in zip(self._pointers, lengths, strict=False)
        ]

    def receive_apart(self, descriptor: int) -> tuple[Sequence[bytes], list[bytes]]:
        """As ``receive``, but return the first ``HEAD_OCTETS`` of each apart from what follows, which costs no more.

        A shorter datagram is all head.
        """
        unpack = ffi.unpack
        lengths = self._receive(descriptor)
        heads: Sequence[bytes] = self._heads[len(lengths)].unpack_from(self._texts)
        if min(lengths) < HEAD_OCTETS:
            heads = [head[:length] for head, length in zip(heads, lengths, strict=True)]
            lengths = [max(HEAD_OCTETS, length) for length in lengths]
        tails = [
            unpack(pointer, length - HEAD_OCTETS)
            for pointer, length in zip(self._behind_heads, lengths, strict=False)
        ]
        return heads, tails

    def _receive(self, descriptor: int) -> list[int]:
        """Receive, and return the lengths of what lies in place."""
        count = _C.recvmmsg(descriptor, self._headers, BATCH, socket.MSG_DONTWAIT, ffi.NULL)
        if count < 0:
            raise _fault()
        found: list[int] = self._lengths[:count].tolist()
        return found

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
    number = ffi.errno
    return OSError(number, os.strerror(number))
