"""The critic: a network of its own that starts as the reward model, head and offset included: V starts as a score."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from training.last_layer import reading
from training.policy import position_ids
from training.shared_prefix import can_be_ragged, hidden_states, side_by_side, wants_no_padding


class ValueModel(nn.Module):
    """A transformer body with a scalar head that has a bias, which starts as minus the reward model's offset."""

    def __init__(self, reward_model: Any) -> None:
        """Copy the body and head of a reward model (transformers' ...ForSequenceClassification with one label)."""
        super().__init__()
        body = deepcopy(reward_model.base_model)
        weight = reward_model.score.weight
        head = nn.Linear(weight.shape[1], 1, device=weight.device)
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.fill_(-getattr(reward_model.config, "score_offset", 0.0))
            if reward_model.score.bias is not None:
                head.bias.add_(reward_model.score.bias)
        self.body, self.head = body.requires_grad_(True), head
        self.eval()  # and stays so: dropout would make values unrepeatable
        can_be_ragged(body)  # tried now, before anything shards it

    def forward(self, input_ids: Tensor, attention_mask: Tensor, completion_tokens: int) -> Tensor:
        """Values (B, T) of the states before each of the last T = completion_tokens columns of input_ids (B, S)."""
        before = slice(-completion_tokens - 1, -1)
        needed = torch.zeros_like(attention_mask, dtype=torch.bool)
        needed[:, before] = attention_mask[:, before].bool()
        values = torch.zeros(needed.shape, device=needed.device)
        if wants_no_padding(self.body, attention_mask):
            real, row = attention_mask.bool(), side_by_side(input_ids, attention_mask)
            with reading(self.body, needed[real]):
                hidden = hidden_states(self.body, row)[needed[real]]
        else:
            with reading(self.body, needed):
                hidden = self.body(
                    input_ids=input_ids,
                    attention_mask=attention_mask,
                    position_ids=position_ids(attention_mask),
                    use_cache=False,
                ).last_hidden_state[needed]
        values[needed] = self.head(hidden).squeeze(-1).float()
        return values[:, before]
