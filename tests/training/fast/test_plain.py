"""PLAIN=1 computes by transformers alone, and to the same numbers: what training/fast does is speed."""

import importlib

import pytest
import torch

from tests.training.ppo.runs import saved_reward_model, settings
from tests.training.run.test_parallel import assert_same_run
from training.contract.recipes import make_config
from training.fast import caches, layers, ragged_attention, shared_prefix
from training.run.run_folder import RunFolder
from training.text.policy import forbidden_token_ids, load_policy
from training.text.sampler import sample


def keys_of(verb, miniature, reward_model) -> dict:
    common = {"init_from": miniature / "base", "epochs": 1, "adam_epsilon": 1e-6, "batch_size": 7}
    return {
        "train_sft": {"recipe": "miniature_sft", "data": miniature / "sft", "pretraining_share": 0.2, **common},
        "train_reward_model": {"recipe": "miniature_reward_model", "data": miniature / "rm", **common},
        "train_dpo": {"recipe": "miniature_dpo", "data": miniature / "rm", **common},
        "train_ppo": settings(miniature, reward_model),
    }[verb]


@pytest.mark.parametrize("verb", ["train_sft", "train_reward_model", "train_dpo", "train_ppo"])
def test_a_plain_run_has_the_same_numbers_and_uses_nothing_of_the_fast_room(verb, miniature, tmp_path, monkeypatch):
    reward_model = saved_reward_model(miniature, tmp_path / "reward_model", low=0.6)
    used = set()

    def noting(owner, name):
        compute = getattr(owner, name)

        def noted(*args, **kwargs):
            used.add(name)
            return compute(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    for owner, name in (
        (layers, "adopt"),
        (shared_prefix, "whole_row"),
        (ragged_attention._Flash, "forward"),
        (caches.PromptCache, "__init__"),
        (caches._Room, "update"),
    ):
        noting(owner, name)
    folders = {}
    for plain in ("0", "1"):
        monkeypatch.setenv("PLAIN", plain)
        used.clear()
        folders[plain] = tmp_path / plain
        with RunFolder(folders[plain]) as run_folder:
            module = importlib.import_module(f"training.{verb}")
            module.run(make_config(verb, keys_of(verb, miniature, reward_model)), run_folder)
        assert bool(used) is (plain == "0"), used
    assert_same_run(*folders.values())


def test_a_plain_sampler_writes_the_same_texts(miniature, monkeypatch):
    written = []
    for plain in ("0", "1"):
        monkeypatch.setenv("PLAIN", plain)
        policy, tokenizer = load_policy(miniature / "base")
        generator = torch.Generator().manual_seed(1)
        written.append(
            sample(
                policy, [[3, 10, 20], [4, 11], [4, 11]], max_new_tokens=20, eos_token_id=tokenizer.eos_token_id,
                forbidden=forbidden_token_ids(policy, tokenizer), generator=generator,
            )
        )  # fmt: skip
    assert torch.equal(written[0].tokens, written[1].tokens)
    torch.testing.assert_close(written[0].logprobs, written[1].logprobs, rtol=0, atol=1e-4)
