"""What the gateway listens on beside HTTP: started and stopped with it, each by its name in the configuration."""

from collections.abc import Awaitable, Callable
from importlib import import_module

from fastapi import FastAPI

from ingest.receivers.listening import AUTO, ReceiversConfig
from storage.errors import ConfigError
from storage.sections import host_and_port

Stop = Callable[[], Awaitable[None]]
Start = Callable[[FastAPI, str, int], Awaitable[Stop]]
"""Begins to listen on a host and port; raises OSError where that cannot be."""

_STARTS = {
    "otlp_grpc": "ingest.receivers.otlp_grpc:start",
    "syslog_tcp": "ingest.receivers.syslog_listening:start_tcp",
    "syslog_tls": "ingest.receivers.syslog_listening:start_tls",
    "syslog_udp": "ingest.receivers.syslog_listening:start_udp",
    "fluent": "ingest.receivers.fluent_listening:start",
}
"""By the field of ReceiversConfig. A module is imported only where it is listened to: some are large."""
_AUTO_PORTS = {"otlp_grpc": 4317}


class Listeners:
    """`said` has for each one where it listens, or why it does not."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self._stops: list[Stop] = []

    async def start(self, app: FastAPI, config: ReceiversConfig, host: str) -> None:
        """Start those that are configured, those that are `auto` on `host`.

        Raises ConfigError where an address that was configured cannot be listened to; what is started then goes on
        until `stop`.
        """
        for name, place in _STARTS.items():
            address = getattr(config, name)
            if not address:
                continue
            auto = address == AUTO
            where = (host, _AUTO_PORTS[name]) if auto else host_and_port(address, f"receivers.{name}")
            try:
                self._stops.append(await _found(place)(app, *where))
            except OSError as error:
                reason = error.strerror or str(error)
                if not auto:
                    message = f"cannot listen on {address} for {name}: {reason}"
                    raise ConfigError(message, f"choose another address in receivers.{name}") from None
                self.said[name] = f"not listening: {reason}; choose an address in receivers.{name}"
                continue
            self.said[name] = f"[{where[0]}]:{where[1]}" if ":" in where[0] else f"{where[0]}:{where[1]}"

    async def stop(self) -> None:
        """Stop all, the last one first."""
        while self._stops:
            await self._stops.pop()()


def _found(place: str) -> Start:
    module, _, name = place.partition(":")
    start: Start = getattr(import_module(module), name)
    return start
