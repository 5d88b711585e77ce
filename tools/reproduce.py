"""Reproduces a table or a figure of the LAKD paper: its runs, and a report of them.

Called again it goes on where it was stopped, and skips what is done.
"""

import os
import sys
from pathlib import Path

# Before torch: threads that wait by spinning are 10 times slower where cores are shared.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from lakd_mm.engine import clear_errors
from reproduction.command_line import parse_args, run


def main() -> int:
    """Runs what is missing, then reports."""
    args = parse_args(doc=__doc__)
    with clear_errors():
        return run(args, Path(__file__).resolve().parents[1])


if __name__ == '__main__':
    sys.exit(main())
