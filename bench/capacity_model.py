"""What a rate of events and searches takes, from what one event and one search cost. Arithmetic alone.

Every figure is linear: in events, and in the bytes of an event between and beyond the two sizes that were measured.
What is not linear shows as a limit: `limits` says at which rate each is met, and what to do then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

DAY = 86_400
HOUR = 3_600
EPOCH_SECONDS = 3_600
FILE_BYTES = 256 << 20  # a data file of the cold tier
PUTS_PER_PREFIX = 3_500  # a second; what Amazon promises for one prefix of S3
BUSY = 0.6  # of a machine's cores, so that a failed neighbour's share fits too
FULL = 0.8  # of a disk
REWRITES = 3  # how often an event is merged into a larger part before its epoch ages


@dataclass(frozen=True)
class Unit:
    """What something costs; `at`: by the bytes of an event, or under 0 where these do not matter."""

    name: str
    unit: str
    source: str
    at: Mapping[int, float]

    def of(self, size: float) -> float:
        """For an event of so many bytes."""
        if len(self.at) == 1:
            return next(iter(self.at.values()))
        (low, a), (high, b) = sorted(self.at.items())
        return max(0.0, a + (b - a) * (size - low) / (high - low))


@dataclass(frozen=True)
class Search:
    """CPU of one kind of search over one hour: in ms for each shard, and for each million events that it is about."""

    name: str
    named: bool  # it names a service: it is about that service's events of the hour, else about all
    fixed_ms: float
    ms_per_million: float


@dataclass(frozen=True)
class Units:
    """Everything that was measured, and on what."""

    units: Mapping[str, Unit]
    searches: tuple[Search, ...]
    machine: Mapping[str, object]

    def of(self, name: str, size: float = 0) -> float:
        return self.units[name].of(size)

    def to_json(self) -> dict[str, object]:
        return {
            "machine": dict(self.machine),
            "units": [
                {"name": one.name, "unit": one.unit, "source": one.source,
                 "at": {str(size): value for size, value in one.at.items()}}
                for one in self.units.values()
            ],
            "searches": [vars(one) for one in self.searches],
        }  # fmt: skip

    @classmethod
    def read(cls, path: Path) -> Units:
        said = json.loads(path.read_text())
        units = [
            Unit(one["name"], one["unit"], one["source"], {int(k): float(v) for k, v in one["at"].items()})
            for one in said["units"]
        ]
        searches = tuple(Search(**one) for one in said["searches"])
        return cls({one.name: one for one in units}, searches, said["machine"])


@dataclass(frozen=True)
class Demand:
    """What is wanted, and of which machines."""

    rate: float  # events a second
    event_bytes: float = 1_000  # as they come
    hot_days: float = 7
    cold_days: float = 365
    searches: float = 5  # a second
    everywhere: float = 0.05  # of the searches, those that name no service
    service_share: float = 0.01  # of all events, those of the service that a search names
    copies: int = 1  # of the hot tier
    outage_hours: float = 4  # that spools bridge
    cells: int = 1  # clusters that share nothing; a search asks one
    cores: int = 32  # of a ClickHouse machine
    disk_tb: float = 30  # of a ClickHouse machine


@dataclass(frozen=True)
class Needs:
    """What that takes. Cores are busy ones, without reserve; machines have it."""

    agent_cores: float
    gateway_cores: float
    insert_cores: float
    merge_cores: float
    age_cores: float
    search_cores: float
    shards: int
    bound_by: str
    hot_tb: float
    cold_tb: float
    spool_tb: float
    network_gbit: float
    agers: int
    s3_puts: float
    cold_files: float
    gets_per_cold_search: float
    possible: bool = True

    @property
    def server_cores(self) -> float:
        return self.gateway_cores + self.insert_cores + self.merge_cores + self.age_cores + self.search_cores


@dataclass(frozen=True)
class Limit:
    """A rate at which something ends, and what is done then."""

    rate: float
    what: str
    then: str = field(default="")


def needs(units: Units, demand: Demand) -> Needs:
    """What a demand takes."""
    size, rate, copies = demand.event_bytes, demand.rate, demand.copies

    def cores(name: str) -> float:
        return rate * units.of(name, size) / 1e6

    insert, merge = cores("insert_cpu_us") * copies, cores("merge_cpu_us") * REWRITES * copies
    age = cores("age_cpu_us")
    hot_bytes = rate * demand.hot_days * DAY * units.of("hot_bytes", size) * copies
    fixed, linear = search_ms(units, demand)
    linear_cores = demand.searches * linear / 1000
    # What a search costs in every shard, whatever is in it: a search is answered by one copy of each shard of its cell.
    fixed_a_machine = demand.searches / demand.cells * fixed / 1000 / copies
    free = demand.cores * BUSY - fixed_a_machine
    possible = free > 0
    # The ager's ClickHouse work is on the shards too; its own process is with the gateways.
    work = insert + merge + age + linear_cores
    by_cores = ceil(work / free) if possible else 0
    by_disk = ceil(hot_bytes / (demand.disk_tb * 1e12 * FULL))
    machines = max(1, copies, by_cores, by_disk)
    shards = ceil(machines / copies)
    cold_bytes = rate * units.of("cold_bytes", size)
    agers = max(1, ceil(rate / age_rate(units, size)))
    commits = agers * shards / demand.cells / EPOCH_SECONDS  # a second; a namespace is in one cell
    files = max(commits, cold_bytes / FILE_BYTES)
    return Needs(
        agent_cores=cores("agent_cpu_us"),
        gateway_cores=cores("gateway_cpu_us"),
        insert_cores=insert,
        merge_cores=merge,
        age_cores=age,
        search_cores=linear_cores + fixed_a_machine * shards * copies,
        shards=shards,
        bound_by="disk" if by_disk >= max(1, by_cores) else "cores",
        hot_tb=hot_bytes / 1e12,
        cold_tb=cold_bytes * demand.cold_days * DAY / 1e12,
        spool_tb=rate * units.of("wire_bytes", size) * demand.outage_hours * HOUR / 1e12,
        network_gbit=rate * units.of("wire_bytes", size) * (1 + copies) * 8 / 1e9,
        agers=agers,
        s3_puts=commits * units.of("s3_requests_per_commit")
        + cold_bytes / min(cold_bytes / files, units.of("s3_bytes_per_put")),
        cold_files=files * demand.cold_days * DAY,
        gets_per_cold_search=units.of("s3_gets_per_cold_file")
        * max(1.0, cold_bytes * HOUR / FILE_BYTES / max(1, demand.cells)),
        possible=possible,
    )


def search_ms(units: Units, demand: Demand) -> tuple[float, float]:
    """CPU ms of a search on average: for each shard that it asks, and for what it reads."""
    hour = demand.rate * HOUR / 1e6 / demand.cells  # millions
    fixed = linear = 0.0
    for named, share in ((True, 1 - demand.everywhere), (False, demand.everywhere)):
        kinds = [one for one in units.searches if one.named is named]
        about = hour * demand.service_share * demand.cells if named else hour
        for one in kinds:
            fixed += share / len(kinds) * one.fixed_ms
            linear += share / len(kinds) * one.ms_per_million * about
    return fixed, linear


def age_rate(units: Units, size: float) -> float:
    """Events a second that one ager, which works on one epoch at a time, makes cold on one core."""
    return 1e6 / units.of("age_cpu_us", size)


def limits(units: Units, demand: Demand) -> list[Limit]:
    """What ends at which rate, lowest first, all else as demanded (and searches growing with the rate)."""
    size = demand.event_bytes
    a_search = demand.searches / demand.rate
    insert = units.of("insert_cpu_us", size) + REWRITES * units.of("merge_cpu_us", size)
    fixed, _ = search_ms(units, demand)
    everywhere = [one.ms_per_million for one in units.searches if not one.named]
    slope = sum(everywhere) / len(everywhere)
    machine = demand.cores * BUSY
    found = [
        Limit(machine / ((insert + units.of("age_cpu_us", size)) / 1e6),
              f"the cores of one ClickHouse machine ({demand.cores}) are busy with inserts, merges and ageing",
              "more shards"),
        Limit(demand.disk_tb * 1e12 * FULL / (demand.hot_days * DAY * units.of("hot_bytes", size)),
              f"one disk of {demand.disk_tb:g} TB holds no more than {demand.hot_days:g} days",
              "more shards, or fewer days hot"),
        Limit(age_rate(units, size), "one ager has one core busy", "more namespaces: each has its own lease"),
        Limit(1e6 / units.of("gateway_cpu_us", size) * BUSY, "one gateway has one core busy", "more gateways"),
        Limit(machine * 1000 * demand.copies / (fixed * a_search),
              f"planning {a_search:.2g} searches an event keeps every shard's cores busy, whatever it holds",
              "cells: clusters of their own, by namespace; or more copies"),
        Limit((machine * 1000 / (a_search * demand.everywhere * slope * HOUR / 1e6)) ** 0.5,
              f"{demand.everywhere:.0%} of the searches name no service and keep one machine's cores busy",
              "more shards; ask for services; cells"),
        Limit(PUTS_PER_PREFIX * units.of("s3_bytes_per_put") / units.of("cold_bytes", size),
              f"{PUTS_PER_PREFIX:,} requests a second write to one prefix of S3", "more namespaces"),
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.rate)
