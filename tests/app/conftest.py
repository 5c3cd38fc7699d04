"""A training that is real and takes a second: a tiny network on a tiny text."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from app import queue

WORDS = "plumb line level square true straight upright even flat sound"


@pytest.fixture
def tiny(tmp_path) -> dict:
    """The config of a train_base job that ends within seconds."""
    text = tmp_path / "text.txt"
    words = WORDS.split()
    text.write_text("\n\n".join(" ".join(words[i % 10 :] + words[: i % 7]) for i in range(400)), encoding="utf-8")
    return {
        "text": str(text), "vocab_size": 300, "hidden_size": 16, "intermediate_size": 16, "layers": 1, "heads": 2,
        "max_positions": 64, "row_tokens": 64, "rows_per_step": 4, "epochs": 2, "cache": str(Path(tmp_path) / "cache"),
        "save_every_seconds": 0.5,
    }  # fmt: skip


@pytest.fixture
def endless(tiny) -> dict:
    """The same, but far longer than any test waits."""
    return {**tiny, "epochs": 1000}


@pytest.fixture
def broker(database) -> Iterator[Redis]:
    """The queue's server, its queues empty."""
    with queue._broker() as client:
        client.delete(queue.DEFAULT, queue.TRAINING)
        yield client
        client.delete(queue.DEFAULT, queue.TRAINING)
