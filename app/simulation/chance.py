"""Random numbers that follow from what they are for, so that no order of requests can change them."""

import hashlib
import math


def uniform(*key: object) -> float:
    """A number between 0 and 1, neither included, that depends on the key alone."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**64


def gumbel(*key: object) -> float:
    """Standard Gumbel noise; the difference of two is logistic, which makes pairs follow Bradley and Terry."""
    return -math.log(-math.log(uniform(*key)))


def number(*key: object) -> int:
    """A seed below 2**31 that depends on the key alone."""
    return int(uniform(*key) * 2**31)
