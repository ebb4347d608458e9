"""The lexer's C without Python: builds its programs (lexer/tools) and counts the instructions that they run.

Counts are those of callgrind: the same whenever the same code runs on the same input, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import fcntl
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "lexer" / "tools"
CSRC = ROOT / "lexer" / "csrc"
POSITION = re.compile(r"(ob|fl|fi|fe|fn|calls|cob|cfi|cfl|cfn)=(.*)")


def program(name: str, *, sanitize: bool = False) -> Path:
    """Build a program of lexer/tools, with the sanitizers if they are asked for; its path."""
    folder = ROOT / "build" / ("tools-sanitized" if sanitize else "tools")
    beside = Path(sys.executable).parent  # cmake, ninja and re2c are in the environment
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:  # tests and `make instructions` may run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        run([beside / "cmake", "-S", TOOLS, "-B", folder, "-G", "Ninja",
             f"-DCMAKE_MAKE_PROGRAM={beside / 'ninja'}", f"-DRE2C={beside / 're2c'}",
             f"-DNEVE_SANITIZE={'ON' if sanitize else 'OFF'}"])  # fmt: skip
        run([beside / "cmake", "--build", folder, "--target", name])
    return folder / name


def run(command: Sequence[str | Path]) -> str:
    """What a command prints; its output is the message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise RuntimeError(
            f"cannot run {command[0]}: it ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def can_count() -> bool:
    """Whether instructions can be counted here."""
    return shutil.which("valgrind") is not None


def gcc_version() -> int:
    """The major version of the compiler: another one makes other instructions of the same source."""
    return int(run(["gcc", "-dumpversion"]).partition(".")[0])


@dataclass(frozen=True)
class Count:
    """Instructions that a file took."""

    total: int
    """All, those of libc too."""
    files: Counter[str]
    """Those of our own code, by the source that they were compiled from: `json`, `columns`, `hash`, …"""

    @property
    def ours(self) -> int:
        return self.files.total()


def measure(way: str, mode: str, files: Sequence[Path]) -> list[Count]:
    """Run `measure` over files: what each of them took, without starting the process and reading the file."""
    command = program("measure")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        run(["valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={out}", "--dump-before=one_file",
             "--dump-after=one_file", "--compress-strings=no", "--compress-pos=no",
             command, way, mode, *files])  # fmt: skip
        # What was before the first file, the first file, what was between it and the second, …
        return [read(Path(f"{out}.{2 * i + 2}"), command) for i in range(len(files))]


def read(dump: Path, command: Path) -> Count:
    """What callgrind counted."""
    total, files = 0, Counter[str]()
    with open(dump, errors="replace") as lines:
        for program_file, source, cost in self_costs(lines):
            total += cost
            if program_file == str(command) and is_ours(Path(source)):
                files[Path(source).stem] += cost
    return Count(total, files)


def is_ours(source: Path) -> bool:
    """Whether a source is one of csrc, or generated from one: what is measured, not what measures."""
    return source.parent == CSRC or (CSRC / source.name).with_suffix(".re").exists()


def self_costs(lines: Iterable[str]) -> Iterator[tuple[str, str, int]]:
    """(object, source, instructions) of each line of callgrind's output; what was called counts where it is."""
    program_file = source = ""
    called = False
    for line in lines:
        found = POSITION.match(line)
        if found:
            name, value = found.groups()
            if name == "ob":
                program_file = value
            elif name in ("fl", "fi", "fe"):
                source = value
            called = called or name == "calls"
        elif line[:1].isdigit():
            if not called:
                yield program_file, source, int(line.split()[1])
            called = False


def main() -> int:
    """Build a program and say where it is."""
    options = argparse.ArgumentParser(description="build a program of lexer/tools and print its path")
    options.add_argument("name", choices=["fuzz", "measure"])
    options.add_argument("--sanitize", action="store_true")
    args = options.parse_args()
    print(program(args.name, sanitize=args.sanitize))
    return 0


if __name__ == "__main__":
    sys.exit(main())
