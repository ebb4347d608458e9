"""Answers in Arrow: ClickHouse's HTTP interface, read batch by batch at the memory of one.

The native protocol would give maps as Python objects, a thousand times the cost. A stream that was cut, or that ended
with an error after it had begun, does not end as an Arrow stream does, and raises.
"""

from __future__ import annotations

import http.client
import secrets
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa

from storage.config import ClickHouseConfig
from storage.errors import QueryFailed, StorageUnavailable
from storage.native.params import field_texts
from storage.sips import Sips

READ_BYTES = 1 << 20
LOOPBACK = ("127.0.0.1", "::1", "localhost")

SETTINGS: Mapping[str, Any] = {
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_fixed_string_as_fixed_byte_array": 1,
    "output_format_arrow_low_cardinality_as_dictionary": 1,
    "output_format_arrow_use_signed_indexes_for_dictionary": 1,
    "output_format_arrow_use_64_bit_indexes_for_dictionary": 0,
    "max_block_size": 8192,  # rows of a batch: what is held in memory at once, here and there
}


@contextmanager
def arrow_batches(
    config: ClickHouseConfig,
    sql: str,
    settings: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Run a query and give its batches as they come. Raises QueryFailed, StorageUnavailable.

    `sql` has no format; no value of a user may be in it. `parameters`: what it has bound.
    """
    connection = _connection(config)
    compression = "none" if config.host in LOOPBACK else "lz4_frame"
    asked = {**SETTINGS, "output_format_arrow_compression_method": compression, **(settings or {})}
    headers = {"X-ClickHouse-User": config.user, "X-ClickHouse-Key": config.password}
    try:
        bound = {f"param_{name}": value for name, value in field_texts(parameters or {}).items()}
        kind, body = _form({"query": f"{sql} FORMAT ArrowStream", **bound})
        connection.connect()
        peer = connection.sock
        connection.request("POST", f"/?{urlencode(asked)}", body, {**headers, "Content-Type": kind})
        answer = connection.getresponse()
        if answer.status != 200:
            detail = answer.read(4096).decode("utf-8", "replace")
            raise QueryFailed(f"cannot read events from clickhouse: status {answer.status}", detail=detail)
        with Sips(answer.read, lambda: _shut(peer)) as stream:
            yield _batches(stream)
    except (OSError, http.client.HTTPException, pa.ArrowInvalid) as error:
        where = "{}:{}".format(*config.http_address())
        why = str(error).partition("\n")[0][:200] or type(error).__name__
        raise StorageUnavailable(f"cannot read events from clickhouse: {where}: {why}") from error
    finally:
        connection.close()


def _form(fields: Mapping[str, str]) -> tuple[str, bytes]:
    """Content type and body of a form: parameters may be credentials, which addresses get logged with."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return f"multipart/form-data; boundary={boundary}", f"{''.join(parts)}--{boundary}--\r\n".encode()


def _batches(answer: Sips) -> Iterator[pa.RecordBatch]:
    whole = BufferedReader(answer)  # gives as much as is asked for, as Arrow expects
    stream = pa.BufferedInputStream(pa.PythonFile(whole, "r"), READ_BYTES)
    with pa.ipc.open_stream(stream) as reader:
        yield from reader


def _shut(peer: socket.socket) -> None:
    with suppress(OSError):  # it has ended by itself
        peer.shutdown(socket.SHUT_RDWR)


def _connection(config: ClickHouseConfig) -> http.client.HTTPConnection:
    host, port = config.http_address()
    timeout = config.send_receive_timeout
    if not config.secure:
        return http.client.HTTPConnection(host, port, timeout=timeout, blocksize=READ_BYTES)
    context = ssl.create_default_context()
    if not config.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
