"""DPO's loss and gradient against one unpadded forward pass per completion in float64, and a run of it."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from training import train_dpo
from training.contract import events
from training.contract.recipes import make_config
from training.contract.records import COMPARISONS, ComparisonRecord, Message, RankedCompletion, read, write
from training.run.run_folder import RunFolder
from training.text.formatting import encode_completion, encode_prompt
from training.text.policy import forbidden_token_ids, load_policy

TEXTS = ["the cat", "one two three 1234 and the cat ran", "the mat, the dog sat on the mat.", "a"]
ASKED = (Message(role="user", text="the cat sat"),), (Message(role="user", text="one"),)


def ranking(number: int, *tiers: int | None) -> ComparisonRecord:
    completions = tuple(RankedCompletion(text=t, policy="x", tier=n) for t, n in zip(TEXTS, tiers, strict=False))
    return ComparisonRecord(
        prompt_key=str(number), prompt=ASKED[number], split="train", completions=completions, labeler="a", pool="train"
    )


def run(folder, network, records=None, **values) -> list:
    if records is not None:
        folder.mkdir(exist_ok=True)
        write(folder / COMPARISONS, records)
        values["data"] = folder
    keys = {"recipe": "miniature_dpo", "init_from": network, "max_prompt_tokens": 256, "max_completion_tokens": 64}
    with RunFolder(folder / "run") as run_folder:
        train_dpo.run(make_config("train_dpo", {**keys, **values}), run_folder)
    return [events.parse(line) for line in (folder / "run" / "events.jsonl").read_text().splitlines()]


def total(model, tokenizer, forbidden, record, place) -> torch.Tensor:
    """Return log p of one completion by one plain forward pass."""
    prompt = encode_prompt(tokenizer, record.prompt)
    ids = prompt + encode_completion(tokenizer, record.completions[place].text)
    logits = model(torch.tensor([ids])).logits[0].double()
    logits[:, forbidden] = -math.inf
    logprobs = logits.log_softmax(-1)
    return sum(logprobs[i - 1, ids[i]] for i in range(len(prompt), len(ids)))


@pytest.mark.parametrize("micro_batch_tokens", [1, 100_000])
def test_loss_and_gradient_are_those_of_the_definition(networks, tmp_path, monkeypatch, micro_batch_tokens):
    """Over K-wise rankings with ties: each prompt counts once, its pairs equally [Rafailov 2023, Eq. 7]."""
    records = [ranking(0, 2, 1, 2, 3), ranking(1, 2, 1)]
    policy, tokenizer = load_policy(networks["qwen2"])
    reference, _ = load_policy(networks["qwen2"])
    forbidden = forbidden_token_ids(policy, tokenizer)
    policy.double(), reference.double()
    torch.manual_seed(1)
    moves = [0.02 * torch.randn_like(weight) for weight in policy.parameters()]
    for weight, move in zip(policy.parameters(), moves, strict=True):
        weight.data += move
    prompts = []
    for record in records:
        terms = []
        for chosen, rejected in record.pairs():
            gains = [
                total(policy, tokenizer, forbidden, record, place)
                - total(reference, tokenizer, forbidden, record, place).detach()
                for place in (chosen, rejected)
            ]
            terms.append(-torch.nn.functional.logsigmoid(0.3 * (gains[0] - gains[1])))
        prompts.append(sum(terms) / len(terms))
    loss = sum(prompts) / len(prompts)
    loss.backward()
    wanted = torch.cat([weight.grad.flatten() for weight in policy.parameters()])

    got = {}

    def one_step(run_folder, config, model, total_steps, batches, group, counts):
        assert (total_steps, group) == (1, "dpo")
        model.double()
        for weight, move in zip(model.parameters(), moves, strict=True):
            weight.data += move
        shares = [batch.compute()[0] for batch in batches(0)]
        sum(shares).backward()
        got["loss"], got["parts"] = sum(shares).item(), len(shares)
        got["gradient"] = torch.cat([weight.grad.flatten() for weight in model.parameters()])

    monkeypatch.setattr(train_dpo, "optimize", one_step)
    values = {"beta": 0.3, "epochs": 1, "batch_size": 4, "micro_batch_tokens": micro_batch_tokens}
    run(tmp_path, networks["qwen2"], records, **values)
    assert got["parts"] == (2 if micro_batch_tokens == 1 else 1)
    # Log-probabilities are float32 even of a float64 network.
    assert got["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert float((got["gradient"] - wanted).norm() / wanted.norm()) < 1e-5


def test_it_begins_at_ln_two_learns_the_order_and_is_read_by_plain_transformers(miniature, tmp_path):
    values = {"data": miniature / "rm", "epochs": 8, "learning_rate": 1e-3}
    happened = run(tmp_path, miniature / "base", **values)
    metrics = [event.values for event in happened if event.kind == "metrics"]
    first, last = metrics[0], metrics[-1]
    assert first["dpo/loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["dpo/accuracy"] == pytest.approx(0.5, abs=0.1)
    assert last["dpo/accuracy"] > 0.75 and last["dpo/chosen_score"] > last["dpo/rejected_score"] + 0.3
    (saved,) = (event for event in happened if event.kind == "checkpoint")
    assert (saved.role, saved.path, saved.chosen) == ("policy", "checkpoints/policy", True)
    unseen = [record for record in read(miniature / "rm" / COMPARISONS, ComparisonRecord) if record.split != "train"]
    assert saved.metrics["accuracy/validation_pairs"] == sum(len(record.pairs()) for record in unseen)
    assert saved.metrics["accuracy/validation_low"] < saved.metrics["accuracy/validation"]
    place = tmp_path / "run" / "checkpoints" / "policy"
    before, after = load_file(miniature / "base" / "model.safetensors"), load_file(place / "model.safetensors")
    assert before.keys() == after.keys() and any(not torch.equal(before[key], after[key]) for key in before)
    assert AutoModelForCausalLM.from_pretrained(place).config.vocab_size == json.loads(
        (miniature / "base" / "config.json").read_text()
    )["vocab_size"]  # fmt: skip


def test_rankings_without_a_pair_are_refused_and_a_missing_validation_split_is_told(networks, tmp_path):
    with pytest.raises(ValueError, match="has no pair to learn from"):
        run(tmp_path / "ties", networks["llama"], [ranking(0, 1, 1)])
    happened = run(tmp_path / "run", networks["llama"], [ranking(0, 1, 2, None), ranking(1, 1, 1)])
    warnings = " / ".join(event.message for event in happened if event.kind == "warning")
    assert "held-out accuracy is not known" in warnings and "pairs left out: tied" in warnings


def test_every_family_learns_from_rankings(network, miniature, tmp_path):
    happened = run(tmp_path, network, data=miniature / "rm", epochs=1, max_prompt_tokens=80, max_completion_tokens=20)
    assert happened[-1].kind == "finished"
    assert all(math.isfinite(value) for event in happened if event.kind == "metrics" for value in event.values.values())
