"""What searches look for: constants drawn from the events themselves, another one each time."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from bench.corpus import NEEDLE, SEED

SAMPLE = 60_000
"""Events that frequencies are told from."""
WORD = re.compile(r"(?<!\S)[a-z]{3,}(?!\S)")


@dataclass
class Constants:
    """For each kind, values of the events in an order that the seed gives; `take` gives each once, then again."""

    needles: Sequence[str]
    phrases: Sequence[str]  # two words that one event in about a thousand has
    words: Sequence[str]  # one event in about ten
    regexes: Sequence[str]  # one event in about a hundred
    services: Sequence[str]  # common ones
    request_ids: Sequence[str]
    user_ids: Sequence[str]  # one event in about 20,000
    regions: Sequence[str]
    low: int  # the events' time: nanoseconds since 1970
    high: int
    _taken: Counter[str] = field(default_factory=Counter)

    def take(self, kind: str) -> str:
        values: Sequence[str] = getattr(self, kind)
        self._taken[kind] += 1
        return values[(self._taken[kind] - 1) % len(values)]

    @classmethod
    def of(cls, path: Path, rows: int) -> Constants:
        """Drawn from a file of JSON lines with `timestamp`, `message`, `service` and tags."""
        chance = random.Random(SEED)
        events = list(_sample(path, rows))
        messages = [str(event["message"]) for event in events]
        singles: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        for message in messages:
            found = WORD.findall(message)
            singles.update(set(found))
            pairs.update({pair for pair in pairwise(found) if " ".join(pair) in message})
        count = len(messages)

        def near(counter: Counter[Any], share: float, many: int) -> list[Any]:
            ranked = sorted(counter, key=lambda one: (abs(counter[one] - share * count), str(one)))
            return ranked[:many]

        services = Counter(str(event["service"]) for event in events)
        users = Counter(str(_tag(event, "user_id")) for event in events)
        requests = [str(_tag(event, "request_id")) for event in events]
        chance.shuffle(requests)
        words = NEEDLE.split()
        return cls(
            needles=[NEEDLE, *(" ".join(words[a:b]) for a in range(3) for b in range(a + 2, 5))],
            phrases=[" ".join(pair) for pair in near(pairs, 0.001, 8)],
            words=near(singles, 0.1, 8),
            regexes=[f"{a}\\s+{b[:-1]}[{b[-1]}]" for a, b in near(pairs, 0.01, 8)],
            services=[name for name, _ in services.most_common(8)],
            request_ids=requests,
            user_ids=near(users, 1 / 20_000, 50),
            regions=[name for name, _ in Counter(str(_tag(e, "region")) for e in events).most_common(2)],
            low=nanoseconds(str(events[0]["timestamp"])),
            high=nanoseconds(str(events[-1]["timestamp"])),
        )


def nanoseconds(text: str) -> int:
    """Of an RFC 3339 time in UTC, to the microsecond."""
    return int(datetime.fromisoformat(text[:26] + "+00:00").timestamp() * 1e6) * 1000


def _sample(path: Path, rows: int) -> Iterator[dict[str, Any]]:
    step = max(1, rows // SAMPLE)
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in islice(file, 0, None, step):
            yield json.loads(line)


def _tag(event: dict[str, Any], key: str) -> object:
    tags = event.get("tags", event)
    return tags.get(key, event.get(key, ""))
