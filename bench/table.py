"""The hot table, and the same with one thing done otherwise: what inserting, merging, keeping and searching cost.

    python -m bench.table [--rows N] [--quick] [--json] [--variants NAME …] [--events FILE]

Every variant takes the same sealed blocks, ten of 49,152 rows in an INSERT, into a fresh table of one server: first
with merges stopped, then all is merged into one part, then it is searched. CPU is the server's; times are medians.
A trickle is 40 INSERTs of 4,096 rows with the merging that they cause.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import corpus
from bench.report import Report, parser
from bench.table_load import SMALL_ROWS, Store, block_files
from bench.table_queries import QUERIES, Asker, Probes, Query, ask, find_probes
from bench.table_variants import VARIANTS, Variant
from query.sql import Params
from storage.embedded import EmbeddedServer

PHRASE, WORD, REGEX = "errno 42", "slow", r"retry 4 of \d"
TRICKLE_BLOCKS = 40
QUICK = ("neve", "unindexed", "by-service-fingerprint", "message-text", "items-text")


class Comparison:
    """One run over all variants. The first table that is filled says what is looked for in all."""

    def __init__(self, store: Store, events: Path, folder: Path, words: Sequence[str], times: int) -> None:
        """`words`: the phrase, the word and the regex to look for; the needle is always the corpus's."""
        self.store, self.events, self.folder, self.times = store, events, folder, times
        self._words = words
        self._probes: Probes | None = None
        self._answers: dict[str, float] = {}

    def figures(self, variant: Variant, queries: Mapping[str, Query], trickle: bool) -> dict[str, Any]:
        """Everything about one variant."""
        store, files = self.store, block_files(self.events, self.folder, variant.shards)
        dripped = self._trickle(variant) if trickle else {}
        store.make(variant)
        inserted = store.insert(variant, files)
        rows = store.rows()
        merged = store.merge()
        return {
            "server_cpu_us_per_event": inserted.cpu / rows * 1e6,
            "merge_cpu_us_per_event": merged.cpu / rows * 1e6,
            **dripped,
            "inserted_bytes_per_event": inserted.bytes / rows,
            "bytes_per_event": merged.bytes / rows,
            "peak_server_mib": max(inserted.peak, merged.peak),
            "files": merged.files,
            "queries": self._search(variant, queries),
        }

    def _trickle(self, variant: Variant) -> dict[str, Any]:
        files = block_files(self.events, self.folder, variant.shards, SMALL_ROWS)[:TRICKLE_BLOCKS]
        self.store.make(variant)
        taken = self.store.trickle(variant, files)
        return {"trickle_cpu_us_per_event": taken.cpu / self.store.rows() * 1e6}

    def _search(self, variant: Variant, queries: Mapping[str, Query]) -> dict[str, dict[str, float]]:
        hot, table = self.store.hot, self.store.table
        if self._probes is None:
            self._probes = find_probes(hot, table, variant.shards, corpus.NEEDLE, *self._words)
        asker = Asker(table, variant, Params())
        found = ask(hot, self.store.pid, asker, self._probes, queries, self.times)
        for name, one in found.items():
            expected = self._answers.setdefault(name, one["answer"])
            if one["answer"] != expected:
                raise RuntimeError(
                    f"cannot trust {variant.name}: {name} finds {one['answer']}, others {expected}"
                )
        return found


def compare(
    report: Report, variants: Sequence[Variant], queries: Mapping[str, Query], args: Any, trickle: bool
) -> None:
    """Add the figures of every variant to a report."""
    with (
        tempfile.TemporaryDirectory(prefix="neve-bench-") as name,
        EmbeddedServer(Path(name, "server")) as server,
    ):
        folder = Path(name)
        events = args.events or corpus.write(folder / "corpus", report.rows)[0]
        store = Store(server)
        words = (args.phrase, args.word, args.regex)
        comparison = Comparison(store, events, folder / "blocks", words, 3 if args.quick else 7)
        for number, variant in enumerate(variants, 1):
            print(f"{number} of {len(variants)}: {variant.name}", file=sys.stderr, flush=True)
            report.add(variant.name, **(found := comparison.figures(variant, queries, trickle)))
            print(json.dumps(found), file=sys.stderr, flush=True)  # a run takes long, and may be ended
        store.close()


def options(description: str, rows: int, names: Sequence[str]) -> Any:
    """What `bench.table` and `bench.tags` are asked by."""
    found = parser(description, rows)
    found.add_argument("--variants", nargs="*", choices=names, help="these only")
    found.add_argument(
        "--events", type=Path, help="JSON lines to use for the made-up ones; all of them are taken"
    )
    found.add_argument("--phrase", default=PHRASE, help="of about one event in a thousand")
    found.add_argument("--word", default=WORD, help="of about one event in ten")
    found.add_argument("--regex", default=REGEX)
    return found.parse_args()


def main() -> int:
    args = options("the hot table and its variants", 1_000_000, [variant.name for variant in VARIANTS])
    chosen = args.variants or (QUICK if args.quick else [variant.name for variant in VARIANTS])
    report = Report("table", 100_000 if args.quick else args.rows)
    compare(report, [v for v in VARIANTS if v.name in chosen], QUERIES, args, trickle=True)
    report.print(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
