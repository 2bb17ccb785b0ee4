"""``python -m gate_appliance``: the command ``gate``."""

from gate_appliance.cli import main

raise SystemExit(main())
