"""What PPO reads: prompts for its episodes and text for its pretraining gradient, each a stream without end."""

import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from training.contract.configs import PPOConfig
from training.contract.events import Warned
from training.contract.records import PRETRAINING_TEXT, PROMPTS, PromptRecord, Use
from training.ppo.networks import Networks
from training.run.run_folder import RunFolder
from training.run.snapshots import load
from training.text.formatting import encode_document, encode_prompts, left_out
from training.text.packing import pieces, read_documents
from training.text.policy import max_positions


class Prompt(NamedTuple):
    """A prompt's token ids for sampling, and its last message for the judge."""

    ids: list[int]
    text: str


class Prompts(NamedTuple):
    """The train split's prompts, and those that the finished policies are scored on, one per episode."""

    train: list[Prompt]
    evaluation: list[Prompt]

    def longest(self) -> int:
        """Return the most tokens of a prompt."""
        return max(len(prompt.ids) for prompts in self for prompt in prompts)

    def of(self, iteration: int, config: PPOConfig) -> list[Prompt]:
        """Return an iteration's prompts, each `samples_per_prompt` times in a row."""
        size = config.batch_size // config.samples_per_prompt
        places = endless_shuffle(f"{config.seed} prompts", len(self.train), iteration * size, size)
        return [self.train[place] for place in places for _ in range(config.samples_per_prompt)]


def read_prompts(config: PPOConfig, tokenizer: PreTrainedTokenizerBase, run_folder: RunFolder) -> Prompts:
    """Read the snapshot's prompts; raise ValueError if none of the train split is left."""
    counts: Counter[str] = Counter()
    records = load(config.data, PROMPTS, PromptRecord, run_folder)
    encoded = encode_prompts(tokenizer, (record.prompt for record in records), config.max_prompt_tokens, counts)
    run_folder.warn_counts(counts)
    by_use: dict[Use, list[Prompt]] = {use: [] for use in Use}
    for record, ids in zip(records, encoded, strict=True):
        if ids is not None:
            by_use[record.use].append(Prompt(ids, record.prompt[-1].text))
    if not by_use[Use.TRAIN]:
        raise ValueError(
            f"data: {config.data / PROMPTS} has no prompt of the train split left to learn from"
            + left_out(counts, config)
        )
    held_out = by_use[Use.VALIDATION]
    if not held_out:
        run_folder.report(Warned(message="no prompt of the validation split: policies are scored on train prompts"))
        held_out = by_use[Use.TRAIN]
    return Prompts(by_use[Use.TRAIN], [held_out[i % len(held_out)] for i in range(config.evaluation_episodes)])


@dataclass
class Pretraining:
    """The text whose gradient PPO-ptx mixes in."""

    documents: list[str]
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int  # of one piece, limited by the row and by the network's positions

    def sequences(self, config: PPOConfig, step: int) -> list[list[int]]:
        """Return token ids of the documents that optimizer step number `step` learns from."""
        size = max(1, round(config.minibatch_size * config.pretraining_ratio))
        places = endless_shuffle(f"{config.seed} pretraining", len(self.documents), step * size, size)
        return [
            piece
            for place in places
            for piece in pieces(encode_document(self.tokenizer, self.documents[place]), self.max_tokens)
        ]


def read_pretraining(config: PPOConfig, networks: Networks) -> Pretraining | None:
    """Read the pretraining text, None if gamma is 0; raise ValueError if there is none."""
    if config.gamma == 0:
        return None
    path = config.pretraining_text or config.init_from / PRETRAINING_TEXT
    if not path.is_file():
        raise ValueError(f"pretraining_text: {path} is no file; give the text that gamma mixes in, or set gamma to 0")
    positions = max_positions(networks.policy) or config.row_tokens
    return Pretraining(read_documents(path), networks.tokenizer, min(config.row_tokens, positions))


def generator_for(config: PPOConfig, iteration: int, use: str) -> torch.Generator:
    """Return the random generator of one use in one iteration; a function of both, it needs no saved state."""
    digest = hashlib.sha256(f"{config.seed} {iteration} {use}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def endless_shuffle(seed: str, count: int, start: int, size: int) -> list[int]:
    """Return indices start .. start + size - 1 of an infinite stream of shuffles of range(count), one per epoch."""
    found: list[int] = []
    while len(found) < size:
        epoch, place = divmod(start + len(found), count)
        found += _permutation(seed, epoch, count)[place : place + size - len(found)]
    return found


@lru_cache(maxsize=4)
def _permutation(seed: str, epoch: int, count: int) -> list[int]:
    return random.Random(f"{seed} {epoch}").sample(range(count), count)
