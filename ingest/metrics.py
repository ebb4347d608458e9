"""What Prometheus reads about a gateway."""

import os
from typing import TYPE_CHECKING

from ingest.counters import LIMITS_HIT
from storage.metrics import labels, metric, of_process

if TYPE_CHECKING:
    from ingest.gateway import GatewayState

PREFIX = "neve_gateway_"


def of_gateway(gateway: "GatewayState") -> str:
    """Everything about a gateway; ClickHouse is not asked."""
    spool, counters = gateway.spool.stats(), gateway.counters.all()
    disk = os.statvfs(gateway.settings.data_dir)
    gauges = {
        "spool_blocks": ("blocks that wait for ClickHouse", spool.depth),
        "spool_bytes": ("bytes of the blocks that wait", spool.bytes),
        "spool_quota_bytes": ("bytes that may wait", spool.quota_bytes),
        "spool_full": ("1 while senders are turned away", int(bool(spool.full))),
        "lag_seconds": ("age of the oldest block that is not stored", spool.oldest_age),
        "ledger_ids": ("ids of the ledger's window", len(gateway.ledger)),
        "watchers": ("search processes that hear what arrives", gateway.arrivals.watchers),
        "watchers_waiting_bytes": ("bytes of blocks that wait for them", gateway.arrivals.waiting_bytes),
        "dead_letters": ("blocks that were refused and are kept", len(gateway.dead_letters)),
        "troubles": ("things that are in trouble now", len(gateway.counters.troubles())),
        "inserting": ("1 while ClickHouse takes blocks", int(gateway.is_inserting())),
        "disk_free_bytes": ("room on the disk of the spool", disk.f_bavail * disk.f_frsize),
    }
    parts = [
        metric(PREFIX + name, "gauge", help_, [("", number)]) for name, (help_, number) in gauges.items()
    ]
    parts += _of_shards(gateway)
    refusals = [(labels(reason=reason), float(count)) for reason, count in spool.reasons.items()]
    fresh = gateway.freshness
    parts.append(
        metric(
            f"{PREFIX}freshness_seconds",
            "gauge",
            "between now and the newest event stored since the start",
            [(labels(namespace=name), age) for name, age in sorted(fresh.ages().items())],
        )
    )
    parts.append(
        metric(
            f"{PREFIX}waiting_seconds",
            "gauge",
            "for how long the oldest block has waited that cannot be found yet",
            [(labels(namespace=name), age) for name, age in sorted(fresh.waiting().items())],
        )
    )
    parts.append(gateway.insert_seconds.text(f"{PREFIX}insert_seconds", "how long INSERTs took"))
    parts.append(
        metric(f"{PREFIX}spool_refusals_total", "counter", "blocks that had no room, by reason", refusals)
    )
    parts.append(
        metric(
            f"{PREFIX}watchers_missed_total",
            "counter",
            "events that a search process was too slow to hear",
            [("", gateway.arrivals.missed)],
        )
    )
    hit = [
        (f'{{reason="{name.removeprefix(LIMITS_HIT)}"}}', float(count))
        for name, count in counters.items()
        if name.startswith(LIMITS_HIT)
    ]
    parts.append(metric(f"{PREFIX}limits_hit_total", "counter", "requests that met a limit, by which", hit))
    parts += [
        metric(f"{PREFIX}{name}_total", "counter", name.replace("_", " "), [("", float(count))])
        for name, count in counters.items()
        if not name.startswith(LIMITS_HIT)
    ]
    return "".join(parts) + of_process(PREFIX)


SHARD_GAUGES = {
    "shard_spool_blocks": ("blocks that wait for a shard", "depth"),
    "shard_spool_bytes": ("bytes of the blocks that wait for a shard", "bytes"),
    "shard_lag_seconds": ("age of the oldest block that waits for a shard", "oldest_age"),
    "shard_up": ("1 while a shard answers", "alive"),
    "shard_inserting": ("1 while a shard takes blocks", "inserting"),
}
"""Of each shard of a cluster: what they say, and where a shard's status has it."""


def _of_shards(gateway: "GatewayState") -> list[str]:
    """The same of each shard of a cluster."""
    shards = gateway.shard_statuses()
    return [
        metric(
            PREFIX + name, "gauge", help_, [(labels(shard=one["shard"]), float(one[key])) for one in shards]
        )
        for name, (help_, key) in SHARD_GAUGES.items()
        if shards
    ]
