"""Losses and gradients against TRL's on the same batches, where TRL computes what we do: in the peers' environment."""

import json
import os
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from app.config import ROOT
from training.contract.records import Split
from training.reward.model import (
    Pair,
    k_wise_loss,
    load_reward_model,
    new_reward_model,
    save_reward_model,
    score_groups,
)
from training.reward.rankings import RankedPrompt, joined
from training.text.formatting import CHAT_TEMPLATE
from training.text.packing import cross_entropy, pack
from training.text.policy import load_policy, save_policy
from training.text.tokenizer import train_tokenizer
from training.train_dpo import sequence_logprobs

PEER_PYTHON = ROOT / ".venv" / "peers" / "trl" / "bin" / "python"
# Prompts with two and with four completions; TRL gets the pairs of either apart, as it knows no rankings.
PROMPTS = {
    2: [([5, 6, 7], [[8, 9, 1], [10, 1]]), ([11], [[12, 13, 14, 15, 1], [16, 17, 1]])],
    4: [
        ([20, 21], [[22, 1], [23, 24, 1], [25, 26, 27, 1], [28, 29, 30, 31, 1]]),
        ([9, 8], [[7, 1], [6, 1], [5, 7, 1], [1]]),
    ],
}
NO_TOKEN = torch.tensor([], dtype=torch.long)  # TRL counts the pad token among what may be written

TRL = """
import json, sys, tempfile
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

folder, given = sys.argv[1], json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(folder + "/policy")
common = dict(output_dir=tempfile.mkdtemp(), bf16=False, gradient_checkpointing=False, use_cpu=True, report_to="none",
              max_length=None, disable_tqdm=True)

def answer(trainer, examples):
    trainer.model.zero_grad()
    batch = trainer.data_collator(examples)
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return {"loss": loss.item(), "gradient": trainer.model.model.embed_tokens.weight.grad.flatten().tolist()}

found = {}
model = lambda kind, name: kind.from_pretrained(f"{folder}/{name}", dtype=torch.float32)
for k, pairs in given["pairs"].items():
    rows = [{"chosen_ids": p + c, "rejected_ids": p + r} for p, c, r in pairs]
    found["reward " + k] = answer(RewardTrainer(
        model=model(AutoModelForSequenceClassification, "reward_model"), args=RewardConfig(**common),
        train_dataset=Dataset.from_list(rows), processing_class=tokenizer), rows)
    text = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2)
    dpo = DPOTrainer(
        model=model(AutoModelForCausalLM, "policy"), ref_model=model(AutoModelForCausalLM, "reference"),
        args=DPOConfig(**common, beta=0.3), train_dataset=text, processing_class=tokenizer)
    rows = [{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in pairs]
    found["dpo " + k] = answer(dpo, rows)
rows = [{"input_ids": ids, "completion_mask": [int(m) for m in mask]} for ids, mask in given["demonstrations"]]
sft = SFTTrainer(
    model=model(AutoModelForCausalLM, "policy"), args=SFTConfig(**common, completion_only_loss=True),
    train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
found["sft"] = answer(sft, list(sft.train_dataset))
print(json.dumps(found))
"""


def demonstrations() -> tuple[list[list[int]], list[list[bool]]]:
    parts = [(prompt, completions[0]) for prompts in PROMPTS.values() for prompt, completions in prompts]
    return [a + b for a, b in parts], [[False] * len(a) + [True] * len(b) for a, b in parts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    tokenizer = train_tokenizer(["the quick brown fox. " * 20], 300)
    tokenizer.chat_template = CHAT_TEMPLATE
    for seed, name in enumerate(("policy", "reference")):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            initializer_range=0.3, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )  # fmt: skip
        save_policy(LlamaForCausalLM(config), tokenizer, folder / name)
    save_reward_model(*new_reward_model(folder / "policy"), folder / "reward_model")
    return folder


@pytest.fixture(scope="module")
def theirs(folder) -> dict:
    if not PEER_PYTHON.exists():
        pytest.skip("TRL is not installed; make bench installs it")
    pairs = {
        k: [(prompt, *pair) for prompt, completions in prompts for pair in combinations(completions, 2)]
        for k, prompts in PROMPTS.items()
    }
    sequences, masks = demonstrations()
    given = {"pairs": pairs, "demonstrations": list(zip(sequences, masks, strict=True))}
    done = subprocess.run(
        [str(PEER_PYTHON), "-c", TRL, str(folder)], input=json.dumps(given), capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def rankings(k: int) -> list[RankedPrompt]:
    pairs = [Pair(a, b) for a, b in combinations(range(k), 2)]
    return [RankedPrompt(prompt, Split.TRAIN, completions=texts, pairs=pairs) for prompt, texts in PROMPTS[k]]


def check(theirs: dict, loss: torch.Tensor, model) -> None:
    loss.backward()
    assert loss.item() == pytest.approx(theirs["loss"], rel=1e-5)
    ours, wanted = model.get_input_embeddings().weight.grad.flatten(), torch.tensor(theirs["gradient"])
    assert float((ours - wanted).norm() / wanted.norm()) < 1e-5


@pytest.mark.parametrize("k", [2, 4])
def test_the_reward_models_loss_is_trls_where_prompts_have_as_many_pairs(folder, theirs, k):
    model, tokenizer, _ = load_reward_model(folder / "reward_model")
    scores = score_groups(model, PROMPTS[k], tokenizer.pad_token_id)
    check(theirs[f"reward {k}"], k_wise_loss(scores, joined(rankings(k)), 2), model)


@pytest.mark.parametrize("k", [2, 4])
def test_dpos_loss_is_trls_where_prompts_have_as_many_pairs(folder, theirs, k):
    (model, tokenizer), (reference, _) = load_policy(folder / "policy"), load_policy(folder / "reference")
    ours = sequence_logprobs(model, rankings(k), NO_TOKEN, tokenizer.pad_token_id)
    with torch.no_grad():
        start = sequence_logprobs(reference, rankings(k), NO_TOKEN, tokenizer.pad_token_id)
    check(theirs[f"dpo {k}"], k_wise_loss(0.3 * (ours - start), joined(rankings(k)), 2), model)


def test_sfts_loss_is_trls(folder, theirs):
    model, tokenizer = load_policy(folder / "policy")
    sequences, masks = demonstrations()
    rows = pack([len(ids) for ids in sequences], 16)
    parts = cross_entropy(model, rows, sequences, masks, NO_TOKEN, tokenizer.pad_token_id, 1000)
    check(theirs["sft"], sum(part.compute() for part in parts), model)
