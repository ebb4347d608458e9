"""Alerts as they are kept: what they ask, what state they are in, and every try to tell somebody.

States are written by one process at a time, which holds a lease; what is to be told is in the same document as the
state that it comes from, so both are there or neither (`query/alerting/machine.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from storage import schema
from storage.documents import Asks, Documents

LEASE = "alerts"
DELIVERIES = f"{schema.SYSTEM_DATABASE}.alert_deliveries"
Said = dict[str, Any]


class AlertStore:
    """All alerts of one ClickHouse. Thread-safe; raises what ClickHouse gives cause to."""

    def __init__(self, hot: Asks) -> None:
        self._hot = hot
        self._alerts = Documents(hot, "alerts")
        self._states = Documents(hot, "alert_states")

    # --- what they ask -----------------------------------------------------------------------------------

    def alerts(self) -> dict[str, Said]:
        """All of them by id, those too that were deleted and still have to tell so."""
        return {id_: one for id_, one in self._alerts.all().items() if "name" in one}

    def alert(self, id_: str) -> Said | None:
        said = self._alerts.get(id_)
        return said if said is not None and "name" in said else None

    def stamp(self) -> int:
        """Another one when any was changed."""
        return self._alerts.stamp()

    def put(self, id_: str, said: Said) -> None:
        self._alerts.put(id_, said)

    def leave(self, namespace: str) -> None:
        """A namespace goes: so do its alerts, once what they told is told to be over."""
        there = {id_: one for id_, one in self.alerts().items() if one["namespace"] == namespace}
        self._alerts.put_all({id_: {**one, "deleted": True} for id_, one in there.items()})

    def forget(self, ids: Iterable[str], after: int) -> int:
        """Let some go for good, as `put_states`. That is kept for ever: what was said before must not hold again."""
        gone: dict[str, Said] = {id_: {"deleted": True} for id_ in ids}
        version = self._states.put_all(gone, after=after)
        self._alerts.put_all(gone)
        return version

    # --- their states ------------------------------------------------------------------------------------

    def states(self) -> dict[str, Said]:
        return {id_: one for id_, one in self._states.all().items() if "groups" in one}

    def state(self, id_: str) -> Said | None:
        said = self._states.get(id_)
        return said if said is not None and "groups" in said else None

    def states_stamp(self) -> int:
        return self._states.stamp()

    def put_states(self, states: Mapping[str, Said], after: int) -> int:
        """Say several at once, all or none, as newer than the version `after`. The version that they have."""
        return self._states.put_all(states, after=after)

    # --- what was told -----------------------------------------------------------------------------------

    def log(self, said: Iterable[tuple[str, int, Said]]) -> None:
        """Tries to tell: the alert, the time in nanoseconds, and what is to be known of each."""
        rows = list(said)
        if rows:
            self._hot.execute(
                f"INSERT INTO {DELIVERIES} SELECT alert, fromUnixTimestamp64Nano(at, 'UTC'), text FROM (SELECT 1) "
                "ARRAY JOIN {alerts:Array(String)} AS alert, {times:Array(Int64)} AS at, {texts:Array(String)} AS text",
                {
                    "alerts": [alert for alert, _, _ in rows],
                    "times": [at for _, at, _ in rows],
                    "texts": [json.dumps(one) for _, _, one in rows],
                },
            )

    def deliveries(self, id_: str, limit: int) -> list[Said]:
        """The last tries of one alert, newest first."""
        sql = (
            f"SELECT DISTINCT said, at AS time FROM {DELIVERIES} WHERE alert = {{alert:String}} "
            "ORDER BY time DESC, said ASC LIMIT {limit:UInt64}"
        )
        return [json.loads(said) for said, _ in self._hot.query(sql, {"alert": id_, "limit": limit}).rows]
