"""`python -m ringipam` is the command line."""

from __future__ import annotations

import sys

from ringipam.cli import main

if __name__ == "__main__":
    sys.exit(main())
