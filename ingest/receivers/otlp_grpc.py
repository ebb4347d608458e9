"""`opentelemetry.proto.collector.logs.v1.LogsService/Export`: OpenTelemetry's log records over gRPC.

gRPC would unpack a message before it looks at how large it has become; so it hands compressed ones over as they came,
and they are unpacked here, within bounds.
"""

from typing import Any

import grpc
from fastapi import FastAPI, Request

from ingest.receivers.answers import count_refused
from ingest.receivers.listeners import Stop
from ingest.receivers.otlp import BINARY, MAX_BODY_BYTES, Failure, export, failure
from ingest.receivers.protobuf import integer, length_delimited
from ingest.receivers.sender import admitted, identified
from storage.access.middleware import IDENTITY
from storage.errors import ConfigError, NeveError
from storage.tls import TlsConfig, pem

SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"
STOP_SECONDS = 5.0
"""That calls have to end when the gateway does."""
MAX_CALLS = 32
"""Of one connection at once: its other calls wait."""
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_BODY_BYTES),
    ("grpc.per_message_decompression", 0),
    ("grpc.max_concurrent_streams", MAX_CALLS),
    ("grpc.so_reuseport", 0),  # else somebody else's port would be shared with him
)
_CODES = {code.value[0]: code for code in grpc.StatusCode}
# How compressed messages begin. An ExportLogsServiceRequest cannot: its fields would have odd numbers, or no type.
_ENCODINGS = {b"\x1f\x8b": "gzip", b"\x78\x01": "deflate", b"\x78\x5e": "deflate",
              b"\x78\x9c": "deflate", b"\x78\xda": "deflate"}  # fmt: skip

Call = Any  # a grpc.aio.ServicerContext: grpcio says nothing of its types


async def start(app: FastAPI, host: str, port: int) -> Stop:
    """Listen. Raises OSError where the address cannot be had."""
    server = grpc.aio.server(options=_OPTIONS)

    async def export_logs(body: bytes, call: Call) -> bytes:
        return await _export(app, body, call)

    methods = {"Export": grpc.unary_unary_rpc_method_handler(export_logs)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    tls = app.state.gateway.settings.tls
    try:
        if tls:
            server.add_secure_port(address, _credentials(tls))
        else:
            server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError("it is in use, or no address of this machine") from error
    await server.start()

    async def stop() -> None:
        await server.stop(STOP_SECONDS)

    return stop


def _credentials(tls: TlsConfig) -> Any:
    """The certificate as it is on disk when somebody connects. Raises ConfigError.

    gRPC cannot ask for a client's certificate without demanding one: where it is optional, none is asked for.
    """
    demanded = bool(tls.client_ca) and tls.client_certificates == "required"

    def files() -> tuple[bytes, bytes, bytes | None]:
        return pem(tls.key), pem(tls.certificate), pem(tls.client_ca) if demanded else None

    def configuration(found: tuple[bytes, bytes, bytes | None]) -> Any:
        key, certificate, authorities = found
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)

    known = files()

    def renewed() -> Any:
        nonlocal known
        try:
            found = files()
        except ConfigError:
            return None  # the old one holds
        if found == known:
            return None
        known = found
        return configuration(found)

    return grpc.dynamic_ssl_server_credentials(configuration(known), renewed, demanded)


def _certificates(call: Call) -> tuple[str, ...]:
    """The names that the client's certificate is for, which was checked."""
    said = call.auth_context()
    if said.get("transport_security_type") != [b"ssl"]:
        return ()
    names = [*said.get("x509_common_name", ()), *said.get("x509_subject_alternative_name", ())]
    return tuple(dict.fromkeys(name.decode("utf-8", "replace") for name in names))


async def _export(app: FastAPI, body: bytes, call: Call) -> bytes:
    """Answers once the records are durable."""
    gateway, budget = app.state.gateway, app.state.budget
    try:
        gateway.spool.refuse_while_full()
        budget.take(len(body))
        try:
            request = _as_request(app, call)
            headers = request.scope["headers"]
            request.scope[IDENTITY] = await identified(gateway, headers, _certificates(call))
            namespace = await admitted(request)
            encoding = _ENCODINGS.get(body[:2], "")
            rejected = await export(app, body, encoding, BINARY, namespace, "otlp_grpc")
        finally:
            budget.give_back(len(body))
    except (NeveError, OSError) as error:
        count_refused(gateway, "otlp_grpc")
        await _fail(call, failure(error))
        raise  # not reached: to fail a call ends it
    return rejected.binary()


def _as_request(app: FastAPI, call: Call) -> Request:
    """The call's metadata as the headers that they are: who sends is found out in one way."""
    metadata: Any = call.invocation_metadata() or ()
    headers = [
        (name.encode(), value.encode() if isinstance(value, str) else value) for name, value in metadata
    ]
    scope = {"type": "http", "method": "POST", "path": f"/{SERVICE}/Export", "query_string": b""}
    return Request({**scope, "headers": headers, "app": app})


async def _fail(call: Call, said: Failure) -> None:
    """End the call with a google.rpc.Status, and where another try is worth it with a RetryInfo in it."""
    status, metadata = said.binary(), []
    if said.retry_after:
        retry = length_delimited(1, integer(1, said.retry_after))
        kind = length_delimited(1, b"type.googleapis.com/google.rpc.RetryInfo")
        status += length_delimited(3, kind + length_delimited(2, retry))
        metadata.append(("google.rpc.retryinfo-bin", retry))  # where the SDK for Python looks
    metadata.append(("grpc-status-details-bin", status))
    await call.abort(_CODES[said.code], said.message, tuple(metadata))
