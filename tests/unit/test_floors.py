"""An import never runs up a floor, and the two top rooms never import one another."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "lexer": {"lexer"},
    "storage": {"storage", "lexer"},
    "ingest": {"ingest", "storage", "lexer"},
    "query": {"query", "storage", "lexer"},
}
OURS = {
    *MAY_IMPORT,
    "bench",
    "tests",
    "neve",
    "neve_admin",
    "neve_alerts",
    "neve_cold",
    "neve_cold_cli",
    "neve_config",
    "neve_delete",
    "neve_steps",
    "neve_serve",
    "neve_supervisor",
    "neve_roles",
}


def imported(path: Path) -> Iterator[str]:
    """The top names of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_stay_on_their_floor(room: str) -> None:
    modules = list((ROOT / room).rglob("*.py"))
    assert modules
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in modules
        for name in imported(path)
        if name in OURS and name not in MAY_IMPORT[room]
    }
    assert not wrong
