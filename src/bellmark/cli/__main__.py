"""`python -m bellmark.cli`: the command line where the `bellmark` script is not on the path."""

from __future__ import annotations

import sys

from bellmark.cli import main

sys.exit(main())
