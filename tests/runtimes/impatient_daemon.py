"""The daemon, which looks for containers that are gone twice a second instead of twice a minute."""

from __future__ import annotations

import sys

from ringipam.integrations.cni import reaper

reaper.LOOK_S = 0.5  # before anything else reads it

from ringipam.cli import main

if __name__ == "__main__":
    sys.exit(main())
