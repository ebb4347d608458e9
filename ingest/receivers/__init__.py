"""What the gateway takes over HTTP: one module a protocol, adapters only."""
