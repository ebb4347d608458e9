"""How a server is, for a person: what `neve status` asks, and what it says about the answers."""

import time
from collections.abc import Iterator
from typing import Any

from ingest.counters import redacted
from ingest.remote import Remote, ServerError

LAG_SECONDS = 60.0
"""A block that waits longer than this stands still: it should be searchable within two."""
DISK_SHARE = 0.03
"""Of the disk; with less free, what is written next is in doubt."""

Said = dict[str, Any]


def ask(server: Remote) -> Said:
    """Everything that the server's processes say of themselves. Raises ServerError where nobody answers at all."""
    said: Said = {"url": server.url, "problems": [], "notes": []}
    parts = {
        "gateway": "/gateway/status",
        "api": "/healthz",
        "storage": "/gateway/storage",
        "ready": "/readyz",
    }
    for name, path in parts.items():
        began = time.monotonic()
        try:
            said[name] = {**server.get(path), "answered_ms": round(1000 * (time.monotonic() - began), 1)}
        except ServerError as error:
            if error.status == 0 and name == "gateway":
                raise
            said[name] = {"error": error.message}
    said["problems"] = list(_problems(said))
    said["notes"] = list(_notes(said))
    return said


def _problems(said: Said) -> Iterator[str]:
    """What stands still."""
    for name, words in (("gateway", "the gateway"), ("api", "the search API")):
        if "error" in said[name]:
            yield f"{words} does not answer: {said[name]['error']}"
    if "error" in said["ready"]:
        yield f"search does not answer: {said['ready']['error']}"
    gateway = said["gateway"]
    if "error" in gateway:
        return
    if not gateway["inserting"]:
        reason = next(_reasons(gateway["troubles"], "inserter", "clickhouse"), "")
        yield f"nothing is stored: {reason}"
    for one in gateway.get("shards", ()):
        if not one["alive"]:
            yield f"shard {one['shard']} is away: {one['reason']}"
    if gateway["spool"]["full"]:
        yield f"senders are turned away: the spool is full ({gateway['spool']['full']})"
    if gateway["lag_seconds"] > LAG_SECONDS:
        yield f"the oldest block waits for {duration(gateway['lag_seconds'])}"
    if gateway["disk"]["free_bytes"] < DISK_SHARE * gateway["disk"]["total_bytes"]:
        yield f"the disk is nearly full: {size(gateway['disk']['free_bytes'])} free"
    for one in said["storage"].get("inserters", ()):
        if not one["live"]:
            gone = duration(-one["lease_seconds"])
            yield (
                f"{one['kind']} {one['inserter']} on {one['host']} is gone for {gone} and holds epoch "
                f"{one['low']} of {one['namespace']}: start it, or neve evict {one['inserter']}"
            )


def _reasons(troubles: dict[str, str], *subjects: str) -> Iterator[str]:
    """What troubles the inserters, and ClickHouse: each server of it."""
    for subject in subjects:
        yield from (reason for name, reason in troubles.items() if name.partition(" ")[0] == subject)


def _notes(said: Said) -> Iterator[str]:
    """What a person should look at, though all goes on."""
    gateway = said["gateway"]
    if gateway.get("dead_letters"):
        yield f"{gateway['dead_letters']} blocks were refused: neve deadletter list"
    if gateway.get("ledger", {}).get("damaged_records"):
        yield f"{gateway['ledger']['damaged_records']} records of the ledger are damaged"
    told = set(said["problems"])
    for subject, reason in gateway.get("troubles", {}).items():
        if not any(reason in one for one in told):
            yield f"{subject}: {reason}"


def lines(said: Said) -> Iterator[str]:
    """The answer on a terminal."""
    yield f"neve at {said['url']}: {'stands still' if said['problems'] else 'ok'}"
    yield from (f"  ! {one}" for one in said["problems"])
    yield from (f"  - {one}" for one in said["notes"])
    gateway, storage = said["gateway"], said["storage"]
    if "error" not in gateway:
        yield from _gateway_lines(gateway)
    if "error" in storage:
        yield f"clickhouse   {storage['error']}"
        return
    yield f"clickhouse   {storage['clickhouse']['version']}, answered in {storage['answered_ms']:.0f} ms"
    for one in storage["namespaces"]:
        name = f"namespace    {one['namespace']}{_on(one)}: {one['events']:,} events"
        yield f"{name}, {size(one['bytes'])} in {one['parts']} parts"
    for one in storage["epochs"]:
        said_of = f"epoch        {one['epoch']} of {one['namespace']}{_on(one)}: {one['state']}"
        yield f"{said_of}, since {one['opened_at']}, {one['events']:,} events"
    for one in storage["inserters"]:
        lease = f"lease for {one['lease_seconds']:.0f} s" if one["live"] else "gone"
        stamps = f"stamps epoch {one['stamp']} of {one['namespace']}{_on(one)}, needs {one['low']} and above"
        yield f"inserter     {one['kind']} {one['inserter']} on {one['host']}: {stamps}, {lease}"


def _on(one: Said) -> str:
    """Which shard it is about, in a cluster."""
    return f" on shard {one['shard']}" if "shard" in one else ""


def _gateway_lines(gateway: Said) -> Iterator[str]:
    spool, disk = gateway["spool"], gateway["disk"]
    yield f"gateway      version {gateway['version']}, up for {duration(gateway['uptime_seconds'])}"
    waiting = f"spool        {spool['depth']} blocks, {size(spool['bytes'])} of {size(spool['quota_bytes'])}"
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(spool["reasons"].items()))
    yield waiting + (f"; turned away: {refused}" if refused else "")
    for one in gateway.get("shards", ()):
        state = "answers" if one["alive"] else "is away"
        waits = f", the oldest for {duration(one['oldest_age'])}" if one["depth"] else ""
        yield f"shard        {one['shard']} {state}: {one['depth']} blocks, {size(one['bytes'])} wait{waits}"
    yield f"lag          {duration(gateway['lag_seconds'])}"
    yield f"ledger       {gateway['ledger']['ids']:,} ids"
    yield f"dead letters {gateway['dead_letters']}"
    yield f"disk         {size(disk['free_bytes'])} of {size(disk['total_bytes'])} free"
    for name, said in gateway.get("receivers", {}).items():
        yield f"receiver     {name}: {said}"
    counted = {"lines_received": "lines taken", "lines_shipped": "lines stored", "inserts": "inserts"}
    found = [f"{gateway['counters'].get(name, 0):,} {words}" for name, words in counted.items()]
    yield f"since start  {', '.join(found)}"
    masked = [f"{count:,} {name}" for name, count in redacted(gateway["counters"]).items() if count]
    if masked:
        yield f"masked       {', '.join(masked)}"


def size(count: float) -> str:
    """Bytes for a person."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def duration(seconds: float) -> str:
    """Seconds for a person."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
