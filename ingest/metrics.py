"""What Prometheus reads: a few lines of text, made from counters and gauges."""

import os
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest.gateway import GatewayState

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "neve_gateway_"
_PAGE = os.sysconf("SC_PAGE_SIZE")


def metric(name: str, kind: str, help_: str, values: Iterable[tuple[str, float]]) -> str:
    """One family; `values` are (labels as `{a="b"}` or empty, number)."""
    lines = [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
    return "\n".join(lines + [f"{name}{labels} {number}" for labels, number in values]) + "\n"


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
        "dead_letters": ("blocks that were refused and are kept", len(gateway.dead_letters)),
        "troubles": ("things that are in trouble now", len(gateway.counters.troubles())),
        "inserting": ("1 while ClickHouse takes blocks", int(gateway.is_inserting())),
        "disk_free_bytes": ("room on the disk of the spool", disk.f_bavail * disk.f_frsize),
    }
    parts = [
        metric(PREFIX + name, "gauge", help_, [("", number)]) for name, (help_, number) in gauges.items()
    ]
    parts += _of_shards(gateway)
    refusals = [(f'{{reason="{reason}"}}', float(count)) for reason, count in spool.reasons.items()]
    parts.append(
        metric(f"{PREFIX}spool_refusals_total", "counter", "blocks that had no room, by reason", refusals)
    )
    parts += [
        metric(f"{PREFIX}{name}_total", "counter", name.replace("_", " "), [("", float(count))])
        for name, count in counters.items()
    ]
    return "".join(parts) + of_process(PREFIX)


def _of_shards(gateway: "GatewayState") -> list[str]:
    """The same of each shard of a cluster."""
    shards = gateway.shard_statuses()
    gauges = {
        "shard_spool_blocks": ("blocks that wait for a shard", "depth"),
        "shard_spool_bytes": ("bytes of the blocks that wait for a shard", "bytes"),
        "shard_lag_seconds": ("age of the oldest block that waits for a shard", "oldest_age"),
        "shard_up": ("1 while a shard answers", "alive"),
        "shard_inserting": ("1 while a shard takes blocks", "inserting"),
    }
    return [
        metric(
            PREFIX + name,
            "gauge",
            help_,
            [(f'{{shard="{one["shard"]}"}}', float(one[key])) for one in shards],
        )
        for name, (help_, key) in gauges.items()
        if shards
    ]


def of_process(prefix: str) -> str:
    """Memory and CPU of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    used = resource.getrusage(resource.RUSAGE_SELF)
    return metric(f"{prefix}resident_bytes", "gauge", "memory in use", [("", float(pages * _PAGE))]) + metric(
        f"{prefix}cpu_seconds_total", "counter", "CPU time used", [("", used.ru_utime + used.ru_stime)]
    )
