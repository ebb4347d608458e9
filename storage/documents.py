"""Small documents by name, which every process knows: keys, roles, settings of namespaces, saved searches, alerts.

The last one who says something of a name is right. A process asks for the newest version of all, which costs nothing,
and reads them again when that has changed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol, TypeVar

from storage import schema
from storage.results import Result

T = TypeVar("T")
FOR_EVER = (1 << 32) - 1
"""The last second that a DateTime can say."""
Said = dict[str, Any]


class Asks(Protocol):
    """The part of `Hot` that this needs."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Result: ...
    def query_each(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Result]: ...
    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> None: ...


class Documents:
    """One table of them. Thread-safe; raises what `Hot` raises."""

    def __init__(self, hot: Asks, table: str) -> None:
        assert table in (*schema.DOCUMENTS, *schema.LATER_DOCUMENTS)
        self._hot = hot
        self._table = f"{schema.SYSTEM_DATABASE}.{table}"

    def put(self, name: str, said: Said, until: int = FOR_EVER) -> None:
        """Say what holds of a name from now on. `until`: seconds since 1970, after which it may be forgotten.

        What is said last must not be forgotten before what was said earlier, which would hold again.
        """
        self.put_all({name: said}, until)

    def put_all(self, said: Mapping[str, Said], until: int = FOR_EVER, after: int = 0) -> int:
        """The same of several, with one INSERT: all of it holds, or nothing. `after`: a version that it is to be newer
        than, whatever the clocks say. The version that it has."""
        version = max(time.time_ns(), after + 1)
        if said:
            self._hot.execute(
                f"INSERT INTO {self._table} SELECT name, {{version:UInt64}}, now64(3), "
                "toDateTime({until:UInt32}, 'UTC'), text FROM (SELECT 1) ARRAY JOIN "
                "{names:Array(String)} AS name, {texts:Array(String)} AS text",
                {
                    "names": list(said),
                    "texts": [json.dumps(one) for one in said.values()],
                    "version": version,
                    "until": until,
                },
            )
        return version

    def get(self, name: str) -> Said | None:
        """What was said last of a name."""
        return self._read("WHERE name = {name:String}", {"name": name}).get(name)

    def all(self) -> dict[str, Said]:
        """What was said last of each name."""
        return self._read("", {})

    def count(self) -> int:
        """How many names there are, also such that may be forgotten."""
        return int(self._hot.query(f"SELECT uniqExact(name) AS n FROM {self._table}").rows[0][0])

    def stamp(self) -> int:
        """The newest version: another one when anything was said since."""
        return stamps(self._hot, [self._table])[0]

    def _read(self, where: str, params: Mapping[str, Any]) -> dict[str, Said]:
        sql = f"SELECT name, argMax(said, version) AS newest FROM {self._table} {where} GROUP BY name ORDER BY name"
        return {name: json.loads(said) for name, said in self._hot.query(sql, params).rows}


def stamps(hot: Asks, tables: Sequence[str]) -> tuple[int, ...]:
    """The newest version of each of these tables, which `SYSTEM_DATABASE` has: one question for all, of each shard by
    itself, which is less work for them than to put their answers together."""
    asked = ", ".join(
        f"(SELECT max(version) FROM {table}) AS newest_{place}" for place, table in enumerate(tables)
    )
    answers = [one.rows[0] for one in hot.query_each(f"SELECT {asked}")]
    return tuple(max(versions) for versions in zip(*answers, strict=True))


def made_of(kind: type[T], said: Mapping[str, Any]) -> T:
    """A dataclass of what was kept of one; what a newer version keeps besides is left out."""
    names = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in said.items() if name in names})
