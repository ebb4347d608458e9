"""A namespace that was deleted leaves: its cold table, then its database, then the memory of it.

It was written down (`Settings.deleted_at`) LEAVE_SECONDS ago: by then every gateway has heard of it, takes nothing more
for it, and has set its blocks aside. Each step can be done again. Its epochs' numbers stay known, so that none is used
again should a namespace of that name be made anew.
"""

from __future__ import annotations

import time

from storage import migrations, schema
from storage.ageing import Ager
from storage.alerts import AlertStore
from storage.leases import held
from storage.namespace_settings import Settings
from storage.saved import Library

LEAVE_SECONDS = 60.0


def is_due(settings: Settings) -> bool:
    """Was it deleted, and long enough ago?"""
    return bool(settings.deleted_at) and settings.deleted_at <= time.time() - LEAVE_SECONDS


def leave(ager: Ager, namespace: str) -> None:
    """All of one namespace goes. Raises AgerBusy and what the ager raises."""
    with held(ager.hot, f"ager of {namespace}"):
        _leave(ager, namespace)


def _leave(ager: Ager, namespace: str) -> None:
    hot, database = ager.hot, schema.namespace_database(namespace)
    if ager.cold.catalog.table(namespace) is not None:
        ager.cold.catalog.purge(namespace)
        ager.tell(namespace, "leave", "its cold table and files are gone")
    system, where = schema.SYSTEM_DATABASE, "WHERE namespace = {namespace:String}"
    for table in ("snapshots", "deletions", "thaws", "inserters"):
        hot.execute(f"DELETE FROM {system}.{table} {where}", {"namespace": namespace})
    AlertStore(hot).leave(namespace)
    Library(hot).forget(namespace)
    hot.execute(f"DROP DATABASE IF EXISTS {database} SYNC")
    migrations.forget(hot, namespace)
    hot.forget(namespace)
    ager.tell(namespace, "leave", "its database is gone")
