"""The catalog of the cold tier: any that pyiceberg knows, by default SQLite in the data folder.

A namespace `shop` is the Iceberg table `neve.shop`. Whatever a catalog raises comes out as ColdUnavailable, whose
words are scrubbed of credentials.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.table import Table

from storage import cold_schema
from storage.cold_config import ColdConfig
from storage.errors import ColdUnavailable, NeveError
from storage.schema import namespace_database

CATALOG = "neve"  # its name with pyiceberg: PYICEBERG_CATALOG__NEVE__… in the environment adds properties
DATABASE = "neve"
LOCKED_PAUSE_SECONDS = 0.2
LOCKED_TRIES = 20

# They say at length, with addresses, what we say in a line.
for _name in ("pyiceberg", "sqlalchemy", "botocore", "urllib3"):
    logging.getLogger(_name).setLevel(logging.ERROR)


class ColdCatalog:
    """The tables of the cold tier. Thread-safe; it connects when it is first asked."""

    def __init__(self, config: ColdConfig) -> None:
        self.config = config
        self._catalog: Catalog | None = None
        self._lock = threading.Lock()

    @contextmanager
    def speaking(self, what: str) -> Iterator[None]:
        """Turn what pyiceberg raises into ColdUnavailable."""
        try:
            yield
        except NeveError:
            raise
        except Exception as error:  # noqa: BLE001 - catalogs of every make raise what they like
            first = str(error).partition("\n")[0]
            why = self.config.scrub(f"{type(error).__name__}: {first}" if first else type(error).__name__)
            # The cause may hold credentials in its words, so it is not chained into a traceback.
            raise ColdUnavailable(f"cannot {what}: {why[:300]}") from None

    def table(self, namespace: str) -> Table | None:
        """The table of a namespace; None where it has none yet."""
        with self.speaking(f"read cold table of {namespace}"):
            try:
                return self._open().load_table((DATABASE, namespace))
            except NoSuchTableError:
                return None

    def made(self, namespace: str, unit: str = "") -> Table:
        """The table of a namespace, made where it has none yet; in partitions of this `unit`, or as configured."""
        found = self.table(namespace)
        if found is not None:
            return found
        namespace_database(namespace)  # refuses what is no name
        with self.speaking(f"make cold table of {namespace}"):
            return self._make(namespace, unit or self.config.policy(namespace).partition)

    def namespaces(self) -> list[str]:
        """The namespaces that have a table."""
        with self.speaking("list cold tables"):
            catalog = self._open()
            if not catalog.namespace_exists(DATABASE):
                return []
            return sorted(name[-1] for name in catalog.list_tables(DATABASE))

    def register(self, namespace: str, metadata: str) -> Table:
        """Make a table of a metadata file that is there."""
        with self.speaking(f"register cold table of {namespace}"):
            catalog = self._open()
            _make_database(catalog)
            return catalog.register_table((DATABASE, namespace), metadata)

    def unregister(self, namespace: str) -> None:
        """Forget a table; its files stay."""
        with self.speaking(f"forget cold table of {namespace}"):
            self._open().drop_table((DATABASE, namespace))

    def purge(self, namespace: str) -> None:
        """Forget a table, and delete its files."""
        with self.speaking(f"delete cold table of {namespace}"):
            self._open().purge_table((DATABASE, namespace))

    def _make(self, namespace: str, unit: str) -> Table:
        catalog = self._open()
        _make_database(catalog)
        schema = cold_schema.iceberg_schema()
        name = (DATABASE, namespace)
        try:
            return catalog.create_table(
                name,
                schema,
                location=self.location(namespace) if not self.config.catalog else None,
                partition_spec=cold_schema.partition_spec(schema, unit),
                sort_order=cold_schema.sort_order(schema),
                properties=cold_schema.PROPERTIES,
            )
        except TableAlreadyExistsError:
            return catalog.load_table(name)

    def location(self, namespace: str) -> str:
        """Where a table is, unless the catalog has said otherwise."""
        return f"{self.config.warehouse_uri.rstrip('/')}/{DATABASE}/{namespace}"

    def _open(self) -> Catalog:
        with self._lock:
            if self._catalog is None:
                self.config.folder.mkdir(parents=True, exist_ok=True)  # SQLite makes no folder
                self._catalog = _connect(self.config)
            return self._catalog


def _connect(config: ColdConfig) -> Catalog:
    """Two processes that make the SQLite file at one moment get in one another's way; the second try finds it."""
    for _ in range(LOCKED_TRIES):
        try:
            return load_catalog(CATALOG, **config.properties())
        except Exception as error:
            if "already exists" not in str(error) and "locked" not in str(error):
                raise
            time.sleep(LOCKED_PAUSE_SECONDS)
    return load_catalog(CATALOG, **config.properties())


def _make_database(catalog: Catalog) -> None:
    try:
        if not catalog.namespace_exists(DATABASE):
            catalog.create_namespace(DATABASE)
    except NamespaceAlreadyExistsError:
        pass
