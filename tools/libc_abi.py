"""Prints dns/gate_dns/libc_abi.py: what a worker calls in the C library, in the form that cffi reads at run time.

To read it as C at each start would take a parser of C, and the time and memory of that.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

from cffi import FFI

_CALLS: Final = """
    struct iovec { void *iov_base; size_t iov_len; };
    struct msghdr { void *msg_name; unsigned int msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
                    void *msg_control; size_t msg_controllen; int msg_flags; };
    struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
    int recvmmsg(int fd, struct mmsghdr *vector, unsigned int count, int flags, void *timeout);
    int sendmmsg(int fd, struct mmsghdr *vector, unsigned int count, int flags);
    int mallopt(int parameter, int value);
    """
_MODULE: Final = "gate_dns.libc_abi"


def main() -> None:
    """Print the module."""
    ffi: Any = FFI()
    ffi.cdef(_CALLS)
    # None: by the binary interface, without a compiler.
    ffi.set_source(_MODULE, None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "libc_abi.py")
        # It tells what it writes.
        with redirect_stdout(sys.stderr):
            ffi.emit_python_code(str(path))
        text = path.read_text()
    sys.stdout.write(f"# Written by `make abi` from tools/libc_abi.py.\n{text}")


if __name__ == "__main__":
    main()
