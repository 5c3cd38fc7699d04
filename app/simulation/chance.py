"""Random numbers derived from their purpose, so that the order of requests cannot change them."""

import hashlib
import math


def uniform(*key: object) -> float:
    """Return a number in the open interval (0, 1) that depends on the key alone."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**64


def gumbel(*key: object) -> float:
    """Return standard Gumbel noise; the difference of two is logistic, so pairs follow the Bradley-Terry model."""
    return -math.log(-math.log(uniform(*key)))


def number(*key: object) -> int:
    """Return a seed below 2**31 that depends on the key alone."""
    return int(uniform(*key) * 2**31)
