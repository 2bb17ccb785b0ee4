"""dns/gate_dns/libc_abi.py."""

import subprocess
import sys


def test_module_is_what_make_abi_writes(root):
    written = subprocess.run(
        [sys.executable, "tools/libc_abi.py"], cwd=root, capture_output=True, text=True, check=True
    )
    assert (root / "dns/gate_dns/libc_abi.py").read_text() == written.stdout, "run: make abi"


def test_a_worker_carries_no_parser_of_c(root):
    loaded = subprocess.run(
        [sys.executable, "-c", "import gate_dns.server, sys; print(*sys.modules)"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "gate_dns.mmsg" in loaded
    assert "pycparser" not in loaded
