"""The documents of work.json by the loop and the packing of train_sft."""

import tempfile
from functools import partial
from pathlib import Path

import torch
from runners.answer import answer, work

from training.contract.configs import SFTConfig
from training.run.optimization import optimize
from training.run.run_folder import RunFolder
from training.text.packing import MicroBatch, cross_entropy, pack
from training.text.policy import forbidden_token_ids, load_policy

folder, given = work()
torch.set_num_threads(1)
model, tokenizer = load_policy(folder / "network")
forbidden = forbidden_token_ids(model, tokenizer)
documents = given["documents"]
masks = [[True] * len(document) for document in documents]
config = SFTConfig(learning_rate=1e-4, dropout=0.0, row_tokens=given["row_tokens"], micro_batch_tokens=2048)


def batches(step: int) -> list[MicroBatch]:
    """The step's documents, with the report that the verb makes of each micro-batch."""
    indices = range(step, len(documents), given["steps"])
    rows = [[indices[i] for i in row] for row in pack([len(documents[i]) for i in indices], config.row_tokens)]
    parts = cross_entropy(model, rows, documents, masks, forbidden, tokenizer.pad_token_id, config.micro_batch_tokens)
    return [MicroBatch(part.tokens, partial(reported, part)) for part in parts]


def reported(part: MicroBatch) -> tuple[torch.Tensor, dict[str, float]]:
    """A micro-batch's share of the loss and what is told of it."""
    loss = part.compute()
    return loss, {"demonstration_loss": loss.item()}


def run() -> dict[str, float]:
    """One epoch."""
    with tempfile.TemporaryDirectory() as place, RunFolder(Path(place)) as run_folder:
        run_folder.save_state = lambda _: None  # the peer keeps nothing to resume from either
        optimize(run_folder, config, model, given["steps"], batches, "sft", {})
    return {"steps": given["steps"], "work": sum(map(len, documents))}


answer(run)
