"""The completions of work.json by our sampler."""

import torch
from runners.answer import answer, work

from training.text.policy import forbidden_token_ids, load_policy
from training.text.sampler import sample

folder, given = work()
torch.set_num_threads(1)
model, tokenizer = load_policy(folder / "network")
forbidden = forbidden_token_ids(model, tokenizer)
prompts = [prompt for prompt in given["prompts"] for _ in range(given["samples"])]


def run() -> dict[str, float]:
    """All of them; no token ends one."""
    sampled = sample(
        model, prompts, max_new_tokens=given["tokens"], eos_token_id=model.config.vocab_size, forbidden=forbidden,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    return {"work": int(sampled.mask.sum())}


answer(run)
