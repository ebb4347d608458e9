"""What the processes of the fault tests import, for the one that they are forked from: so each starts at once."""

from storage.lean import load_lean

load_lean()

# ruff: noqa: E402, F401
import sqlite3

import clickhouse_driver.compression.lz4
import clickhouse_driver.streams.compressed
import pyiceberg.avro.decoder_fast
import pyiceberg.catalog.sql
import pyiceberg.io.fsspec
import pyiceberg.io.pyarrow
import sqlalchemy.dialects.sqlite
import uvicorn.lifespan.on
import uvicorn.protocols.http.httptools_impl

import ingest.app
import ingest.cli
import neve_delete
import storage.ageing
import storage.cold_files
