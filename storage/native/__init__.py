"""ClickHouse's native format: frames, sealed blocks, and the connection that carries them."""
