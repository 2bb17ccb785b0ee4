"""The command ``gate``, also as ``python -m gate_appliance``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``gate``; return its exit code, see ``gate_appliance.cli.main``."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["run"]:
        # A part runs for months, and on a small machine: it does not carry what people's commands need.
        from gate_appliance.run import main as command
    else:
        from gate_appliance.cli import main as command
    return command(words)


if __name__ == "__main__":
    raise SystemExit(main())
