"""States of alerts: a table of what happens, and what holds whatever happens."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.alerting.machine import Found, Notice, Seen, State, evolve, retire
from query.alerting.rule import Alert, Webhook
from query.times import SECOND

MINUTE = 60 * SECOND
BEGIN = 1_800_000_000 * SECOND
ALERT = Alert("shop", "fails", webhooks=(Webhook("w", "https://hooks.example/x"),), id="a1", repeat="0s")


def seen(minute: int, *holding: str, others: tuple[str, ...] = (), unknown: str = "") -> Seen:
    at = BEGIN + minute * MINUTE
    groups = {name: Found(9, True) for name in holding} | {name: Found(1, False) for name in others}
    return Seen(at, at - 5 * MINUTE, at, groups, unknown)


def told(notices: tuple[Notice, ...]) -> list[str]:
    return [f"{one.kind} {'+'.join(sorted(g['group'] for g in one.groups))}".strip() for one in notices]


def course(alert: Alert, looks: list[Seen], muted: dict[int, int] | None = None) -> list[str]:
    """What is said after each look: the state, and what was told."""
    state, said = State(), []
    for number, one in enumerate(looks):
        until = (muted or {}).get(number)
        alert = alert if until is None else replace(alert, muted_until=BEGIN + until * MINUTE)
        state = evolve(alert, state, one)
        said.append(" ".join([state.worst, *(f"[{each}]" for each in told(state.outbox))]))
        state = State.read(json.loads(json.dumps(replace(state, outbox=()).kept())))
    return said


COURSES: list[tuple[str, Alert, list[Seen], dict[int, int], list[str]]] = [
    (
        "fires at once, is told once, and is over",
        ALERT,
        [seen(0, "a"), seen(1, "a"), seen(2)],
        {},
        ["firing [firing a]", "firing", "ok [resolved a]"],
    ),
    (
        "must be the case for two minutes",
        replace(ALERT, for_="2m"),
        [seen(0, "a"), seen(1, "a"), seen(2, "a"), seen(3)],
        {},
        ["pending", "pending", "firing [firing a]", "ok [resolved a]"],
    ),
    (
        "one good look begins anew",
        replace(ALERT, for_="2m"),
        [seen(0, "a"), seen(1), seen(2, "a"), seen(3, "a"), seen(4, "a")],
        {},
        ["pending", "ok", "pending", "pending", "firing [firing a]"],
    ),
    (
        "groups of one look are told together",
        ALERT,
        [seen(0, "a", "b"), seen(1, "b", "c"), seen(2, others=("b",))],
        {},
        ["firing [firing a+b]", "firing [firing c] [resolved a]", "ok [resolved b+c]"],
    ),
    (
        "told again",
        replace(ALERT, repeat="2m"),
        [seen(0, "a"), seen(1, "a"), seen(2, "a"), seen(3, "a"), seen(4, "a")],
        {},
        ["firing [firing a]", "firing", "firing [firing a]", "firing", "firing [firing a]"],
    ),
    (
        "what began and ended while muted is never told",
        ALERT,
        [seen(0), seen(1, "a"), seen(2), seen(3)],
        {1: 3},
        ["ok", "firing", "ok", "ok"],
    ),
    (
        "what goes on when the mute ends is told then",
        ALERT,
        [seen(0), seen(1, "a"), seen(2, "a"), seen(3, "a")],
        {1: 3},
        ["ok", "firing", "firing", "firing [firing a]"],
    ),
    (
        "what was over while muted is told afterwards",
        ALERT,
        [seen(0, "a"), seen(1), seen(2), seen(3)],
        {1: 3},
        ["firing [firing a]", "ok", "ok", "ok [resolved a]"],
    ),
    (
        "unknown keeps what was",
        ALERT,
        [seen(0, "a"), seen(1, unknown="away"), seen(2, "a"), seen(3)],
        {},
        ["firing [firing a]", "unknown", "firing", "ok [resolved a]"],
    ),
    (
        "unknown is told where that is wanted, once it lasts",
        replace(ALERT, on_unknown="alert", for_="1m"),
        [seen(0, unknown="away"), seen(1, unknown="away"), seen(2, unknown="away"), seen(3)],
        {},
        ["unknown", "unknown [unknown]", "unknown", "ok [known]"],
    ),
    (
        "resolved is not told where that is not wanted",
        replace(ALERT, tell_resolved=False),
        [seen(0, "a"), seen(1), seen(2, "a")],
        {},
        ["firing [firing a]", "ok", "firing [firing a]"],
    ),
]


@pytest.mark.parametrize(
    ("alert", "looks", "muted", "said"), [one[1:] for one in COURSES], ids=[one[0] for one in COURSES]
)
def test_a_course(alert: Alert, looks: list[Seen], muted: dict[int, int], said: list[str]) -> None:
    assert course(alert, looks, muted) == said


def test_another_question_ends_what_the_old_one_told() -> None:
    state = replace(evolve(ALERT, State(), seen(0, "a", "b")), outbox=())
    other = replace(ALERT, query="else", version=2)
    assert told(evolve(other, state, seen(1, "b")).outbox) == ["resolved a"]


def test_what_is_deleted_or_paused_tells_that_it_is_over_also_while_muted() -> None:
    state = replace(evolve(ALERT, State(), seen(0, "a")), outbox=())
    muted = replace(ALERT, muted_until=BEGIN + 99 * MINUTE)
    over = retire(muted, state, BEGIN + MINUTE, "deleted")
    assert told(over.outbox) == ["resolved a"]
    assert over.outbox[0].groups[0]["reason"] == "deleted"
    assert not over.groups
    assert not over.is_settled
    assert replace(over, outbox=()).is_settled


def test_what_is_over_says_when_it_began() -> None:
    state = evolve(ALERT, evolve(ALERT, State(), seen(0, "a")), seen(1))
    assert [one.groups[0]["began"] for one in state.outbox] == [BEGIN, BEGIN]


def test_too_much_to_tell_is_counted() -> None:
    state = State()
    for minute in range(0, 300, 2):
        state = evolve(ALERT, evolve(ALERT, state, seen(minute, "a")), seen(minute + 1))
    assert len(state.outbox) == 100
    assert state.dropped == 200
    assert state.outbox[-1].kind == "resolved"


LOOKS = st.lists(
    st.tuples(st.sets(st.sampled_from("abc")), st.booleans(), st.integers(1, 4), st.integers(0, 6)),
    max_size=15,
)


@settings(max_examples=100, deadline=None)
@given(LOOKS, st.sampled_from(["0s", "1m", "3m"]), st.sampled_from(["0s", "2m"]), st.booleans())
def test_whatever_happens(
    looks: list[tuple[set[str], bool, int, int]], for_: str, repeat: str, with_unknown: bool
) -> None:
    alert = replace(ALERT, for_=for_, repeat=repeat)
    state, minute, mute = State(), 0, -1
    firing: dict[str, bool] = {}
    holding_since: dict[str, int] = {}
    for holding, unknown, pause, muted_for in looks:
        minute += pause
        if muted_for == 6:
            mute = minute + 3
            alert = replace(alert, muted_until=BEGIN + mute * MINUTE)
        look = seen(minute, *sorted(holding), unknown="away" if unknown and with_unknown else "")
        before, state = state, evolve(alert, state, look)
        assert evolve(alert, before, look) == state, (
            "the same look of the same state says the same, with the same ids"
        )
        fresh = state.outbox[len(before.outbox) - (state.dropped - before.dropped) :]
        if look.unknown:
            assert not fresh
            assert state.groups == before.groups
            continue
        holding_since = {name: holding_since.get(name, minute) for name in holding}
        if minute < mute:
            assert not fresh
        for notice in fresh:
            for group in notice.groups:
                name = group["group"]
                if notice.kind == "firing":
                    assert minute - holding_since[name] >= int(for_[:-1])
                    assert not firing.get(name) or repeat != "0s"
                else:
                    assert firing[name]
                    assert name not in holding
                firing[name] = notice.kind == "firing"
        if minute >= mute:  # what they know is what is
            for name in "abc":
                long = name in holding and minute - holding_since[name] >= int(for_[:-1])
                if (
                    long or name not in holding
                ):  # else it may be on the way back to what was told before a mute
                    assert firing.get(name, False) == long
    assert State.read(json.loads(json.dumps(state.kept()))) == state
    assert len({one.id for one in state.outbox}) == len(state.outbox)
