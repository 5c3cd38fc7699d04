"""PPO's learner: the networks of a run with their optimizers and counts, and the state from which it resumes."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch

from training.contract.configs import PPOConfig
from training.ppo.networks import Networks
from training.run import parallel


@dataclass
class Learner:
    """Everything that changes while PPO runs."""

    networks: Networks
    policy_optimizer: torch.optim.Optimizer
    value_optimizer: torch.optim.Optimizer | None  # None: no critic, and a step is one of REINFORCE
    beta: float
    iteration: int = 0  # iterations done; the position in the prompts follows from it
    steps: int = 0  # optimizer steps done; the position in the pretraining text follows from it
    first: dict[str, float] = field(default_factory=dict)  # the first iteration's numbers, for the alarms
    warned: list[str] = field(default_factory=list)

    def zero_gradients(self) -> None:
        """Forget the gradients of the last step."""
        for optimizer in filter(None, (self.policy_optimizer, self.value_optimizer)):
            optimizer.zero_grad(set_to_none=True)


_OPTIMIZERS = ("policy_optimizer", "value_optimizer")
_NUMBERS = ("beta", "iteration", "steps", "first", "warned")


def new_learner(networks: Networks, config: PPOConfig, state: dict[str, Any] | None = None) -> Learner:
    """Create a learner at iteration 0, or at a `state` by `learner_state`; the networks are trained in place.

    If the config asks for it, they are sharded over the processes.
    """
    networks.averaged = networks.averaged or deepcopy(networks.policy)
    networks.averaged.requires_grad_(False)
    networks.load_state(state or {})
    if config.sharded and parallel.process_count() > 1:
        networks.shard()

    def adam(network: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        weights = [weights for weights in network.parameters() if weights.requires_grad]
        return torch.optim.Adam(
            weights, lr=learning_rate, betas=(0.9, config.adam_b2), eps=config.adam_epsilon, fused=True
        )

    learner = Learner(
        networks,
        policy_optimizer=adam(networks.policy, config.policy_learning_rate),
        value_optimizer=adam(networks.critic, config.value_learning_rate) if networks.critic else None,
        beta=config.beta,
    )
    if state:
        for name in _OPTIMIZERS:
            if name in state:
                parallel.load_optimizer(getattr(learner, name), state[name])
        for name in _NUMBERS:
            setattr(learner, name, state[name])
    return learner


def learner_state(learner: Learner) -> dict[str, Any]:
    """Return tensors and plain values from which `new_learner` resumes exactly."""
    states = {name: getattr(learner, name).state_dict() for name in _OPTIMIZERS if getattr(learner, name)}
    return parallel.whole(states | learner.networks.state()) | {name: getattr(learner, name) for name in _NUMBERS}
