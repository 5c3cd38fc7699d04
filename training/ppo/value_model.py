"""The critic: a separate network that starts as the reward model, head and offset included, so V starts as a score."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from training.networks.forms import forms, token_states


class ValueModel(nn.Module):
    """A transformer body with a scalar head, whose bias starts as minus the reward model's offset."""

    def __init__(self, reward_model: Any, lora_rank: int = 0, share: bool = True) -> None:
        """Copy the body and head of a reward model (transformers' ...ForSequenceClassification with one label).

        With a `lora_rank` the body's weights stay frozen, and adapters of that rank are trained with the head. With
        `share` the frozen weights are the reward model's own, else copies.
        """
        super().__init__()
        shared = {id(weights): weights for weights in reward_model.parameters()} if lora_rank and share else {}
        body = deepcopy(reward_model.base_model, shared)
        weight = reward_model.score.weight
        head = nn.Linear(weight.shape[1], 1, device=weight.device)
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.fill_(-getattr(reward_model.config, "score_offset", 0.0))
            if reward_model.score.bias is not None:
                head.bias.add_(reward_model.score.bias)
        if lora_rank:
            from training.run.lora import with_adapters  # peft is slow to import

            body = with_adapters(body, lora_rank).get_base_model()
        else:
            body.requires_grad_(True)
        self.body, self.head = body, head
        self.eval()  # dropout would make values unrepeatable
        forms(body)  # tried now, before it is sharded

    def forward(self, input_ids: Tensor, attention_mask: Tensor, completion_tokens: int) -> Tensor:
        """Return values (B, T) of the states before each of input_ids' (B, S) last T = completion_tokens columns."""
        before = slice(-completion_tokens - 1, -1)
        needed = torch.zeros_like(attention_mask, dtype=torch.bool)
        needed[:, before] = attention_mask[:, before].bool()
        values = torch.zeros(needed.shape, device=needed.device)
        hidden = token_states(self.body, input_ids, attention_mask, needed)
        with torch.autocast(hidden.device.type, enabled=False):  # bfloat16 cannot distinguish 3.00 from 3.01
            values[needed] = self.head(hidden.to(self.head.weight.dtype)).squeeze(-1).float()
        return values[:, before]
