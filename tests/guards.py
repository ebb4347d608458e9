"""Do the tests of delivery notice when what they guard is gone? Each guard is taken out, and its test must fail.

    python -m tests.guards [WORD …]     those whose case has one of the words; without, all of them

The sources on disk are not touched: the test's own process imports one module with one piece of text replaced.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType

VARIABLE = "NEVE_GUARD_OUT"
HANGS_SECONDS = 120.0
"""A test that has not ended by then has noticed as well."""
UNIT, INTEGRATION = "tests/unit/ingest", "tests/integration"


@dataclass(frozen=True)
class Guard:
    """Of `case`: in `module`, `code` becomes `instead`; then `test` must fail. `also`: more of the same kind."""

    case: str
    module: str
    code: str
    instead: str
    test: str
    also: tuple[tuple[str, str], ...] = ()


FILES, LINEAGE, ROTATION = "ingest.sources.files", "ingest.sources.lineage", "ingest.sources.rotation"
GUARDS = (
    Guard(
        "create and rename: the writer goes on in the old file",
        FILES,
        "self._unnamed = set(self._tails) - named\n",
        "self._unnamed = set(self._tails) - named\n        [self._close(self._tails[key]) for key in self._unnamed]\n",
        f"{UNIT}/test_rotation.py::test_renamed_file_is_read_to_its_end",
        (("for one in self._siblings.find(pattern, path, key):", "for one in ():"),),
    ),
    Guard(
        "create and rename under a wide glob",
        FILES,
        "if key in self._tails:\n                if key not in named",
        "if path in [tail.path for tail in self._tails.values()]:\n                if key not in named",
        f"{UNIT}/test_rotation.py::test_renamed_file_is_not_read_again_by_a_wide_glob",
    ),
    Guard(
        "renamed while down",
        FILES,
        "if self._matches(progress.path) and not self._find_again((device, inode), progress):",
        "if False:",
        f"{UNIT}/test_rotation.py::test_file_renamed_while_down_is_found_again",
        (("for one in self._siblings.find(pattern, path, key):", "for one in ():"),),
    ),
    Guard(
        "came and went unseen",
        "ingest.sources.siblings",
        "if place.settled or began is None:",
        "if True:",
        f"{UNIT}/test_siblings.py::test_file_that_came_and_went_is_read_oldest_first",
    ),
    Guard(
        "copytruncate is noticed",
        "ingest.sources.tail",
        "if not self._footprint.matches(self.file):",
        "if self.file.size() < self.position:",
        f"{UNIT}/test_rotation.py::test_copytruncate_whose_new_content_outgrows_the_old",
    ),
    Guard(
        "copytruncate: the rest is in the copy",
        FILES,
        "copy = rotation.find_copy(tail.path, mark, apart_from=set(self._tails))",
        "copy = None; self._siblings.look_again = lambda path: None",
        f"{UNIT}/test_rotation.py::test_copytruncate_loses_and_doubles_nothing",
    ),
    Guard(
        "copytruncate under a wide glob: a copy in the making waits",
        LINEAGE,
        "if self._may_be_copy(path, key, file):",
        "if False:",
        f"{UNIT}/test_rotation.py::test_copytruncate_under_a_wide_glob",
    ),
    Guard(
        "copytruncate again and again: every content that was replaced is remembered",
        LINEAGE,
        "yield from reversed(self._replaced)",
        "yield from ()",
        f"{UNIT}/test_rotation.py::test_copytruncate_again_and_again_while_the_gateway_is_away",
        (("for mark in reversed(progress.former):", "for mark in ():"),),
    ),
    Guard(
        "copytruncate: what was read and never durable does not count",
        "ingest.checkpoints",
        "if self._arrived(original) < (generation, one.checkpoint.offset):",
        "if False:",
        f"{UNIT}/test_rotation.py::test_copy_of_lines_that_were_read_and_never_spooled",
    ),
    Guard(
        "copytruncate: a copy is seen before its original is looked at",
        LINEAGE,
        "or tail.went_to(file)",
        "",
        f"{UNIT}/test_rotation.py::test_copytruncate_twice_between_two_looks_at_the_folder",
    ),
    Guard(
        "copytruncate: an original that holds something else now is gone",
        LINEAGE,
        "if not gone or not rotation.is_there(its_key, progress.path, mark_there):",
        "if not gone or rotation.locate(its_key, progress.path) is None:",
        f"{UNIT}/test_rotation.py::test_copytruncate_over_the_copy_before",
    ),
    Guard(
        "copytruncate over a file of which nothing was read",
        LINEAGE,
        "return known.latest is not None and known.latest.offset > 0",
        "return True",
        f"{UNIT}/test_rotation.py::test_copytruncate_over_the_copy_before",
        (("if not file.size():", "if False:"),),
    ),
    Guard(
        "rotation to .gz: content, not packed bytes",
        ROTATION,
        "if not is_compressed(path):",
        "if True:",
        f"{UNIT}/test_rotation.py::test_compressed_file_is_read",
    ),
    Guard(
        "rotation to .gz while down: read on where it was left",
        ROTATION,
        "return known.offset > 0 and known.matches(content)",
        "return False",
        f"{UNIT}/test_rotation.py::test_file_compressed_while_down_is_read_on",
    ),
    Guard(
        "rotation to .gz: one that is being written is not read yet",
        "ingest.sources.packed",
        "except broken as error:\n        raise NotYetWhole(str(error)) from error",
        "except broken:\n        pass",
        f"{UNIT}/test_rotation.py::test_rest_is_read_from_a_compressed_file_once_it_is_whole",
    ),
    Guard(
        "deleted while open: read to its end",
        FILES,
        "moved = tail.read(batch, self._buffer, final=ending)",
        "moved = tail.read(batch, self._buffer, final=ending) if os.fstat(tail.file.handle).st_nlink else 0",
        f"{UNIT}/test_rotation.py::test_file_deleted_while_open_is_read_to_its_end",
    ),
    Guard(
        "replaced while down, under the same inode",
        LINEAGE,
        "return known.latest is None or known.latest.matches(file)",
        "return True",
        f"{UNIT}/test_rotation.py::test_other_content_under_the_same_inode_while_down_is_read_from_its_start",
    ),
    Guard(
        "the same first bytes, other content",
        "ingest.identity",
        "return digest(before(content, self.offset)) == self.tail",
        "return True",
        f"{UNIT}/test_rotation.py::test_same_beginning_and_other_end_is_another_file",
    ),
    Guard(
        "two files with the same first bytes",
        FILES,
        "key = rotation.key_of(found)\n            self._read_siblings",
        "import zlib; key = (1, zlib.crc32(open(path, 'rb').read(64)))\n            self._read_siblings",
        f"{UNIT}/test_files.py::test_files_that_begin_alike_are_two",
        (("rotation.open_content(path, key))", "rotation.open_content(path))"),),
    ),
    Guard(
        "symlinks: two names, one file",
        FILES,
        "key = rotation.key_of(found)\n            self._read_siblings",
        "key = (found.st_dev, found.st_ino + len(path))\n            self._read_siblings",
        f"{UNIT}/test_places.py::test_symlink_and_file_are_one",
        (("rotation.open_content(path, key))", "rotation.open_content(path))"),),
    ),
    Guard(
        "files that appear later",
        FILES,
        "paths = expand(pattern)",
        "paths = self.__dict__.setdefault(pattern, expand(pattern))",
        f"{UNIT}/test_files.py::test_file_that_appears_later_is_found",
    ),
    Guard(
        "a partial last line waits",
        FILES,
        "ending = self._once or self._ending(tail)",
        "ending = True",
        f"{UNIT}/test_files.py::test_partial_last_line_waits_for_its_end",
    ),
    Guard(
        "multi-line records wait for their lines",
        "ingest.sources.tail",
        "self._patience.over(quiet=state == self._seen)",
        "True",
        f"{UNIT}/test_multiline_files.py::test_record_waits_for_the_line_after_it",
    ),
    Guard(
        "lines of a megabyte",
        "ingest.sources.tail",
        "MAX_CHUNK_BYTES = (1 << 20) + (64 << 10)",
        "MAX_CHUNK_BYTES = CHUNK_BYTES",
        f"{UNIT}/test_files.py::test_binary_garbage_and_long_lines_pass",
    ),
    Guard(
        "unreadable files are told of",
        FILES,
        "if not isinstance(error, FileNotFoundError):",
        "if False:",
        f"{UNIT}/test_places.py::test_unreadable_file_is_told_once_and_tried_again",
    ),
    Guard(
        "inotify wakes",
        "ingest.sources.wake",
        "self._notify = RustNotify(sorted(wanted), False, False, 0, False, True)",
        "self._notify = None",
        f"{UNIT}/test_places.py::test_inotify_wakes_before_the_poll",
    ),
    Guard(
        "polling, where inotify has none left",
        "ingest.sources.wake",
        "            ):  # no inotify, or none left: the poll alone has to do\n",
        "            ):\n                raise\n",
        f"{UNIT}/test_places.py::test_no_inotify_left_is_no_failure",
    ),
    Guard(
        "offsets move when the block is durable: checkpoint, then unlink",
        "ingest.shipper",
        "        self._retire([header])\n        self._spool.remove([entry])\n",
        "        self._spool.remove([entry])\n        self._retire([header])\n",
        f"{UNIT}/test_shipper.py::test_blocks_go_in_order_and_leave_after_their_checkpoint",
    ),
    Guard(
        "offsets: a range that was lost from the spool is read again",
        "ingest.checkpoints",
        "while self.ahead and self.ahead[0][0] <= self.offset:",
        "while self.ahead:",
        f"{UNIT}/test_files.py::test_range_lost_from_the_spool_is_read_again",
    ),
    Guard(
        "a copied state folder is another agent",
        "ingest.state",
        "known is not None and known.folder == here",
        "known is not None",
        f"{UNIT}/test_state.py::test_copied_folder_takes_an_id_of_its_own",
    ),
    Guard(
        "spool: a flipped bit",
        "ingest.spool",
        "block = SealedBlock.parse(data)",
        "block = SealedBlock.trust(data)",
        f"{UNIT}/test_spool.py::test_damaged_file_is_set_aside_with_its_reason",
    ),
    Guard(
        "spool: a full disk",
        "ingest.spool",
        "if error.errno in _DISK_FULL:",
        "if False:",
        f"{UNIT}/test_spool.py::test_disk_full_at_any_step_refuses_and_leaves_nothing",
    ),
    Guard(
        "gateway: a block that comes twice",
        "ingest.committer",
        "return one in self._ledger or one in self._spool or one in self._requests",
        "return False",
        f"{INTEGRATION}/test_ingest_http.py::test_block_is_taken_once",
    ),
    Guard(
        "gateway: a block that comes again after the ledger has forgotten it",
        "ingest.inserter",
        "old = [one for one in held if self._doubtful(one.header)]",
        "old: list[Held] = []",
        f"{INTEGRATION}/test_ingest_http.py::test_block_that_the_ledger_has_forgotten_is_known_by_clickhouse",
    ),
    Guard(
        "inserter: an attempt that was stored, its answer lost",
        "ingest.inserter",
        "missing = [one for one in held if present[one.header.block_id] != one.header.rows]",
        "missing = list(held); attempt = attempt.again()",
        f"{INTEGRATION}/test_ingest_inserter.py::test_attempt_that_was_stored_is_not_sent_again",
    ),
    Guard(
        "inserter: some rows of a block were stored",
        "ingest.inserter",
        "partly = [one for one in missing if present[one.header.block_id]]",
        "partly: list[Held] = []",
        f"{INTEGRATION}/test_ingest_inserter.py::test_some_rows_of_a_block_were_stored",
    ),
    Guard(
        "inserter: the token is remembered, the rows are gone",
        "ingest.inserter",
        "attempt = attempt.again()  # taken",
        "break  # taken",
        f"{INTEGRATION}/test_ingest_inserter.py::test_token_is_remembered_and_the_rows_are_gone",
    ),
    Guard(
        "epochs: of one that was dropped nobody can tell what it had",
        "ingest.inserter",
        "if epoch <= self._patiently(lambda: self._hot.epochs.dropped_through(namespace)):",
        "if False:",
        f"{INTEGRATION}/test_ingest_epochs.py::test_block_whose_epoch_was_dropped_is_set_aside",
    ),
    Guard(
        "cluster: a block keeps its shard",
        "ingest.spool",
        "found.st_size, found.st_mtime, shard)",
        "found.st_size, found.st_mtime)",
        f"{INTEGRATION}/test_ingest_cluster.py::"
        "test_what_waits_for_a_shard_goes_to_it_after_a_restart_of_the_gateway",
    ),
    Guard(
        "cluster: a block that the ledger has forgotten may be on any shard",
        "ingest.gateway",
        "rows_anywhere=self._rows_anywhere if several else None",
        "rows_anywhere=None",
        f"{INTEGRATION}/test_ingest_cluster.py::"
        "test_a_block_that_comes_again_after_the_ledgers_window_is_looked_for_on_all_shards",
    ),
    Guard(
        "agent: what a gateway may have goes to no other",
        "ingest.several",
        "if answer.sent:",
        "if False:",
        f"{UNIT}/test_several.py::test_a_block_that_may_be_there_waits_for_its_gateway_and_the_rest_goes_on",
    ),
    Guard(
        "agent: what is under way when gateways are changed stays where it is",
        "ingest.several",
        "self._targets.bound.setdefault(lane.url, lane.flying)",
        "pass",
        f"{UNIT}/test_several.py::test_every_block_once_whatever_answers_and_crashes",
    ),
    Guard(
        "agent: a block that was overtaken has not arrived",
        "ingest.checkpoints",
        "sequence <= self.sequence and sequence not in self.waiting",
        "sequence <= self.sequence",
        f"{UNIT}/test_several.py::test_every_block_once_whatever_answers_and_crashes",
    ),
)


class _Without(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Finds one module, and loads it without its guard."""

    def __init__(self, guard: Guard, path: str) -> None:
        super().__init__(guard.module, path)
        self.guard = guard

    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.guard.module:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=self.path)

    def get_code(self, fullname: str) -> object:
        source = self.get_data(self.path).decode()
        for code, instead in ((self.guard.code, self.guard.instead), *self.guard.also):
            if source.count(code) != 1:
                raise RuntimeError(f"{fullname} has no such guard, or several: {code}")
            source = source.replace(code, instead)
        return compile(source, self.path, "exec")


def _take_out(number: int) -> None:
    guard = GUARDS[number]
    if guard.module in sys.modules:
        raise RuntimeError(f"{guard.module} is imported already")
    spec = find_spec(guard.module)
    assert spec is not None
    assert spec.origin is not None
    for name in [name for name in sys.modules if name == guard.module]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Without(guard, spec.origin))


def _notices(number: int) -> bool | None:
    """Does the test fail without its guard? None where it fails with it, or fails to run."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.guards", GUARDS[number].test]
    with_it = subprocess.run(command, env={**os.environ, VARIABLE: ""}, capture_output=True, check=False)
    try:
        without = subprocess.run(
            command,
            env={**os.environ, VARIABLE: str(number)},
            capture_output=True,
            check=False,
            timeout=HANGS_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return True if with_it.returncode == 0 else None
    if with_it.returncode != 0 or without.returncode not in (0, 1) or b"no such guard" in without.stderr:
        return None
    return without.returncode == 1


def main(words: Sequence[str]) -> int:
    failed = 0
    for number, guard in enumerate(GUARDS):
        if words and not any(word in guard.case for word in words):
            continue
        noticed = _notices(number)
        verdict = {True: "noticed", False: "NOT NOTICED", None: "CANNOT TELL"}[noticed]
        failed += noticed is not True
        print(f"{verdict:12} {guard.case} ({guard.test.rpartition('::')[2]})", flush=True)
    return 1 if failed else 0


if os.environ.get(VARIABLE):
    _take_out(int(os.environ[VARIABLE]))

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
