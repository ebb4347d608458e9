"""A made-up load that is the same everywhere: realistic shapes of lines, 12 tags an event from 120 keys, seeded.

Six tags are on every event (a unique request id, 10,000 users, 300 pods, 5 regions, 20 versions, a status); six
more are drawn from 114 others, some common, most rare. Messages are some 110 bytes, of 56 shapes.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

SEED = 20260101
START = int(datetime(2025, 7, 1, 6, tzinfo=UTC).timestamp()) * 10**9
SPAN = 6 * 3600 * 10**9  # ns that the events spread over
DRAWN_TAGS = 6
OTHER_KEYS = 114
NEEDLE = "zebracorn quartz handshake aborted"
NEEDLES_AT = (0.11, 0.37, 0.52, 0.78, 0.93)  # where in the events the five lines with the needle are
COMBINATIONS = 4000  # of drawn tags: enough variety, and cheap to draw from

_WORDS = """connection pool session request upstream cache queue worker token bucket index shard replica volume
lease checkpoint snapshot segment partition consumer producer offset handler listener certificate policy quota"""
WORDS = _WORDS.split()
VERBS = [
    "opened",
    "closed",
    "accepted",
    "rejected",
    "refreshed",
    "evicted",
    "promoted",
    "resumed",
    "completed",
]
REGIONS = ["eu-central-1", "eu-west-1", "us-east-1", "us-west-2", "ap-south-1"]

# (level, line); a, b and verb are fixed for a shape, all else is drawn for each line.
SHAPES = [
    (
        "info",
        "%(a)s %(verb)s for client %(ip)s:%(port)s in %(n2000)s ms, %(n1000000)s bytes sent, %(n64)s still waiting",
    ),
    (
        "info",
        '%(ip)s - - "GET /v1/%(a)s/%(n5000)s/%(b)s?page=%(n90)s HTTP/1.1" %(code)s %(n100000)s "-" "curl/8.%(n9)s.0"',
    ),
    (
        "warn",
        "%(a)s %(hex12)s is slow: %(x9)s s waiting for %(b)s on node-%(n300)s.internal, retry %(n6)s of 5",
    ),
    (
        "debug",
        "%(a)s::%(b)s refreshed key=%(hex16)s ttl=%(n3600)ss hits=%(n100000)s ratio=%(x1)s owner=user%(n10000)s",
    ),
    (
        "error",
        "cannot write %(a)s to /var/lib/%(b)s/%(hex2)s/%(hex16)s.dat: refused by peer %(ip)s (errno %(n112)s)",
    ),
    (
        "info",
        "[%(uuid)s] %(a)s %(verb)s: partition %(n256)s at offset %(n1000000000)s, leader broker-%(n12)s:9092",
    ),
    (
        "info",
        "Accepted publickey for deploy from %(ip)s port %(port)s ssh2: ED25519 SHA256:%(hex40)s via %(b)s",
    ),
]
VARIANTS = 8  # of each shape, with other fixed words

Random = random.Random
Make = Callable[[Random], str]


def _hex(r: Random, digits: int) -> str:
    return f"{r.getrandbits(4 * digits):0{digits}x}"


def _ip(r: Random) -> str:
    return f"10.{r.randrange(4)}.{r.randrange(256)}.{r.randrange(256)}"


def _uuid(r: Random) -> str:
    return f"{_hex(r, 8)}-{_hex(r, 4)}-4{_hex(r, 3)}-a{_hex(r, 3)}-{_hex(r, 12)}"


class Drawn(dict[str, str]):
    """Values of a line's names: drawn anew each time that one is asked for."""

    def __init__(self, r: Random) -> None:
        self.r = r

    def __missing__(self, name: str) -> str:
        r = self.r
        if name == "ip":
            return _ip(r)
        if name == "uuid":
            return _uuid(r)
        if name == "port":
            return str(r.randrange(1024, 65536))
        if name == "code":
            return r.choice(("200", "200", "200", "304", "404"))
        if name[0] == "n":
            return str(r.randrange(int(name[1:])))
        if name[0] == "x":
            return f"{r.random() * int(name[1:]):.3f}"
        return _hex(r, int(name.removeprefix("hex")))


def shapes_of_lines() -> list[tuple[str, str]]:
    """(level, line) of every variant of every shape."""
    pick = random.Random(SEED)
    found = []
    for _ in range(VARIANTS):
        fixed = {"a": pick.choice(WORDS), "b": pick.choice(WORDS), "verb": pick.choice(VERBS)}
        for level, line in SHAPES:
            for name, word in fixed.items():
                line = line.replace(f"%({name})s", word)
            found.append((level, line))
    return found


def _numbered(name: str, size: int) -> Make:
    return lambda r: f"{name}-{int(size * r.random() ** 2.2)}"


def _choice(values: Sequence[str], skew: float) -> Make:
    """One of the values; the higher the skew, the more often an early one."""
    return lambda r: values[int(len(values) * r.random() ** skew)]


def _tag_makers() -> tuple[list[tuple[str, Make]], list[list[tuple[str, Make]]]]:
    """Makers of the tags that every event has, and the combinations that the others are drawn in."""
    pick = random.Random(SEED + 1)
    common: list[tuple[str, Make]] = [
        ("request_id", _uuid),
        ("user_id", _choice([f"u{i * 997:07d}" for i in range(10_000)], 2.2)),
        ("region", _choice(REGIONS, 2.2)),
        ("version", _choice([f"2.{i // 4}.{i % 4}" for i in range(20)], 2.2)),
        ("pod", _choice([f"pod-{_hex(pick, 9)}-{_hex(pick, 5)}" for _ in range(300)], 1)),
        ("status", _choice(["200"] * 18 + ["404", "500"], 1)),
    ]
    others: list[tuple[str, Make]] = []
    for i in range(OTHER_KEYS):
        name = f"{WORDS[i % len(WORDS)]}.{('kind', 'shard', 'zone', 'tier', 'owner')[i // len(WORDS) % 5]}"
        others.append((name, _numbered(name, (2, 3, 5, 8, 12, 20, 40, 80, 150, 300, 1000, 5000)[i % 12])))
    weights = [1 / (1 + 0.08 * i) for i in range(OTHER_KEYS)]
    combinations = []
    for _ in range(COMBINATIONS):
        drawn: dict[int, None] = {}
        while len(drawn) < DRAWN_TAGS:
            drawn[pick.choices(range(OTHER_KEYS), weights)[0]] = None
        combinations.append([others[i] for i in drawn])
    return common, combinations


def events(rows: int) -> Iterator[dict[str, object]]:
    """The first `rows` events: timestamp, level, service, host, message, tags. The same for every run."""
    r = random.Random(SEED + 2)
    shapes, (common, combinations) = shapes_of_lines(), _tag_makers()
    services = [f"svc-{a}-{b}" for a in WORDS[:8] for b in ("api", "worker", "cron", "web", "edge")]
    hosts = [f"ip-10-{i % 4}-{i * 7 % 256}-{i * 31 % 256}.internal" for i in range(200)]
    step, drawn = SPAN // rows, Drawn(r)
    needles = {int(rows * part) for part in NEEDLES_AT}
    for i in range(rows):
        seconds, nanos = divmod(START + i * step + r.randrange(step), 10**9)
        stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        level, line = shapes[int(len(shapes) * r.random() ** 1.5)]
        tags = {name: value(r) for name, value in common}
        tags.update((name, value(r)) for name, value in combinations[r.randrange(COMBINATIONS)])
        yield {
            "timestamp": f"{stamp}.{nanos:09d}Z",
            "level": level,
            "service": services[int(40 * r.random() ** 2.2)],
            "host": hosts[r.randrange(200)],
            "message": f"{line % drawn} {NEEDLE}" if i in needles else line % drawn,
            "tags": tags,
        }


def text_line(event: dict[str, object]) -> str:
    """The event as a line of a text log: no tags."""
    return f"{event['timestamp']} {str(event['level']).upper()} {event['service']} {event['message']}"


def write(folder: Path, rows: int) -> tuple[Path, Path]:
    """Write the corpus as JSON lines and as text, unless it is there. Returns both paths."""
    structured, text = folder / f"corpus-{rows}.jsonl", folder / f"corpus-{rows}.log"
    if not (structured.exists() and text.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        encode = json.JSONEncoder(ensure_ascii=False).encode
        temporary = structured.with_suffix(".part")
        with open(temporary, "w") as a, open(text, "w") as b:
            for event in events(rows):
                a.write(encode(event) + "\n")
                b.write(text_line(event) + "\n")
            for file in (a, b):  # else whoever syncs first, in what is measured, writes these out too
                file.flush()
                os.fsync(file.fileno())
        temporary.rename(structured)  # last: both are whole
    return structured, text
