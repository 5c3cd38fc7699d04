"""What both forms of transformers' generate share."""

import torch
from runners.answer import answer, work
from transformers import AutoModelForCausalLM


def generating(cache: str | None) -> None:
    """Answer with plain sampling at temperature 1, several samples of each prompt, with this kind of cache."""
    folder, given = work()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder / "network", dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None  # no token ends one
    prompts = torch.tensor(given["prompts"])

    def run() -> dict[str, float]:
        written = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=True, top_k=0, top_p=1.0, temperature=1.0,
            num_return_sequences=given["samples"], max_new_tokens=given["tokens"], cache_implementation=cache,
        )  # fmt: skip
        return {"work": written[:, prompts.shape[1] :].numel()}

    answer(run)
