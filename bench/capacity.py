"""What a rate, a retention and a number of searches take: cores, disks, requests; and what ends first.

    python -m bench.capacity [--rate N] [--event-bytes N] [--hot-days N] [--cold-days N] [--searches N] …
                             [--units FILE] [--save FILE] [--rows N] [--quick] [--json] [--example]

Without `--units` everything is measured first, here and now (`bench/capacity_units.py`), in a few minutes. `--save`
keeps what was measured, `--example` prints the worked example of docs/scale.md out of it. How needs follow from units
is `bench/capacity_model.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from bench.capacity_model import Demand, Needs, Units, age_rate, limits, needs, search_ms
from bench.capacity_units import measure
from bench.report import parser, table

DECADES = (1e3, 1e4, 1e5, 1e6, 1e7)
HELP = {
    "rate": "events a second",
    "event_bytes": "as they come",
    "searches": "a second",
    "everywhere": "of the searches, those that name no service",
    "service_share": "of all events, those of the service that a search names",
    "copies": "of the hot tier",
    "outage_hours": "that spools bridge",
    "cells": "clusters that share nothing; a search asks one",
    "cores": "of a ClickHouse machine",
    "disk_tb": "of a ClickHouse machine",
}
EXAMPLE = Demand(
    rate=10.6e6, event_bytes=5_000, hot_days=14, cold_days=730, searches=750, everywhere=0.02,
    service_share=1 / 4_000, copies=2, outage_hours=4, cells=20, cores=64, disk_tb=60,
)  # fmt: skip
"""What is published of the logging system of Netflix: 40,000 services, of which busy ones are searched; 500 to 1,000
searches a second. Machines, copies and cells are our choice."""
SMALL = Demand(rate=20_000, event_bytes=800, hot_days=14, cold_days=365, searches=2, cores=8, disk_tb=4)


def unit_table(units: Units) -> Iterator[str]:
    """What was measured."""
    sizes = sorted({size for unit in units.units.values() for size in unit.at if size})
    rows = []
    for one in units.units.values():
        values = [one.at.get(size, one.at.get(0)) for size in sizes]
        rows.append({"what": one.name, **dict(zip((f"{size:,} B" for size in sizes), values, strict=True)),
                     "of": one.unit, "by": one.source})  # fmt: skip
    yield from table(list(rows[0]), rows)
    yield ""
    kinds = [{"search over an hour": one.name, "ms a shard": one.fixed_ms, "ms a million events": one.ms_per_million,
              "about": "the service's" if one.named else "all"} for one in units.searches]  # fmt: skip
    yield from table(list(kinds[0]), kinds)


def need_table(units: Units, demand: Demand) -> Iterator[str]:
    """What a demand takes."""
    found = needs(units, demand)
    if not found.possible:
        yield "not possible: planning so many searches keeps every shard's cores busy; more cells, or more copies"
        return
    size = demand.event_bytes
    rows: list[tuple[str, float | int, str]] = [
        ("agents, on the senders' machines", found.agent_cores, "cores"),
        ("gateways", found.gateway_cores, "cores"),
        ("ClickHouse: inserts", found.insert_cores, "cores"),
        ("ClickHouse: merges", found.merge_cores, "cores"),
        ("ageing", found.age_cores, "cores"),
        ("searches", found.search_cores, "cores"),
        ("ClickHouse machines", found.shards * demand.copies, f"of {demand.cores} cores, {demand.disk_tb:g} TB"),
        ("  which are so many because of", 0, found.bound_by),
        ("hot tier", found.hot_tb, f"TB, {demand.copies} copies, {units.of('hot_bytes', size):.0f} bytes an event"),
        ("cold tier", found.cold_tb, f"TB, {units.of('cold_bytes', size):.0f} bytes an event"),
        ("spools, for the outage", found.spool_tb, "TB"),
        ("network, agents to gateways to ClickHouse", found.network_gbit, "Gbit/s"),
        ("agers at work at once, so namespaces", found.agers, f"at {age_rate(units, size):,.0f} events/s each"),
        ("writes to S3", found.s3_puts, "requests/s"),
        ("files of the cold tier", found.cold_files, "after all of its days"),
        ("reads of S3 by a cold search over an hour", found.gets_per_cold_search, "requests, all files of the hour"),
    ]  # fmt: skip
    width = max(len(name) for name, _, _ in rows)
    for name, value, unit in rows:
        digits = 0 if isinstance(value, int) or value >= 100 else 2
        number = f"{value:,.{digits}f}" if value else ""
        yield f"{name.ljust(width)}  {number.rjust(12)}  {unit}"


def limit_table(units: Units, demand: Demand) -> Iterator[str]:
    """What ends first at each tenfold."""
    found = limits(units, demand)
    for low in DECADES:
        for one in found:
            if low <= one.rate < 10 * low:
                yield f"{one.rate:>13,.0f} events/s  {one.what}: {one.then}"
    above = [one for one in found if one.rate >= 10 * DECADES[-1]]
    if above:
        yield "beyond 100 million: " + "; ".join(one.what for one in above)


def described(demand: Demand) -> str:
    daily = demand.rate * demand.event_bytes * 86_400 / 1e12
    return (
        f"{demand.rate:,.0f} events/s of {demand.event_bytes:,.0f} bytes ({daily:,.1f} TB a day), {demand.hot_days:g} "
        f"days hot in {demand.copies} copies, {demand.cold_days:g} days cold, {demand.searches:g} searches/s, "
        f"{demand.cells} cells"
    )


def example(units: Units) -> Iterator[str]:
    """The tables of docs/scale.md."""
    yield "```"
    yield f"units, {units.machine['cpu']}, one core"
    yield from unit_table(units)
    yield "```"
    for demand in (SMALL, EXAMPLE):
        yield ""
        yield "```"
        yield described(demand)
        yield from need_table(units, demand)
        yield ""
        yield "what ends first as the rate grows, all else the same"
        yield from limit_table(units, demand)
        yield "```"


def report(units: Units, demand: Demand) -> dict[str, Any]:
    """One JSON object, in the form of every benchmark's."""
    found: Needs = needs(units, demand)
    return {
        "bench": "capacity",
        "rows": 0,
        "machine": dict(units.machine),
        "results": [{"name": "needs", **vars(found)},
                    *({"name": "limit", **vars(one)} for one in limits(units, demand))],
        "units": units.to_json(),
        "demand": vars(demand),
        "search_ms": search_ms(units, demand),
    }  # fmt: skip


def main() -> int:
    options = parser("what a rate and a retention take", 1_000_000)
    for one in fields(Demand):
        default = None if one.name == "rate" else one.default
        kind = int if isinstance(one.default, int) and one.name in ("copies", "cells", "cores") else float
        said = HELP.get(one.name, one.name.replace("_", " "))
        options.add_argument(f"--{one.name.replace('_', '-')}", type=kind, default=default, help=said)
    options.add_argument("--units", type=Path, help="what was measured before, by --save")
    options.add_argument("--save", type=Path, help="keep what was measured")
    options.add_argument("--runs", type=int, default=20, help="searches of each kind")
    options.add_argument("--example", action="store_true", help="the tables of docs/scale.md")
    args = options.parse_args()
    if args.units is not None:
        units = Units.read(args.units)
    else:
        rows, runs = (100_000, 5) if args.quick else (args.rows, args.runs)
        with tempfile.TemporaryDirectory(prefix="neve-bench-") as folder:
            units = measure(rows, runs, Path(folder), lambda text: print(text, file=sys.stderr))
    if args.save is not None:
        args.save.write_text(json.dumps(units.to_json(), indent=1) + "\n")
    args.rate = 100_000.0 if args.rate is None else args.rate
    demand = Demand(**{one.name: getattr(args, one.name) for one in fields(Demand)})
    if args.json:
        print(json.dumps(report(units, demand)))
    elif args.example:
        print("\n".join(example(units)))
    else:
        print("\n".join([*unit_table(units), "", described(demand), *need_table(units, demand), ""]))
        print(
            "\n".join(["what ends first as the rate grows, all else the same", *limit_table(units, demand)])
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
