"""A namespace that was deleted leaves both tiers, and can be made anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from query.alerting.rule import Alert
from query.guards import check_filter
from storage.access.administration import Administration
from storage.alerts import AlertStore
from storage.errors import KeyInvalid, NeveError
from storage.leaving import LEAVE_SECONDS, is_due, leave
from storage.namespace_settings import Settings, StoredPolicies
from storage.native.block import SealedBlock
from storage.published import tier_state
from storage.saved import Library, Search

Make = Callable[..., SealedBlock]


def test_all_of_it_goes_and_its_name_is_free(
    both: Any, make_block: Make, events: Callable[..., Sequence[Any]]
) -> None:
    hot, name = both.hot, both.namespace
    admin = Administration(hot, both.cold.config, check_filter=check_filter)
    both.insert(make_block(events(20)))
    both.age()
    last = both.insert(make_block(events(5)))
    library, alerts = Library(hot), AlertStore(hot)
    mine, other = (library.save(Search(one, "errors")) for one in (name, "another"))
    alerts.put("a1", Alert(name, "fails", saved=mine.id, id="a1").kept())
    place = Path(urlsplit(both.cold.catalog.table(name).location()).path)
    assert list(place.rglob("*.parquet"))

    assert admin.delete_namespace(name) == {"name": name, "deleting": True}
    with pytest.raises(KeyInvalid, match="is being deleted"):
        admin.create_namespace(name, {})
    settings = StoredPolicies(hot).all()[name]
    assert not is_due(settings)
    assert is_due(Settings(deleted_at=settings.deleted_at - LEAVE_SECONDS))

    leave(both.ager, name)
    leave(both.ager, name)  # a crash in between, and again
    assert name not in hot.namespaces()
    assert [one.id for one in library.searches()] == [other.id]
    assert [one["deleted"] for one in alerts.alerts().values()] == [True]
    library.delete(other)
    alerts.forget(["a1"], 0)
    assert not hot.scalars(
        "SELECT 1 AS x FROM system.databases WHERE name = {n:String}", {"n": both.database}
    )
    assert both.cold.catalog.table(name) is None
    assert not list(place.rglob("*.parquet"))
    with pytest.raises(NeveError):
        both.hot_rows()

    admin.create_namespace(name, {"keep_days": 3})
    assert both.hot_rows() == 0
    assert tier_state(hot, both.cold.config, name).pinned is None
    # Numbers of epochs go on, so that nothing of the old one is taken for the new.
    assert both.insert(make_block(events(3))) > last
    both.age()
    assert both.count() == (3, 3)


def test_what_was_set_wins_over_the_configuration(both: Any) -> None:
    admin = Administration(both.hot, both.cold.config, check_filter=check_filter)
    admin.set_namespace(both.namespace, {"keep_days": 5, "services": {"chatty": 1}, "query_seconds": 9})
    policy = StoredPolicies(both.hot)(both.namespace, both.cold.config.default)
    assert (policy.keep_days, policy.grace_seconds, policy.services) == (5, 0, {"chatty": 1})
    admin.set_namespace(both.namespace, {"keep_days": None, "services": {"chatty": None}})
    assert StoredPolicies(both.hot)(both.namespace, both.cold.config.default) == both.cold.config.default
