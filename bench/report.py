"""How a benchmark says what it found: a table for people, one JSON object for scripts."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

QUERY_FIGURES = ("median_ms", "cpu_ms", "busiest_ms", "statements", "bytes_read")

Row = dict[str, Any]


@dataclass
class Report:
    """The results of one run; `notes` are printed under the table."""

    bench: str
    rows: int
    results: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, **figures: Any) -> None:
        """One line of the table."""
        self.results.append({"name": name, **figures})

    def result(self, name: str) -> Row:
        """What was added under a name."""
        return next(row for row in self.results if row["name"] == name)

    def print(self, as_json: bool) -> None:
        """Print all."""
        if as_json:
            print(
                json.dumps(
                    {"bench": self.bench, "rows": self.rows, "machine": machine(), "results": self.results}
                )
            )
            return
        columns = list(dict.fromkeys(key for row in self.results for key in row if key != "queries"))
        print(f"{self.bench}, {self.rows:,} rows, {machine()['cpu']}, {machine()['cores']} cores")
        for line in table(columns, self.results):
            print(line)
        for line in self._query_tables():
            print(line)
        for note in self.notes:
            print(note)

    def _query_tables(self) -> list[str]:
        """A table for each figure of the queries, with a column for each query."""
        asked = {row["name"]: row["queries"] for row in self.results if "queries" in row}
        lines: list[str] = []
        for figure in QUERY_FIGURES:
            if not any(figure in found for queries in asked.values() for found in queries.values()):
                continue
            rows = [{"name": name, **{query: found.get(figure) for query, found in queries.items()}}
                    for name, queries in asked.items()]  # fmt: skip
            lines += [
                "",
                f"{figure} of queries",
                *table(list(dict.fromkeys(key for row in rows for key in row)), rows),
            ]
        return lines


def table(columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Lines of a table: names to the left, figures to the right."""
    cells = [list(columns)] + [[cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return [
        "  ".join(
            text.ljust(w) if i == 0 else text.rjust(w)
            for i, (text, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def machine() -> dict[str, Any]:
    """What it ran on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def parser(description: str, rows: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--rows", type=int, default=rows, help=f"default: {rows:,}")
    found.add_argument("--quick", action="store_true", help="few rows, under a minute in all")
    found.add_argument("--json", action="store_true", help="print one JSON object")
    return found
