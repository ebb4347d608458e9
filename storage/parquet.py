"""Arrow batches → Parquet files of a cold table, one partition after the other, at bounded memory.

What is held: one row group of at most ROW_GROUP_ROWS rows and ROW_GROUP_BYTES of Arrow, the same once more as encoded
pages, and one batch. A file ends at FILE_BYTES or when the partition changes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.table.locations import load_location_provider
from pyiceberg.typedef import Record as Partition

from storage import cold_schema
from storage.cold_columns import CATEGORIES, SIDES, TAGS
from storage.cold_schema import BOUNDED

# The other pools give memory back to the kernel between row groups, and take it again page by page: a tenth of the CPU.
pa.set_memory_pool(pa.system_memory_pool())

ROW_GROUP_ROWS = 1 << 17
ROW_GROUP_BYTES = 64 << 20
FILE_BYTES = 256 << 20
COMPRESSION_LEVEL = 1  # 3 makes files 0.6 % smaller for a tenth more CPU

# What is looked up by equality and not found by the order. Sized for what a row group holds of each.
BLOOM_FILTERS = {
    "block_id": {"ndv": 1 << 10, "fpp": 0.01},
    "fingerprint": {"ndv": 1 << 12, "fpp": 0.01},
    "trace_id": {"ndv": 1 << 16, "fpp": 0.05},
}
DICTIONARIES = [
    *CATEGORIES,
    "block_id",
    "fingerprint",
    *(f"{name}.key_value.{part}" for name in (*TAGS, *SIDES) for part in ("key", "value")),
]
# Neighbours in the order of the table are near one another in time, and mostly of one block.
ENCODINGS = {"timestamp": "DELTA_BINARY_PACKED", "row": "DELTA_BINARY_PACKED"}


class NotUtf8(Exception):
    """A text that was to be UTF-8 is none."""


class PartitionFiles:
    """Writes the files of one partition. For a with statement: an error leaves no file open."""

    def __init__(self, table: Table, slot: int, label: str) -> None:
        """`slot`: the day or hour; `label`: starts the names of the files."""
        self._table = table
        self._slot = slot
        self._label = label
        self._schema = cold_schema.arrow_schema(table.schema())
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self._writer: pq.ParquetWriter | None = None
        self._stream: Any = None
        self._location = ""
        self.written: list[DataFile] = []
        self.locations: list[str] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch that has the cold columns in order. Raises NotUtf8."""
        self._pending.append(_checked(batch, self._schema))
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> list[DataFile]:
        """Write what is left; the files, which are on disk then."""
        self._flush()
        self._finish_file()
        return self.written

    def abandon(self) -> None:
        """Close what is open and delete everything: nobody knows of these files."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            self._stream.close()
        for location in self.locations:
            self._table.io.delete(location)

    def _flush(self) -> None:
        if not self._pending:
            return
        rows = pa.Table.from_batches(self._pending, self._schema)
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        if self._writer is None:
            self._begin_file()
        assert self._writer is not None
        self._writer.write_table(rows, row_group_size=max(rows.num_rows, 1))
        if self._stream.tell() >= FILE_BYTES:
            self._finish_file()

    def _begin_file(self) -> None:
        provider = load_location_provider(self._table.location(), self._table.properties)
        field = self._table.spec().fields[0]
        folder = f"{field.name}={field.transform.to_human_string(_source_type(self._table), self._slot)}"
        name = f"{folder}/{self._label}-{len(self.locations)}-{secrets.token_hex(8)}.parquet"
        self._location = provider.new_data_location(name)
        self.locations.append(self._location)
        self._stream = self._table.io.new_output(self._location).create()
        self._writer = pq.ParquetWriter(
            self._stream,
            self._schema,
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=DICTIONARIES,
            column_encoding=ENCODINGS,
            write_statistics=list(BOUNDED),
            bloom_filter_options=BLOOM_FILTERS,
            write_page_index=True,
            write_batch_size=8192,
            store_schema=False,
        )

    def _finish_file(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close()
        size = self._stream.tell()
        self._stream.close()
        self.written.append(data_file(self._table, self._location, self._slot, size, writer.writer.metadata))


def _checked(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch under the names, ids and types of the files. Raises NotUtf8."""
    columns = [_as(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    made = pa.RecordBatch.from_arrays(columns, schema=schema)
    try:
        made.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF" not in str(error).upper():
            raise
        raise NotUtf8 from None
    return made


def _as(column: pa.Array, type_: pa.DataType) -> pa.Array:
    """The same under another type. Names and nullability of keys and values differ, and texts are bytes; no copy."""
    if pa.types.is_map(type_):
        keys, items = _as(column.keys, type_.key_type), _as(column.items, type_.item_type)
        return pa.MapArray.from_arrays(column.offsets, keys, items, type=type_)
    if column.type == type_:
        return column
    return column.view(type_) if pa.types.is_binary(type_) else column.cast(type_)


def _source_type(table: Table) -> Any:
    return table.schema().find_field("timestamp").field_type


def data_file(table: Table, location: str, slot: int, size: int, metadata: Any) -> DataFile:
    """What a table is told of a file; `metadata`: Parquet's, `slot`: the day or hour."""
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=metadata,
        stats_columns=compute_statistics_plan(table.schema(), table.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(table.schema()),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=Partition(slot),
        file_size_in_bytes=size,
        sort_order_id=table.sort_order().order_id,
        spec_id=table.metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def rows_of(files: Iterable[DataFile]) -> int:
    """How many rows files have."""
    return sum(file.record_count for file in files)
