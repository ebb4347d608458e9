"""What a fingerprint costs: Neve's lexer beside what else finds the shape of a line, on the same lines, one thread.

    python -m bench.lexer [--rows N] [--lines FILE…] [--quick] [--json] [--plot FILE]

Without `--lines` the lines are Loghub's samples, shuffled and repeated, where they lie beside the checkout, else
the text form of the made-up corpus. The slow ones see a part of the lines; every figure is for one line.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from statistics import median

from bench import corpus, native
from bench.plot import bars
from bench.report import Report, parser
from lexer import Columns, Redaction
from lexer._lexer import PADDING_BYTES, choose_simd, lex_all, simd_ways, split_all
from lexer.redaction import RedactionConfig

LOGHUB = Path(__file__).parent.parent.parent / "shared" / "loghub"
SLOW_LINES = 20_000
LONG_BYTES = 5000  # with the newline: past the 4,096 that a fingerprint looks at
RUNS = 5
DRAIN_MASKS = 7  # ids, times, addresses: what Drain's users mask

# What a person writes to mask what the lexer masks, most specific first: the same classes, runs of them made one.
MASKS = [
    rb"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b",
    rb"\b(?:\d{4}[-/.]\d\d?[-/.]\d\d?[T _:-]\d\d?[:.]\d\d[:.]\d\d(?:[.,:]\d+)?(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?"
    rb"|\d{8}[ T_-]?\d\d?:?\d\d:?\d\d(?:[.,:]\d+)?|\d\d[-/]\d\d(?:[-/]\d\d)? \d\d:\d\d:\d\d(?:[.,]\d+)?"
    rb"|(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?(?:\d\d?[ /-])?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    rb"[ /-]+\d{1,4}(?:,? \d{4})?[ :T]\d\d:\d\d:\d\d(?: \d{4})?(?: ?[+-]\d{4})?|\d\d:\d\d:\d\d(?:[.,]\d+)?)",
    rb"\b[a-z][a-z0-9+.-]*://[^\s\"'<>|(){}\[\]]+",
    rb"\b[A-Za-z0-9._%+-]+@[\w-]+(?:\.[\w-]+)*",
    rb"\b(?:[0-9a-fA-F]{2}:){5,7}[0-9a-fA-F]{2}\b",
    rb"(?:\b[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}\b|(?:\b[0-9a-fA-F]{1,4}:){1,7}(?::[0-9a-fA-F]{1,4}){1,7}",
    rb"/?\b(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?\b",
    rb"\b(?:[\w-]+\.)+(?:com|net|org|edu|gov|mil|io|dev|cloud|local|localdomain|internal|lan|home|arpa)\b(?::\d+)?",
    rb"\b0[xX][0-9a-fA-F]+\b|#[0-9a-fA-F]+\b",
    rb"[~.]{0,2}(?:/[^\s\"'<>|,;:?(){}\[\]/\\]+)+/?(?:\?\S*)?",
    rb"\b[A-Za-z]:\\[^\s\"'<>|,;:?(){}\[\]/]*|\\\\?(?:[^\s\"'<>|,;:?(){}\[\]/\\]+\\)+[^\s\"'<>|,;:?(){}\[\]/\\]*",
    rb"\b[+-]?\d+(?:[.,]\d+)* ?(?:[num]?s|secs?|mins?|hrs?|h|seconds?|minutes?|hours?|days"
    rb"|[KMGTP]?i?B(?:/s)?|bytes|%|[MG]?Hz)(?![\w/-])",
    rb"\b[0-9a-fA-F]{8,}\b",
    rb"(?<=[\w\])])=(?:\"[^\"]*\"|'[^']*'|[^\s,;)\]}>\"'&|]+)",
    rb"[\w.%+~@$#&*-]*\d[\w.%+~@$#&*-]*",
    rb"<\*>(?:[ ,;|]{1,2}<\*>)+",
]

RECEIVED_NS = 1_780_000_000 * 10**9
REDACTED: dict[str, tuple[str, ...]] = {
    "columns": (),
    "columns-redact-email": ("email",),
    "columns-redact-secrets": ("secrets",),
    "columns-redact-all": ("all",),
}


def ordered() -> Callable[[bytes], object]:
    compiled = [re.compile(mask) for mask in MASKS]

    def run(line: bytes) -> bytes:
        for mask in compiled:
            line = mask.sub(b"<*>", line)
        return blake2b(line, digest_size=8).digest()

    return run


def alternation() -> Callable[[bytes], object]:
    compiled = re.compile(b"|".join(b"(?:" + mask + b")" for mask in MASKS))
    return lambda line: blake2b(compiled.sub(b"<*>", line), digest_size=8).digest()


def drain(masked: bool) -> Callable[[bytes], object]:
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.profiling_enabled = False
    if masked:
        config.masking_instructions = [MaskingInstruction(m.decode(), "*") for m in MASKS[:DRAIN_MASKS]]
    miner = TemplateMiner(config=config)
    return lambda line: miner.add_log_message(line.decode("utf-8", "replace"))["cluster_id"]


def read_lines(files: Sequence[Path], rows: int) -> list[bytes]:
    """At least `rows` lines, shuffled."""
    if files:
        lines = [line for file in files for line in file.read_bytes().splitlines() if line]
    else:
        lines = [corpus.text_line(event).encode() for event in corpus.events(min(rows, 50_000))]
    lines = lines * -(-rows // len(lines))
    random.Random(corpus.SEED).shuffle(lines)
    return lines[:rows]


def long_lines(lines: list[bytes], count: int) -> bytes:
    """`count` lines of LONG_BYTES, put together of short ones."""
    text = b" ".join(lines)
    cut = [text[i * (LONG_BYTES - 1) : (i + 1) * (LONG_BYTES - 1)] for i in range(count)]
    return b"".join(line + b"\n" for line in cut if len(line) == LONG_BYTES - 1) + bytes(PADDING_BYTES)


def cpu_ns(work: Callable[[], object]) -> int:
    """CPU time of one run, in ns."""
    begun = time.process_time_ns()
    work()
    return time.process_time_ns() - begun


def measure(report: Report, name: str, lines: int, size: int, work: Callable[[], object], runs: int) -> None:
    ns = median(cpu_ns(work) for _ in range(runs))
    report.add(name, ns_per_line=ns / lines, mb_per_s=size / ns * 1000)


def count(report: Report, name: str, way: str, lines: list[bytes]) -> None:
    """Add the instructions that a line takes, those of libc too, to what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        total = native.measure(way, "lex", [path])[0].total
    report.result(name)["instructions_per_line"] = total / len(lines)


def over(work: Callable[[bytes], object], lines: list[bytes]) -> Callable[[], object]:
    def all_lines() -> None:
        for line in lines:
            work(line)

    return all_lines


def columns_of(data: bytes, policy: Redaction | None) -> Callable[[], object]:
    """Lines into columns, with what is masked."""
    columns = Columns(redaction=policy)

    def fill() -> None:
        columns.reset()
        columns.add(data, received_ns=RECEIVED_NS, final=True)

    return fill


def run(rows: int, files: Sequence[Path], runs: int) -> Report:
    lines = read_lines(files, rows)
    data = b"\n".join(lines) + b"\n" + b"\n" * PADDING_BYTES
    size = len(data) - PADDING_BYTES
    few = lines[:SLOW_LINES]
    few_size = sum(map(len, few)) + len(few)
    report = Report("lexer", len(lines))
    measure(report, "split-and-hash", len(lines), size, lambda: split_all(data), runs)
    measure(report, "neve", len(lines), size, lambda: lex_all(data), runs)
    for way in simd_ways()[:-1]:
        choose_simd(way)
        measure(report, f"neve-{way}", len(lines), size, lambda: lex_all(data), runs)
    choose_simd("auto")
    for name, classes in REDACTED.items():
        policy = RedactionConfig(classes).policy()
        measure(report, name, len(few), few_size, columns_of(data[:few_size], policy), runs)
    long = long_lines(lines, len(lines) // 20)
    long_size = len(long) - PADDING_BYTES
    measure(report, "split-and-hash-5k", long_size // LONG_BYTES, long_size, lambda: split_all(long), runs)
    measure(report, "neve-5k", long_size // LONG_BYTES, long_size, lambda: lex_all(long), runs)
    if native.can_count():
        for way in simd_ways():
            count(report, "neve" if way == simd_ways()[-1] else f"neve-{way}", way, few)
    slow: dict[str, Callable[[], Callable[[bytes], object]]] = {
        "drain3": lambda: drain(False),
        "drain3-masked": lambda: drain(True),
        "re-ordered": ordered,
        "re-alternation": alternation,
    }
    for name, make in slow.items():
        measure(report, name, len(few), few_size, over(make(), few), min(runs, 3))
    neve = report.result("neve")["ns_per_line"]
    for row in report.results:
        row["times_neve"] = row["ns_per_line"] / neve
    report.notes.append(f"lines of {size / len(lines):.0f} bytes; CPU time, medians of {runs}")
    return report


def main() -> int:
    options = parser("cost of a fingerprint", 224_000)
    options.add_argument("--lines", type=Path, nargs="+", default=sorted(LOGHUB.glob("*/*_2k.log")))
    options.add_argument("--plot", type=Path, help="write a bar chart (.svg or .png)")
    args = options.parse_args()
    report = run(50_000 if args.quick else args.rows, args.lines, 3 if args.quick else RUNS)
    report.print(args.json)
    if args.plot:
        bars(args.plot, "ns a line (log scale)", [(r["name"], r["ns_per_line"]) for r in report.results])
    return 0


if __name__ == "__main__":
    sys.exit(main())
