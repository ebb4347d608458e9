"""The shards of a cluster: ClickHouse servers, each a whole hot tier of its own (`hot.py`), and which of them answer.

A server alone is a cluster of one shard, of which nobody asks whether it answers: a statement tells. Of several, a
thread each asks every second; one that has just failed somebody is away at once (`lost`). A shard that was away, or
was never asked before, counts as there again after all of `on_return` were called with it: it may lack what the others
got meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from storage import schema
from storage.cold_config import ColdConfig
from storage.config import ClickHouseConfig, ShardConfig
from storage.epochs import EPOCHS
from storage.errors import ConfigError, NeveError, QueryFailed, StorageUnavailable
from storage.hot import Hot
from storage.numbers import EPOCH_BITS

log = logging.getLogger("neve.shards")
ASK_SECONDS = 1.0
"""Between two questions whether a shard is there."""
SILENCE_SECONDS = 2.0
"""A shard that says nothing for so long is away."""
NOT_THERE = (60, 81)  # ClickHouse's codes for a table and a database that are missing
NOT_ASKED = "it was not asked yet"


@dataclass(slots=True)
class _State:
    """Whether one shard answers; `away` says why it does not."""

    away: str = ""
    asked: threading.Event = field(default_factory=threading.Event)
    wanted: threading.Event = field(default_factory=threading.Event)


class Shard:
    """One server of the cluster. `config` is as whom `hot` asks it."""

    def __init__(self, said: ShardConfig, config: ClickHouseConfig, hot: Hot, state: _State) -> None:
        self.said = said
        self.name, self.number, self.weight = said.name, said.number, said.weight
        self.config = config
        self.hot = hot
        self.state = state

    @property
    def alive(self) -> bool:
        return not self.state.away

    @property
    def reason(self) -> str:
        """Why it is away; empty while it answers."""
        return self.state.away

    def __repr__(self) -> str:
        return f"<shard {self.number} {self.name} at {self.config.host}:{self.config.port}>"


class Shards:
    """All shards, in the order of the configuration. Thread-safe."""

    def __init__(
        self,
        configs: Sequence[ShardConfig],
        cold: ColdConfig | None = None,
        *,
        reading: bool = False,
        beside: Shards | None = None,
        **changes: Any,
    ) -> None:
        """`reading`: as the user who may only read, where there is one; else as the owner, with the user who inserts.

        `beside`: others of the same shards, who find out for these too which of them answer. `changes`: of how each is
        connected to, fields of ClickHouseConfig.
        """
        self.configs = tuple(configs)
        self.all = tuple(self._shard(said, cold, reading, changes) for said in configs)
        if beside is not None:
            for mine, other in zip(self.all, beside.all, strict=True):
                mine.state = other.state
        self.on_return: list[Callable[[Shard], None]] = []
        self._asking = beside is None and len(self.all) > 1
        self._returning = threading.Lock()  # each that returns meets those that have
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        if self._asking:
            for one in self.all:
                one.state.away = NOT_ASKED

    def _shard(
        self, said: ShardConfig, cold: ColdConfig | None, reading: bool, changes: dict[str, Any]
    ) -> Shard:
        config = replace(said.search if reading and said.search is not None else said.owner, **changes)
        hot = Hot(config, cold, None if reading else said.ingest, number=said.number)
        return Shard(said, config, hot, _State())

    def beside(self, cold: ColdConfig | None = None, *, reading: bool = False, **changes: Any) -> Shards:
        """The same shards over connections of their own."""
        return Shards(self.configs, cold, reading=reading, beside=self, **changes)

    # --- who is there ------------------------------------------------------------------------------------

    @property
    def home(self) -> Shard:
        """The first."""
        return self.all[0]

    @property
    def several(self) -> bool:
        return len(self.all) > 1

    def alive(self) -> list[Shard]:
        """Those that answer, as far as is known."""
        return [one for one in self.all if one.alive]

    def away(self) -> list[Shard]:
        """Those that do not; each has a `reason`."""
        return [one for one in self.all if not one.alive]

    def numbered(self, number: int) -> Shard | None:
        """The shard of this number, if there is one."""
        return self.all[number - 1] if 0 < number <= len(self.all) else None

    def lost(self, shard: Shard, error: NeveError) -> None:
        """Somebody has found that it does not answer: it is away until it does. Of a server alone nothing is noted."""
        if self.several:
            shard.state.away = error.message
            shard.state.wanted.set()

    # --- life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Ask each, and again and again in threads; waits for a moment until the first answers are there."""
        if not self._asking:
            return
        self._threads = [
            threading.Thread(target=self._watch, args=(one,), name=f"shard {one.name}", daemon=True)
            for one in self.all
        ]
        for thread in self._threads:
            thread.start()
        for one in self.all:
            one.state.asked.wait(2 * SILENCE_SECONDS)

    def close(self) -> None:
        self._stop.set()
        for one in self.all:
            one.state.wanted.set()
        for thread in self._threads:
            thread.join(2 * SILENCE_SECONDS)
        for one in self.all:
            one.hot.close()

    def __enter__(self) -> Shards:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Shard]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def _watch(self, shard: Shard) -> None:
        config = replace(shard.config, connect_timeout=SILENCE_SECONDS, send_receive_timeout=SILENCE_SECONDS)
        state = shard.state
        with Hot(config) as asking:
            while not self._stop.is_set():
                state.wanted.clear()
                try:
                    self._ask(shard, asking)
                except NeveError as error:
                    self._away(shard, error.message)
                except Exception as error:  # whatever it was: it must not end the asking for good
                    log.exception("fault while asking a shard")
                    self._away(shard, f"fault: {error}")
                state.asked.set()
                state.wanted.wait(ASK_SECONDS)

    def _ask(self, shard: Shard, asking: Hot) -> None:
        if shard.alive:
            _ask_again(asking)
            return
        asking.ping()
        check_number(asking, shard.said)
        with self._returning:
            for hook in self.on_return:
                hook(shard)
            if shard.state.wanted.is_set():
                return  # somebody has lost it meanwhile: it is asked again at once
            shard.state.away = ""
        log.warning("shard %s is there", shard.name)

    def _away(self, shard: Shard, reason: str) -> None:
        if shard.state.away != reason:
            log.warning("shard %s is away: %s", shard.name, reason)
        shard.state.away = reason

    # --- what is to be on each ---------------------------------------------------------------------------

    def namespaces(self) -> list[str]:
        """Those that a shard which answers has, in alphabetical order. Raises NeveError where none answers."""
        found = {name for names in self.each(lambda one: one.hot.namespaces()).values() for name in names}
        return sorted(found)

    def create_namespace(self, namespace: str) -> None:
        """Make it on all that answer; the others get it when they are back. Raises NeveError where none takes it."""
        schema.namespace_database(namespace)
        self.each(lambda one: one.hot.create_namespace(namespace))

    def each(self, work: Callable[[Shard], Any], without: int = 0) -> dict[int, Any]:
        """What it comes to on each shard that answers, by number; one that does not is away from then on.

        `without`: the number of one that is left out; then it may be that none is asked. Raises StorageUnavailable
        where none answers, and whatever else `work` raises.
        """
        done: dict[int, Any] = {}
        last: StorageUnavailable | None = None
        for one in self.alive() or self.all:
            if one.number == without:
                continue
            try:
                done[one.number] = work(one)
            except StorageUnavailable as error:
                self.lost(one, error)
                last = error
        if last is not None and not done and not without:
            raise last
        return done


def _ask_again(asking: Hot) -> None:
    """Over the connection of the last time. One that broke says nothing of the server; one that is silent does."""
    try:
        asking.ping_again()
    except StorageUnavailable as error:
        if isinstance(error.__cause__, TimeoutError):
            raise
        asking.ping()


def check_number(hot: Hot, said: ShardConfig) -> None:
    """Raises ConfigError where a server has the epochs of another shard."""
    try:
        found = hot.scalars(f"SELECT DISTINCT bitShiftRight(epoch, {EPOCH_BITS}) + 1 AS shard FROM {EPOCHS}")
    except QueryFailed as error:
        if error.server_code in NOT_THERE:
            return
        raise
    for number in found:
        if number != said.number:
            raise ConfigError(
                f"cannot use {said.owner.host}:{said.owner.port} as shard {said.number} of the cluster: "
                f"it has the events of shard {number}",
                "keep the order of cluster.shards; new ones go to the end",
            )


def bring_up(shards: Shards, shard: Shard, is_gone: Callable[[str], bool] = lambda _name: False) -> None:
    """Migrations for a shard that was away; it and the others get the namespaces that they lack. Raises NeveError."""
    shard.hot.migrate()
    having = {one: set(one.hot.namespaces()) for one in (*shards.alive(), shard)}
    wanted = {name for names in having.values() for name in names if not is_gone(name)}
    for one, names in having.items():
        for name in sorted(wanted - names):
            one.hot.create_namespace(name)
