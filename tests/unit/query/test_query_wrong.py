"""What stands in an error's place, and what never stands in SQL."""

from __future__ import annotations

import pytest

from query.errors import QueryInvalid
from query.plan import make_plan
from query.tables import compile_table

NOW = 1_769_860_800_000_000_000


def error_of(text: str) -> QueryInvalid:
    with pytest.raises(QueryInvalid) as raised:
        compile_table(make_plan(text, now=NOW, namespace="default"), 10)
    return raised.value


def test_words_of_other_languages_are_told_how_it_is_said_here() -> None:
    assert error_of('service="shop"').hint.startswith('a field is written name:"value"\n')
    assert "docs/coming-from.md" in error_of('{service_name="shop"} |= "error"').hint


def test_a_hint_stands_before_the_place() -> None:
    assert error_of("a | stats count() by").hint.startswith("docs/query.md has the whole language\n")


def test_the_place_counts_lines() -> None:
    error = error_of("error\n  status:")
    assert error.position == (2, 10)
    assert error.hint.endswith("  status:\n         ^")


@pytest.mark.parametrize(
    "text",
    [
        "zqx",
        '"zqx y"',
        "zqx*",
        "/zqx/",
        "zqx:zqx",
        "zqx:>=zqx",
        "* | stats sum(zqx) as zqx by zqxk",
        "* | extract 'zqx <zqx> zqx <zqy:number>' | where zqx > zqx and zqy > 5",
        "* | unpack json from zqx | sort zqx.zqx",
        "* | unpack logfmt | where zqx = 5ms | fields zqx | extract '<zqx:word>' from zqx",
    ],
)
def test_nothing_that_was_typed_is_in_the_sql(text: str) -> None:
    assert "zqx" not in compile_table(make_plan(text, now=NOW, namespace="default"), 10).sql
