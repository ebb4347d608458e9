"""What whoever runs a gateway asks of its shards: what they hold, epochs closed, inserters taken out.

Of a server alone the answers are its own; of a cluster they say which shard said what, and which is away.
"""

import time
from dataclasses import asdict
from typing import Any

from storage.errors import StorageUnavailable
from storage.hot import Hot
from storage.shards import Shards

Said = dict[str, Any]


def storage_status(shards: Shards) -> Said:
    """What ClickHouse says, for `GET /gateway/storage`. Raises NeveError."""
    told: dict[int, Said] = shards.each(lambda one: _told(one.hot))
    if not shards.several:
        return told[shards.home.number]
    said: Said = {"clickhouse": told[min(told)]["clickhouse"]}
    for name in ("namespaces", "epochs", "inserters"):
        said[name] = [
            {**one, "shard": shard.name}
            for shard in shards
            if shard.number in told
            for one in told[shard.number][name]
        ]
    said["away"] = {one.name: one.reason for one in shards if one.number not in told}
    return said


def _told(hot: Hot) -> Said:
    """What one server says."""
    return {
        "clickhouse": {"version": hot.version()},
        "namespaces": [asdict(one) for one in hot.sizes()],
        "epochs": [asdict(one) for one in hot.epochs.overview()],
        "inserters": [one.to_json() for one in hot.registry.all()],
    }


def close_epoch(shards: Shards, namespace: str, seconds: float) -> Said:
    """Open a new epoch and close the one before, on each shard that answers; whether it is closed, or why not."""
    deadline = time.monotonic() + seconds
    opened = shards.each(lambda one: (one.hot.current_epoch(namespace), one.hot.open_epoch(namespace)))
    said: list[Said] = []
    for number, (old, new) in opened.items():
        shard = shards.all[number - 1]
        closing = shard.hot.epochs.close(namespace, old, max(0.0, deadline - time.monotonic()))
        reached = {"epoch": old, "present": new, "closed": closing.closed, "reason": closing.reason}
        said.append({"namespace": namespace, **reached})
    if not shards.several:
        return said[0]
    names = [shards.all[number - 1].name for number in opened]
    away = {one.name: one.reason for one in shards if one.number not in opened}
    reasons = [f"{name}: {one['reason']}" for name, one in zip(names, said, strict=True) if not one["closed"]]
    reasons += [f"{name} is away: {reason}" for name, reason in away.items()]
    by_name = dict(zip(names, said, strict=True))
    return {**said[0], "closed": not reasons, "reason": "; ".join(reasons), "shards": by_name}


def evict(shards: Shards, inserter: str) -> list[Said]:
    """Take an inserter out of every registry; what it held. Raises InserterLive, NeveError."""
    if away := shards.away():
        hint = "try again when it is back"
        raise StorageUnavailable(f"cannot evict inserter: shard {away[0].name} is away", hint)
    having = [one for one in shards if one.hot.registry.of(inserter)] or [shards.home]
    held = [(shard, one) for shard in having for one in shard.hot.registry.evict(inserter)]
    return [
        {**asdict(one.holding), **({"shard": shard.name} if shards.several else {})} for shard, one in held
    ]
