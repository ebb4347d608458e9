"""Keys as text: made, sent in headers, kept; and whatever else is in a header does no harm."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.access.access import Access, Shown
from storage.access.administration import duration
from storage.access.config import AuthConfig
from storage.access.identity import AUDIT, INGEST, SEARCH, Grant, Identity
from storage.access.keys import Key, from_authorization, grants_of, id_of, new_key, new_session
from storage.access.roles import Role
from storage.errors import Forbidden, KeyInvalid, NamespaceUnclear, Unauthenticated
from storage.namespace_settings import LIMITS, RETENTION, Settings


def test_a_key_is_known_by_its_text_alone() -> None:
    key, text = new_key([INGEST, SEARCH], ["shop"], name="agents", seconds=60)
    assert (id_of(text), key.fits(text)) == (key.id, True)
    assert len({new_key([INGEST])[1] for _ in range(100)}) == 100
    for other in (text[:-1], text + "x", text.swapcase(), "", new_key([INGEST])[1]):
        assert not key.fits(other)
    assert Key.read(json.loads(json.dumps(key.kept()))) == key
    secret = text.split("_", 2)[2]
    assert secret not in json.dumps(key.kept())
    assert key.hash not in json.dumps(key.to_json()) + repr(key)
    assert (key.is_valid(key.created_at), key.is_valid(key.created_at + 61)) == (True, False)


@given(st.text(max_size=60), st.sampled_from(["Bearer", "BASIC", "ApiKey", "Splunk", "Digest", ""]))
def test_any_header_is_a_key_or_none(text: str, scheme: str) -> None:
    found = from_authorization(f"{scheme} {text}")
    assert id_of(found) == "" or found in text
    packed = base64.b64encode(text.encode("utf-8", "replace")).decode()
    assert isinstance(from_authorization(f"{scheme} {packed}"), str)


NAMES = st.sampled_from(
    [b"authorization", b"Authorization", b"x-api-key", b"cookie", b"x-neve-inside", b"x-neve-via"]
)


@given(st.lists(st.tuples(NAMES | st.binary(max_size=12), st.binary(max_size=60)), max_size=6))
def test_any_headers_are_read_or_refused(headers: list[tuple[bytes, bytes]]) -> None:
    access = Access(AuthConfig(), inside="word")
    try:
        shown = access.shown(headers)
    except Unauthenticated:
        return
    assert isinstance(shown, Shown)
    assert not shown.inside
    assert shown.certificates == ()


def test_what_a_key_may() -> None:
    roles = {"seller": Role("seller", "service:shop", ("shop",)), "free": Role("free")}
    key, _ = new_key([SEARCH, INGEST], ["shop"], role="seller")
    assert set(grants_of(key, roles)) == {
        Grant(frozenset({SEARCH}), frozenset({"shop"}), "service:shop"),
        Grant(frozenset({INGEST}), frozenset({"shop"})),
    }
    with pytest.raises(Forbidden):
        grants_of(key, {})
    session, _ = new_session("ann", ["seller", "free", "gone"], 60)
    ann = Identity("ann", "user", grants_of(session, roles))
    # Who has two roles sees what either sees.
    assert ann.filters("shop") == ()
    assert ann.namespaces(SEARCH) is None
    assert not ann.may(INGEST)
    assert Identity("ann", "user", grants_of(session, {})).namespaces(SEARCH) == frozenset()


@given(
    st.frozensets(st.sampled_from(["a", "b", "default"]), max_size=3),
    st.sampled_from(["", "a", "b", "c", AUDIT]),
)
def test_a_namespace_is_chosen_among_ones_own(allowed: frozenset[str], wanted: str) -> None:
    someone = Identity("x", "key", (Grant(frozenset({SEARCH}), allowed),))
    try:
        chosen = someone.choose(SEARCH, wanted, "default")
    except (Forbidden, NamespaceUnclear):
        assert wanted not in allowed
        return
    assert chosen in allowed
    assert wanted in ("", chosen)
    with pytest.raises(Forbidden):
        someone.choose(INGEST, chosen, "default")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("never", 0), ("90d", 7_776_000), ("12h", 43_200), ("1s", 1), ("2w", 1_209_600)],
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@given(st.text(max_size=8))
def test_other_durations_are_refused(text: str) -> None:
    try:
        assert duration(text) >= 0
    except KeyInvalid as error:
        assert "\n" not in str(error)


VALUES = (
    st.none() | st.integers(-3, 1 << 40) | st.text(max_size=4) | st.booleans() | st.floats() | st.just("hot")
)


@given(
    st.dictionaries(
        st.sampled_from([*RETENTION, *LIMITS, "nothing", "services", "deleted_at"]), VALUES, max_size=4
    )
)
def test_settings_are_kept_as_they_were_set(asked: dict[str, object]) -> None:
    try:
        settings = Settings().changed(asked)
    except KeyInvalid:
        return
    assert Settings.read(json.loads(json.dumps(settings.to_json()))) == settings
    assert settings.deleted_at == 0
    assert settings.changed(dict.fromkeys([*RETENTION, *LIMITS, "services"])) == Settings()
