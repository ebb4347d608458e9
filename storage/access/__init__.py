"""Who asks, and what they may: keys, roles and sessions, as every process of the server knows them."""
