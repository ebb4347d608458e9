"""A process of Neve loads nothing big that it does not use."""

import os
import subprocess
import sys

from storage.lean import LAZY_DATES

PROGRAM = """
import sys
from storage.lean import load_lean
load_lean()
import pyarrow.dataset
from clickhouse_driver.columns.datecolumn import DateColumn
assert pyarrow.array([1, 2]).to_pylist() == [1, 2]
print("pandas" in sys.modules, len(DateColumn.date_lut))
"""


def test_neither_pandas_nor_a_table_of_dates() -> None:
    environment = {name: value for name, value in os.environ.items() if name != LAZY_DATES}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, env=environment)
    assert done.stdout == b"False 0\n"
