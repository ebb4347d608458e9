"""What Prometheus reads: a few lines of text, made from counters and gauges."""

import os
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.counters import LIMITS_HIT

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
        "inserting": (
            "1 while ClickHouse takes blocks",
            int("clickhouse" not in gateway.counters.troubles()),
        ),
        "disk_free_bytes": ("room on the disk of the spool", disk.f_bavail * disk.f_frsize),
    }
    parts = [
        metric(PREFIX + name, "gauge", help_, [("", number)]) for name, (help_, number) in gauges.items()
    ]
    refusals = [(f'{{reason="{reason}"}}', float(count)) for reason, count in spool.reasons.items()]
    parts.append(
        metric(f"{PREFIX}spool_refusals_total", "counter", "blocks that had no room, by reason", refusals)
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


def of_process(prefix: str) -> str:
    """Memory and CPU of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    used = resource.getrusage(resource.RUSAGE_SELF)
    return metric(f"{prefix}resident_bytes", "gauge", "memory in use", [("", float(pages * _PAGE))]) + metric(
        f"{prefix}cpu_seconds_total", "counter", "CPU time used", [("", used.ru_utime + used.ru_stime)]
    )
