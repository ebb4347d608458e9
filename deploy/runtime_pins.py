"""The part of constraints.txt that Neve needs to run, with its hashes: an image has no use for what only tests need.

python deploy/runtime_pins.py [EXTRA…] <constraints.txt >runtime.txt     in an environment that has everything installed
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(name: str, extras: tuple[str, ...], found: set[tuple[str, str]]) -> None:
    """Add what `name` needs with each of its `extras`, and what those need."""
    for extra in ("", *extras):
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for line in requires(name) or ():
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                needed(canonicalize_name(one.name), tuple(one.extras), found)


def entries(constraints: str) -> Iterator[tuple[str, str]]:
    """(name, entry with its hashes) of each pin."""
    for entry in re.split(r"\n(?=\S)", constraints):
        if pin := re.match(r"([A-Za-z0-9._-]+)==", entry):
            yield canonicalize_name(pin[1]), entry


def main() -> int:
    found: set[tuple[str, str]] = set()
    needed("neve", tuple(sys.argv[1:]), found)
    names = {name for name, _ in found} - {"neve"}
    for name, entry in entries(sys.stdin.read()):
        if name in names:
            print(entry)
    return 0


if __name__ == "__main__":
    sys.exit(main())
