"""Which step was survived by which process, as a table at the end of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from typing import Any

import pytest

COLUMNS = {
    "test_agent_killed": "agent killed",
    "test_gateway_killed": "gateway killed",
    "test_agent_that_inserts_itself_killed": "direct agent killed",
    "test_ager_killed": "ager killed",
    "test_the_agents_power_fails": "agent's power",
    "test_the_gateways_power_fails": "gateway's power",
}


class Matrix:
    """Counts what passed of what ran, by step and column."""

    def __init__(self) -> None:
        self.cells: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: Any) -> Generator[None, Any, None]:
        outcome = yield
        report = outcome.get_result()
        column = COLUMNS.get(getattr(item, "originalname", ""))
        if column and report.when == "call":
            self.cells[item.callspec.params["step"], column].append(report.passed)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.cells:
            return
        columns = [column for column in COLUMNS.values() if any(one == column for _, one in self.cells)]
        terminalreporter.section("killed before and after each step: survived / tried")
        width = max(len(step) for step, _ in self.cells)
        terminalreporter.write_line("  ".join([" " * width, *columns]))
        for step in dict.fromkeys(step for step, _ in self.cells):
            row = [_cell(self.cells.get((step, column), [])).rjust(len(column)) for column in columns]
            terminalreporter.write_line("  ".join([step.ljust(width), *row]))


def _cell(results: list[bool]) -> str:
    return f"{sum(results)}/{len(results)}" if results else "-"
