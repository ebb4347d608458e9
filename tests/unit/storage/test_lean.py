"""A process of Neve loads no library that it does not use."""

import subprocess
import sys

PROGRAM = """
import sys
import neve
neve.build_parser("lex")
{load}
import pyarrow.dataset
import storage.hot
from clickhouse_driver.columns.datecolumn import DateColumn
assert pyarrow.array([1, 2]).to_pylist() == [1, 2]
print("pandas" in sys.modules)
print(len(DateColumn.date_lut) > 1000)
"""


def said(load: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(load=load)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


def test_neither_pandas_nor_a_table_of_dates() -> None:
    assert said("neve.load_lean()") == ["False", "False"]
    assert said("") == ["True", "True"], "the libraries do without by themselves: storage/lean.py may go"
