"""Wrong queries, over HTTP: the code, the place and the words of each error, and that none shows the inside of Neve."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

TABLE = Path(__file__).with_name("wrong_queries.tsv")
INSIDE = re.compile(
    r"SELECT |FROM |\bWHERE\b|Traceback|site-packages|/work|/home|/tmp|\.py\b|lark|[Cc]lick[Hh]ouse|DB::|tags_\d|"
    r"neve_|\{p\d|\bs\d_\d|toFloat64|extractGroups|JSONExtract"
)
Row = tuple[str, str, tuple[int, int], str]


def wrong_queries() -> list[Row]:
    """Query, code, place, message."""
    rows = []
    for line in TABLE.read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("#"):
            code, at_line, column, message, query = line.split("\t")
            rows.append(
                (query.replace("⏎", "\n").replace("␀", "\0"), code, (int(at_line), int(column)), message)
            )
    return rows


ROWS = wrong_queries()


def test_the_table_is_long() -> None:
    assert len(ROWS) >= 100
    assert len({query for query, *_ in ROWS}) == len(ROWS)


def test_a_wrong_query_is_told_where_and_why(empty_api: httpx.Client) -> None:
    wrong = []
    for query, code, (line, column), message in ROWS:
        answer = empty_api.get("/api/v1/search", params={"q": query})
        error = answer.json().get("error", {})
        said = (answer.status_code, error.get("code"), error.get("position"), error.get("message"))
        expected = (
            400, code, {"line": line, "column": column}, f"line {line}, column {column}: {message}",
        )  # fmt: skip
        excerpt, caret = ["", "", *error.get("hint", "").split("\n")][-2:]
        shown = "".join(c if c.isprintable() else " " for c in query.split("\n")[line - 1])
        if said != expected or excerpt != shown or caret != " " * (column - 1) + "^":
            wrong.append((query, expected, said, excerpt, caret))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize(
    "path", ["search", "histogram", "patterns", "fields", "fields/service/values", "explain"]
)
def test_no_error_shows_the_inside(empty_api: httpx.Client, path: str) -> None:
    leaks = []
    for query, *_ in ROWS:
        method = "POST" if path == "explain" else "GET"
        given = {"json": {"q": query}} if path == "explain" else {"params": {"q": query}}
        answer = empty_api.request(method, f"/api/v1/{path}", **given)  # type: ignore[arg-type]
        if answer.status_code == 200:
            continue  # a pipe that is wrong, on a path that runs none; or a regex that is not compiled there
        error = answer.json()["error"]
        said = f"{error['code']}\n{error['message']}\n{error['hint']}".replace(query, "")
        for line in query.split("\n"):
            said = said.replace(line, "") if line else said
        if INSIDE.search(said) or set(error) - {"code", "message", "hint", "position"}:
            leaks.append((query, error))
    assert not leaks, "\n".join(map(str, leaks))
