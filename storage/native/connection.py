"""One native-protocol connection: queries with bound parameters, and inserts of blocks already encoded.

clickhouse-driver shakes hands, writes queries and decodes answers. Data packets of an insert are ours: a
packet start, one small frame (block info, column and row counts), the sealed frames as they are, and one
frame with the `epoch` column.

A connection is for one thread at a time. It is `usable` again once an answer was read to its end. After any
error it is not: the server closes some connections after it has said no, a moment later.
"""

from __future__ import annotations

import logging
import select
import struct
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from clickhouse_driver import defines
from clickhouse_driver.connection import Connection, Packet
from clickhouse_driver.errors import Error as DriverError
from clickhouse_driver.errors import ServerException
from clickhouse_driver.protocol import ClientPacketTypes, ServerPacketTypes
from clickhouse_driver.varint import read_varint, write_varint

from storage import schema
from storage.config import ClickHouseConfig
from storage.errors import InsertUnknown, NeveError, StorageUnavailable
from storage.native import frames, params, refusals
from storage.native.block import SealedBlock, column_start

# Below this revision columns carry no custom-serialization byte, which sealed blocks have.
MIN_REVISION = defines.DBMS_MIN_REVISION_WITH_SYSTEM_KEYWORDS_TABLE

# How long to look for the server's own reason once it has closed the connection while we were sending.
LAST_WORDS_SECONDS = 2.0

BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"  # field 1: no overflows; field 2: bucket -1; end
DATA_START = bytes((ClientPacketTypes.DATA, 0))  # a data packet of the table with no name

ALWAYS = {
    "network_compression_method": "LZ4",  # the driver asks for compression, and this server's choice is ZSTD
    "send_profile_events": 0,
}

CLIENT_SETTINGS = {
    "insert_block_size": defines.DEFAULT_INSERT_BLOCK_SIZE,
    "strings_as_bytes": False,
    "strings_encoding": "utf-8",
    "use_numpy": False,
    "opentelemetry_traceparent": None,
    "opentelemetry_tracestate": "",
    "quota_key": "",
    "input_format_null_as_default": False,
    "namedtuple_as_json": False,
    "server_side_params": True,
}

# It warns of every socket that is gone, which we turn into errors of our own.
logging.getLogger("clickhouse_driver").setLevel(logging.ERROR)

BROKEN = (OSError, EOFError, DriverError)


class NativeConnection:
    """An open connection to a ClickHouse server."""

    def __init__(self, config: ClickHouseConfig) -> None:
        """Connect and shake hands; StorageUnavailable when that fails or the server is too old."""
        self._driver = Connection(
            config.host,
            config.port,
            user=config.user,
            password=config.password,
            secure=config.secure,
            verify=config.verify,
            client_name="neve",
            connect_timeout=config.connect_timeout,
            send_receive_timeout=config.connect_timeout,  # of the handshake; a query says its own
            compression="lz4",
        )
        self._driver.context.client_settings = CLIENT_SETTINGS
        self._driver.context.settings = {}
        self._address = f"{config.host}:{config.port}"
        self._silence = config.send_receive_timeout
        self.usable = False
        self._connect()

    @property
    def server_version(self) -> tuple[int, int, int]:
        """Major, minor, patch."""
        version: tuple[int, int, int] = self._driver.server_info.version_tuple()
        return version

    def close(self) -> None:
        self.usable = False
        self._driver.disconnect()

    def is_stale(self) -> bool:
        """Whether the server has closed this idle connection, or said something nobody asked for."""
        poll = select.poll()
        poll.register(self._driver.socket, select.POLLIN)
        return bool(poll.poll(0))

    def ping(self) -> None:
        """Ask whether the server is there, without a statement; StorageUnavailable when it says nothing in time."""
        self.usable = False
        self._driver.socket.settimeout(self._silence)
        try:
            write_varint(ClientPacketTypes.PING, self._driver.fout)
            self._driver.fout.flush()
            answer = read_varint(self._driver.fin)
        except BROKEN as error:
            raise self._lost(error) from error
        if answer != ServerPacketTypes.PONG:
            raise self._lost(EOFError(f"no answer to a ping but {answer}"))
        self.usable = True

    # --- queries ------------------------------------------------------------------------------------------

    def packets(
        self,
        sql: str,
        values: Mapping[str, Any],
        settings: Mapping[str, Any],
        query_id: str = "",
        silence: float | None = None,
    ) -> Generator[Packet, None, None]:
        """Send a query and give its packets up to the last; NeveError when it fails.

        `silence`: how many seconds the server may say nothing. To leave the loop early closes the connection,
        and the server gives the query up.
        """
        self._driver.socket.settimeout(silence or self._silence)
        try:
            self._send_query(sql, values, settings, query_id, important=True)
            self._driver.send_external_tables([])
        except BROKEN as error:
            raise self._lost(error) from error
        yield from self._answers()

    def _answers(self) -> Generator[Packet, None, None]:
        finished = False
        try:
            while not finished:
                packet = self._driver.receive_packet()
                finished = packet.type in (ServerPacketTypes.EXCEPTION, ServerPacketTypes.END_OF_STREAM)
                if packet.type == ServerPacketTypes.EXCEPTION:
                    raise refusals.query_error(packet.exception)
                self.usable = finished
                yield packet
        except BROKEN as error:
            raise self._lost(error) from error
        finally:
            if not finished:
                self._abandon()

    def _abandon(self) -> None:
        with suppress(*BROKEN):
            if self._driver.connected:
                self._driver.send_cancel()
        self.close()

    # --- inserts ------------------------------------------------------------------------------------------

    def insert_blocks(
        self, table: str, blocks: Sequence[SealedBlock], epoch: int, settings: Mapping[str, Any]
    ) -> None:
        """One INSERT of blocks that have the same columns; see `Hot.insert_blocks` for the errors."""
        names = ", ".join(f"`{name}`" for name in (*blocks[0].columns, schema.EPOCH_COLUMN[0]))
        self._driver.socket.settimeout(self._silence)
        self._open_insert(f"INSERT INTO {table} ({names}) VALUES", settings)
        try:
            for sealed in blocks:
                self._send_block(sealed, epoch)
            self._driver.socket.sendall(DATA_START + frames.frame(BLOCK_INFO + b"\0\0"))
            self._finish_insert()
        except BROKEN as error:
            raise self._last_words(error) from error

    def _open_insert(self, sql: str, settings: Mapping[str, Any]) -> None:
        """Send the query and read up to the server's sample block; nothing of the data is sent yet."""
        try:
            self._send_query(sql, {}, settings, important=False)
            self._driver.send_external_tables([])
            while True:
                packet = self._driver.receive_packet()
                if packet.type == ServerPacketTypes.EXCEPTION:
                    raise refusals.insert_error(packet.exception, sent=False)
                if packet.type == ServerPacketTypes.DATA:
                    return
        except BROKEN as error:
            raise self._lost(error) from error

    def _send_block(self, sealed: SealedBlock, epoch: int) -> None:
        rows = sealed.header.rows
        counts = _varint(len(sealed.header.columns) + 1) + _varint(rows)
        send = self._driver.socket.sendall
        send(DATA_START + frames.frame(BLOCK_INFO + counts))
        send(sealed.frames)
        send(frames.frame(column_start(*schema.EPOCH_COLUMN) + struct.pack("<I", epoch) * rows))

    def _finish_insert(self) -> None:
        while True:
            packet = self._driver.receive_packet()
            if packet.type == ServerPacketTypes.EXCEPTION:
                raise refusals.insert_error(packet.exception, sent=True)
            if packet.type == ServerPacketTypes.END_OF_STREAM:
                self.usable = True
                return

    def _last_words(self, error: Exception) -> NeveError:
        """What to raise when the connection broke with data under way.

        A server that refuses data midway says why and closes; its words may still be there to read.
        """
        try:
            if self._driver.connected:
                self._driver.socket.settimeout(LAST_WORDS_SECONDS)
                self._finish_insert()
        except NeveError as said:
            return said
        except BROKEN:
            pass
        finally:
            self.close()
        return InsertUnknown(f"cannot finish insert at {self._address}: {_why(error)}")

    # --- both ---------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        try:
            self._driver.connect()
        except ServerException as error:
            self.close()
            raise StorageUnavailable(
                f"cannot log in to clickhouse: {self._address}: {refusals.first_line(error)}",
                "check its user and password",
            ) from error
        except BROKEN as error:
            self.close()
            raise StorageUnavailable(f"cannot reach clickhouse: {self._address}: {_why(error)}") from error
        revision = self._driver.server_info.used_revision
        if revision < MIN_REVISION:
            self.close()
            raise StorageUnavailable(
                f"cannot use clickhouse: {self._address}: protocol revision {revision}",
                f"upgrade the server to one that has revision {MIN_REVISION}",
            )
        self.usable = True

    def _send_query(
        self,
        sql: str,
        values: Mapping[str, Any],
        settings: Mapping[str, Any],
        query_id: str = "",
        *,
        important: bool,
    ) -> None:
        literals = params.literals(values)
        self.usable = False
        # "Important" makes the server refuse a setting that it does not know instead of ignoring it.
        self._driver.settings_is_important = important
        self._driver.context.settings = {**ALWAYS, **settings}
        self._driver.send_query(sql, query_id=query_id, params=literals)

    def _lost(self, error: Exception) -> StorageUnavailable:
        self.close()
        return StorageUnavailable(f"cannot talk to clickhouse: {self._address}: {_why(error)}")


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    data.append(number)
    return bytes(data)


def _why(error: Exception) -> str:
    text = str(error).partition("\n")[0].strip()
    return text or type(error).__name__
