"""The table from fingerprint to pattern: what is read to learn, and what was learnt."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from lexer.book import Entry
from lexer.pins import Pattern
from storage.results import Result
from storage.schema import current_patterns, namespace_database


class Asks(Protocol):
    """The part of `Hot` that this needs."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Result: ...
    def query_each(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Result]: ...
    def scalars(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Any]: ...
    def rewrite(self, sql: str, params: Mapping[str, Any] | None = None) -> None: ...


def has_new_templates(hot: Asks, namespace: str) -> bool:
    """Whether there is a template that has no pattern."""
    database = namespace_database(namespace)
    sql = (
        f"SELECT count() AS n FROM {database}.templates "
        f"WHERE fingerprint NOT IN (SELECT fingerprint FROM {database}.patterns)"
    )
    # Each shard by itself is less work than all as one, and nearly always suffices.
    alone = [one.rows[0][0] for one in hot.query_each(sql)]
    return any(alone) and bool(hot.scalars(sql)[0])


def read_templates(hot: Asks, namespace: str) -> dict[int, bytes]:
    """Every template's text by fingerprint."""
    table = f"{namespace_database(namespace)}.templates"
    sql = f"SELECT fingerprint AS f, argMax(template, rules_version) AS t FROM {table} GROUP BY f"
    return {fingerprint: _bytes(text) for fingerprint, text in hot.query(sql).rows}


def read_lines(hot: Asks, namespace: str) -> dict[int, int]:
    """How many events each fingerprint has."""
    table = f"{namespace_database(namespace)}.rollup"
    return dict(hot.query(f"SELECT fingerprint AS f, sum(count) AS n FROM {table} GROUP BY f").rows)


def read_entries(hot: Asks, namespace: str) -> dict[int, Entry]:
    """The pattern of each fingerprint."""
    source = current_patterns(namespace_database(namespace))
    sql = f"SELECT fingerprint, pattern, template, name, rule, alias FROM {source}"
    return {
        fingerprint: Entry(Pattern(pattern, _bytes(template), str(name)), _bytes(rule), bool(alias))
        for fingerprint, pattern, template, name, rule, alias in hot.query(sql).rows
    }


def add_entries(hot: Asks, namespace: str, entries: Mapping[int, Entry]) -> None:
    """Store patterns; the last word on a fingerprint counts."""
    if not entries:
        return
    columns: dict[str, tuple[str, list[Any]]] = {
        "fingerprint": ("UInt64", list(entries)),
        "pattern": ("UInt64", [entry.pattern.id for entry in entries.values()]),
        "template": ("String", [entry.pattern.template for entry in entries.values()]),
        "name": ("String", [entry.pattern.name for entry in entries.values()]),
        "rule": ("String", [entry.rule for entry in entries.values()]),
        "alias": ("UInt8", [int(entry.is_alias) for entry in entries.values()]),
    }
    arrays = ", ".join(f"{{{name}s:Array({type_})}} AS {name}" for name, (type_, _) in columns.items())
    hot.rewrite(
        f"INSERT INTO {namespace_database(namespace)}.patterns "
        f"SELECT {', '.join(columns)}, {{version:UInt64}} FROM (SELECT 1) ARRAY JOIN {arrays}",
        {**{f"{name}s": values for name, (_, values) in columns.items()}, "version": time.time_ns()},
    )


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
