"""Spares a process what its libraries load and Neve never asks for.

pyarrow imports pandas, which the chdb wheel brings along, at its first array; clickhouse-driver makes a table of every
date from 1900 to 2299. In each of the server's processes that is half a second and 50 MiB.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from typing import Any

UNUSED = "pandas"
LAZY_DATES = "CLICKHOUSE_DRIVER_LASY_DATE_LUT"  # its own spelling; what is no range of dates starts with none


class _NotHere:
    """Says of `UNUSED` that it is not installed: whoever imports it does without."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        if name == UNUSED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def load_lean() -> None:
    """Call it in each process, before the libraries are imported; once or more often."""
    os.environ.setdefault(LAZY_DATES, "1")
    if not any(isinstance(finder, _NotHere) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NotHere())
