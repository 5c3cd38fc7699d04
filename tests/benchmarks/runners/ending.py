"""How likely a network is to end its text at each step: the same in ours and in the peer."""

import math
from typing import Any

import torch


def end_with(policy: Any, tokenizer: Any, share: float) -> None:
    """Let each step draw the end-of-text token with this probability, and of the others any that the tokenizer has.

    A bias on logits that a random network makes nearly equal does it; the pad token is no text.
    """
    bias = torch.zeros(policy.config.vocab_size)
    text = len(tokenizer) - 2
    bias[tokenizer.eos_token_id] = math.log(text * share / (1 - share)) if share else -1e4
    bias[[tokenizer.pad_token_id, *range(len(tokenizer), len(bias))]] = -1e4
    policy.lm_head.bias = torch.nn.Parameter(bias)
    policy.lm_head.weight.data[tokenizer.eos_token_id] = 0.0
