"""Tags in one map, in one map of buckets, in maps by the hash of the key, and with items indexed.

    python -m bench.tags [--rows N] [--quick] [--json] [--variants NAME …] [--events FILE]

The same events and measures as `bench.table`: filters on tags and the top values of tags, in time and bytes read.
No other index is there.
"""

from __future__ import annotations

import sys

from bench.report import Report
from bench.table import compare, options
from bench.table_queries import TAG_QUERIES
from bench.table_variants import TAG_VARIANTS


def main() -> int:
    args = options("where tags are kept", 1_000_000, [variant.name for variant in TAG_VARIANTS])
    chosen = [v for v in TAG_VARIANTS if not args.variants or v.name in args.variants]
    report = Report("tags", 100_000 if args.quick else args.rows)
    compare(report, chosen, TAG_QUERIES, args, trickle=False)
    report.print(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
