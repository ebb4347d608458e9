"""What the servers of one cluster show one another: for each purpose a word of its own, made of what they share.

It is no key: whoever has one gets nothing else by it, and no key of a user opens what it opens.
"""

import hmac
from hashlib import sha256

PEER_HEADER = "neve-peer"
BLOCKS = b"gateways"  # to ask whether a block is known
ARRIVALS = b"arrivals"  # to hear what arrives
RESTS = b"rests"  # to let a gateway rest for a backup


def word_for(purpose: bytes, secret: bytes) -> str:
    """What who asks shows. `secret`: that of `auth.inside`."""
    return hmac.new(secret, purpose, sha256).hexdigest()


def is_word(said: str, purpose: bytes, secret: bytes) -> bool:
    """Is it what another server of the cluster says?"""
    return hmac.compare_digest(said.encode(), word_for(purpose, secret).encode())
