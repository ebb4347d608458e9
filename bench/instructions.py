"""A gate: the instructions that the lexer needs a line, against those that are stored beside this file.

    python -m bench.instructions [--store] [--json]

Fails when a corpus takes over 10 % more, and says which source they were compiled from. The corpora are made up and
the same everywhere; SSE2 is used whatever the processor has, and libc, whose functions differ by processor, is left
out. Another compiler makes other code of the same source: with another major version of gcc the margin is wider, on
another kind of processor nothing is compared. `--store` writes new figures: do it where more is meant.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import corpus, native
from bench.report import Report, parser

STORED = Path(__file__).with_suffix(".json")
WAY = "baseline"
ROWS = 2000
MARGIN = 0.10
MARGIN_OTHER_GCC = 0.30
WORTH_SAYING = 0.01  # of the whole: what a source grew by


def quoted(value: str) -> str:
    return f'"{value}"' if " " in value or "=" in value or '"' in value else value


def logfmt_line(event: Mapping[str, Any]) -> str:
    """The event as a line of logfmt."""
    message = str(event["message"]).replace("\\", "\\\\").replace('"', '\\"')
    names = {name: event[name] for name in ("timestamp", "level", "service", "host")}
    pairs = {**names, **event["tags"]}
    return " ".join([*(f"{k}={quoted(str(v))}" for k, v in pairs.items()), f'msg="{message}"'])


def corpora(folder: Path) -> Iterator[tuple[str, Path]]:
    """(mode, file): the same events as text, as JSON and as logfmt."""
    structured, text = corpus.write(folder, ROWS)
    logfmt = folder / "corpus.logfmt"
    logfmt.write_text("".join(logfmt_line(event) + "\n" for event in corpus.events(ROWS)))
    yield from (("text", text), ("json", structured), ("logfmt", logfmt))


def measured() -> dict[str, dict[str, int]]:
    """Instructions a line, by corpus and source."""
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for mode, path in corpora(Path(folder)):
            files = native.measure(WAY, mode, [path])[0].files
            found[mode] = {name: round(cost / ROWS) for name, cost in files.most_common()}
        return found


def here() -> dict[str, Any]:
    """What the figures depend on beside the code."""
    return {"machine": platform.machine(), "gcc": native.gcc_version()}


def grown(name: str, before: Mapping[str, int], now: Mapping[str, int], margin: float) -> str | None:
    """What is wrong with a corpus, in one line; None if it is within the margin."""
    old, new = sum(before.values()), sum(now.values())
    if new <= old * (1 + margin):
        return None
    sources = {s: now.get(s, 0) - before.get(s, 0) for s in {*now, *before}}
    said = [
        f"{source} {before.get(source, 0):,} to {now.get(source, 0):,}"
        for source, more in sorted(sources.items(), key=lambda item: -item[1])
        if more > old * WORTH_SAYING
    ]
    return f"a line of {name} takes {new:,} instructions, {new / old - 1:.0%} more than {old:,}: {', '.join(said)}"


def judged(stored: Mapping[str, Any], now: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What grew past the margin."""
    margin = MARGIN if stored["gcc"] == native.gcc_version() else MARGIN_OTHER_GCC
    return [
        wrong
        for name, sources in stored["instructions_per_line"].items()
        if (wrong := grown(name, sources, now[name], margin))
    ]


def report(stored: Mapping[str, Any], now: Mapping[str, Mapping[str, int]]) -> Report:
    found = Report("instructions", ROWS)
    for name, sources in now.items():
        before = sum(stored.get("instructions_per_line", {}).get(name, {}).values())
        total = sum(sources.values())
        found.add(name, instructions_per_line=total, stored=before or None, **dict(sources))
    return found


def main() -> int:
    options = parser("instructions that a line takes, against the stored ones", ROWS)
    options.add_argument("--store", action="store_true", help="write the figures as the new ones")
    args = options.parse_args()
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    if not native.can_count():
        print("instructions: not compared, valgrind is not here; make system-packages", file=sys.stderr)
        return 0
    now = measured()
    report(stored, now).print(args.json)
    if args.store:
        STORED.write_text(json.dumps({**here(), "instructions_per_line": now}, indent=2) + "\n")
        return 0
    if stored.get("machine") != platform.machine():
        print(f"instructions: not compared, the stored ones are of {stored.get('machine')}", file=sys.stderr)
        return 0
    wrong = judged(stored, now)
    for line in wrong:
        print(f"instructions: {line}", file=sys.stderr)
    if wrong:
        print(
            "instructions: if that is meant, store them: python -m bench.instructions --store",
            file=sys.stderr,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
