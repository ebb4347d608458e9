"""One query of a user while it runs: its budget, what it has read, and how it is stopped."""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TypeVar

from query import conditions as c
from query.asking import Again, Asking, ShardLost
from query.errors import QueryInvalid, RequestInvalid, invalid_at
from query.limits import BREAK, COLD_SETTINGS, THROW, Limits, Share
from query.plan import Plan
from query.tiers import COLD, HOT, HOT_ALONE, Tiers, tiers_of
from storage.errors import NamespaceUnknown, NeveError, QueryCancelled, QueryFailed, QueryLimit, QueryTimeout
from storage.hot import Hot
from storage.namespace_settings import Settings
from storage.published import TierStates
from storage.results import QueryStream, Result
from storage.shard_states import ClusterState, ShardStates
from storage.spreading import Spread

log = logging.getLogger("neve.query")

UNKNOWN_TABLE, UNKNOWN_DATABASE = 60, 81
BAD_REGEX = {427, 36}
LIMIT_NAMES = {158: "rows", 241: "memory", 307: "bytes"}
LIMITS = ("time", *LIMIT_NAMES.values(), "result", "result_rows", COLD)
"""What `limits_hit` may name."""
NEARLY = 0.98  # the server stops a little before or after the budget: this near counts as reached


T = TypeVar("T")

# A number that is both filtered by and counted with is computed while Parquet is read; the server (26.9) then stumbles
# over the function in it ("Serialization is not implemented for data type Function"). The cold columns' own functions
# take two arguments.
LAMBDA = re.compile(r"\w ->")
NO_PREWHERE = {"optimize_move_to_prewhere": 0}


class ColdUnreadable(Again):
    """ClickHouse could not read the cold tier; it was noted, and the query may go on without."""


class Running:
    """Statements of one query share a time and row budget. Used by one worker thread; `cancel` by any other."""

    def __init__(
        self,
        hot: Hot | Spread,
        limits: Limits,
        states: TierStates | ShardStates | None = None,
        *,
        seconds: float | None = None,
        settings: Callable[[str], Settings] = lambda _namespace: Settings(),
    ) -> None:
        """`hot`: one server, or the shards of a cluster. `states`: what is in which tier; None for a hot tier that is
        all there is. `settings`: of a namespace, which may have closer limits."""
        self._hot: Hot | Asking
        self._shards: Asking | None = None
        if isinstance(hot, Spread):
            self._shards = Asking(hot.shards, states if isinstance(states, ShardStates) else None)
            self._hot = self._shards
        else:
            self._hot = hot
        self._whole = False  # are its statements to be of the same shards?
        self._states = states if isinstance(states, TierStates) else None
        self._limits = limits
        self._settings = settings
        self._seconds = limits.seconds if seconds is None else seconds
        self._started = time.monotonic()
        self._cancelled = threading.Event()
        self._query_id = ""
        self.rows_read = 0
        self.bytes_read = 0
        self.limits_hit: list[str] = []
        self.answered = 0  # events or rows of a stream, so far
        self.tiers: set[str] = set()
        self._guarded = False

    # --- tiers --------------------------------------------------------------------------------------------

    def answer(self, plan: Plan, work: Callable[[Plan], T]) -> T:
        """What `work` makes of the plan over both tiers as they are at one moment, however long it takes."""
        lacked = set(self._shards.missing) if self._shards is not None else set()
        while True:
            settled, self._whole = self.settle(plan), True
            try:
                answer = work(settled)
                if not self.missed(settled):
                    return answer
            except Again:
                pass
            finally:
                self._whole = False
            self.tiers.clear()  # what was read in vain is in no answer
            if self._shards is not None:
                self._shards.missing = set(lacked)

    def settle(self, plan: Plan, *, fresh: bool = False) -> Plan:
        """The plan with the tiers that it is to read. `fresh`: as they are this moment, for who will not look again."""
        self._guarded |= plan.guarded
        self._limits = self._limits.within(closer := self._settings(plan.namespace))
        self._seconds = min(self._seconds, closer.limit("query_seconds") or self._seconds)
        if self._shards is not None:
            state = self._shards.settle(plan.namespace, fresh=fresh)
            whole = Tiers(state, self._shards.apart)
            return replace(plan, tiers=HOT_ALONE if COLD in self.limits_hit else whole)
        if self._states is None or COLD in self.limits_hit:
            return replace(plan, tiers=HOT_ALONE)
        return replace(plan, tiers=Tiers(self._states.now(plan.namespace, fresh=fresh)))

    def missed(self, plan: Plan) -> bool:
        """Has what a plan takes for hot left the hot tier meanwhile? Then what it found since may lack events."""
        state = plan.tiers.state
        if self._shards is not None:
            return isinstance(state, ClusterState) and self._shards.missed(plan.namespace, state)
        return state is not None and self._states is not None and self._states.missed(plan.namespace, state)

    # --- statements ---------------------------------------------------------------------------------------

    def query(
        self,
        sql: str,
        params: Mapping[str, object],
        *,
        partial: bool = False,
        more: Mapping[str, object] | None = None,
        at_most: Share | None = None,
    ) -> Result:
        """Run a statement. `partial`: at a limit take what there is and note the limit, rather than raise."""
        while True:
            try:
                with self.stream(sql, params, partial=partial, more=more, at_most=at_most) as stream:
                    rows = [row for rows in stream for row in rows]
                break
            except ShardLost:
                if self._whole:
                    raise
        return Result(stream.columns, rows, stream.rows_read, stream.bytes_read, stream.elapsed_ms)

    @contextmanager
    def stream(
        self,
        sql: str,
        params: Mapping[str, object],
        *,
        partial: bool = False,
        more: Mapping[str, object] | None = None,
        at_most: Share | None = None,
    ) -> Iterator[QueryStream]:
        """Run a statement and read its rows as they come. `more`: settings of this one; `at_most`: its share."""
        left, rows_left, bytes_left = self._left()
        if at_most is not None:
            left, rows_left = min(left, at_most.seconds), min(rows_left, at_most.rows_read)
            more = {**at_most.settings, **(more or {})}
        settings = {
            **self._limits.settings(left, rows_left, bytes_left),
            **(BREAK if partial else THROW),
            **(more or {}),
        }
        self._query_id = f"neve-{uuid.uuid4().hex}"
        self._check()
        tiers = tiers_of(sql, params)
        if COLD in tiers:
            settings |= COLD_SETTINGS
            if LAMBDA.search(sql):
                settings |= NO_PREWHERE
        with (
            self._noting_cold(sql, tiers),
            _translated(),
            self._shards.judging() if self._shards is not None else nullcontext(),
            self._hot.query_iter(sql, params, settings, self._query_id, left) as stream,
        ):
            self.tiers.update(tiers)
            try:
                yield stream
            finally:
                rows, size = _cost(stream, tiers)
                self.rows_read += rows
                self.bytes_read += size
        self._check()
        if partial:
            self._note_budget(stream, left, rows_left, bytes_left)

    @contextmanager
    def _noting_cold(self, sql: str, tiers: list[str]) -> Iterator[None]:
        """What fails for no reason of the user's, and reads the cold tier, fails because of it."""
        try:
            yield
        except (QueryTimeout, QueryLimit, QueryCancelled):
            raise
        except QueryFailed as error:
            if COLD not in tiers:
                raise
            log.warning("cannot read the cold tier: %s %s", error, error.detail)
            if self._shards is None or not self._shards.read_together(sql):
                self.hit(COLD)
            raise ColdUnreadable from None

    def cancel(self) -> None:
        """Stop the statement that runs now, and let no other start. Asks the server; harmless when repeated."""
        self._cancelled.set()
        if self._query_id:
            self._hot.cancel(self._query_id)

    def note(self, error: NeveError) -> None:
        """Remember which limit a statement hit."""
        if isinstance(error, QueryTimeout):
            self.hit("time")
        elif isinstance(error, QueryLimit):
            self.hit(LIMIT_NAMES.get(error.server_code, "result"))

    def hit(self, limit: str) -> None:
        if limit not in self.limits_hit:
            self.limits_hit.append(limit)

    def note_broken(self) -> None:
        """Remember that an answer ends before its end, where nothing has said so yet."""
        if not self.lacking:
            self.hit("connection")

    @property
    def lacking(self) -> list[str]:
        """What an answer is not complete for: limits that it hit, and shards that were away."""
        return [*self.limits_hit, *(self._shards.labels() if self._shards is not None else [])]

    def counted(self, pieces: Iterable[list[T]]) -> Iterator[list[T]]:
        """The pieces of a stream, counted as they go out."""
        for piece in pieces:
            self.answered += len(piece)
            yield piece

    def stats(self) -> dict[str, object]:
        """What every answer says about itself. How much was read is not for who must not know what else there is."""
        return {
            "complete": not self.lacking,
            "tiers": [tier for tier in (HOT, COLD) if tier in self.tiers] or [HOT],
            "rows_read": None if self._guarded else self.rows_read,
            "bytes_read": None if self._guarded else self.bytes_read,
            "elapsed_ms": round((time.monotonic() - self._started) * 1000, 3),
            "limits_hit": self.lacking,
            **({"shards": self._shards.to_json()} if self._shards is not None else {}),
        }

    def _left(self) -> tuple[float, int, int]:
        """Seconds, rows and bytes."""
        left = self._seconds - (time.monotonic() - self._started)
        if left <= 0:
            raise QueryTimeout("cannot finish query: out of time")
        rows = self._limits.rows_read - self.rows_read
        if rows <= 0:
            raise QueryLimit("cannot finish query: over the limit on rows read", server_code=158)
        size = self._limits.bytes_read - self.bytes_read
        if size <= 0:
            raise QueryLimit("cannot finish query: over the limit on bytes read", server_code=307)
        return left, rows, size

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise QueryCancelled("cannot finish query: it was cancelled")

    def _note_budget(self, stream: QueryStream, left: float, rows_left: int, bytes_left: int) -> None:
        if stream.elapsed_ms >= left * 1000 * NEARLY:
            self.hit("time")
        if stream.rows_read >= rows_left:
            self.hit("rows")
        if stream.bytes_read >= bytes_left:
            self.hit("bytes")


def _cost(stream: QueryStream, tiers: list[str]) -> tuple[int, int]:
    """The rows and bytes that a statement read.

    Of cold files the server's progress has the rows that filters have left. With hot ones in one statement the two
    cannot be told apart, so these are counted once more.
    """
    if COLD not in tiers:
        return stream.rows_read, stream.bytes_read
    if HOT not in tiers:
        return max(stream.rows_read, stream.files.rows), max(stream.bytes_read, stream.files.bytes)
    return stream.rows_read + stream.files.rows, stream.bytes_read + stream.files.bytes


@contextmanager
def _translated() -> Iterator[None]:
    """What the server refuses because of what the user asked, in words for the user."""
    try:
        yield
    except QueryFailed as error:
        if error.server_code in (UNKNOWN_TABLE, UNKNOWN_DATABASE):
            raise NamespaceUnknown("cannot find namespace") from error
        if error.server_code in BAD_REGEX:
            raise RequestInvalid(
                "cannot use regex", "use RE2 syntax: no look-around, no back references"
            ) from error
        raise


@contextmanager
def naming(plan: Plan) -> Iterator[None]:
    """Say which namespace is not there."""
    try:
        yield
    except NamespaceUnknown as error:
        what = f"cannot find namespace: {plan.namespace}"
        raise NamespaceUnknown(what, "ship something to it first", detail=error.detail) from None


def check_regexes(plan: Plan, running: Running) -> None:
    """Let the engine that will run them compile the regexes of a plan; QueryInvalid with the place if it cannot.

    Where there is no time left for that, it is noted: the answer is then what there is until now, and says so.
    """
    found = list(regexes(plan.condition))
    try:
        _compile(running, found)
    except (QueryTimeout, QueryLimit) as error:
        running.note(error)
    except RequestInvalid:
        for regex in found:
            try:
                _compile(running, [regex])
            except RequestInvalid as error:
                raise regex_error(plan.text, regex.offset, error) from None
        raise


def _compile(running: Running, regexes: list[c.Matches]) -> None:
    """RequestInvalid where one cannot be compiled."""
    if regexes:
        params = {f"p{i}": f"(?-s){regex.pattern}" for i, regex in enumerate(regexes)}
        tests = ", ".join(f"match('', {{p{i}:String}}) AS m{i}" for i in range(len(regexes)))
        running.query(f"SELECT {tests}", params)


def regexes(condition: c.Condition) -> Iterator[c.Matches]:
    """Those of a condition."""
    match condition:
        case c.Matches():
            yield condition
        case c.AllOf(children) | c.AnyOf(children):
            for child in children:
                yield from regexes(child)
        case c.Negation(child):
            yield from regexes(child)


def regex_error(text: str, offset: int, error: NeveError) -> QueryInvalid:
    """What RE2 said of a regex, in words for the user."""
    detail = error.detail or getattr(error.__cause__, "detail", "")
    reason = next((said for sign, said in RE2_SAYS.items() if sign in detail), "it is not RE2 syntax")
    return invalid_at(
        text, offset, f"cannot use regex: {reason}", "RE2 has no look-around and no back references"
    )


RE2_SAYS = {
    "missing )": "a ')' is missing",
    "unexpected )": "a ')' has no '('",
    "missing ]": "a ']' is missing",
    "no argument for repetition": "nothing stands before * + ? or {",
    "bad repetition": "cannot repeat a repetition",
    "invalid repetition size": "a repetition is too large",
    "invalid perl operator": "RE2 knows no such (?…) group",
    "invalid escape sequence": "there is no such escape",
    "invalid character class range": "there is no such character class",
    "trailing \\": "it ends with a backslash",
    "invalid named capture": "the name of a group is wrong",
    "pattern too large": "it is too large",
}
