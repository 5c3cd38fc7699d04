"""The networks of a PPO run and the one that owns them: loading, checks, adapters, freezing, sharding and hashes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.contract.configs import PPOConfig
from training.contract.events import Warned
from training.networks import trial
from training.ppo.value_model import ValueModel
from training.reward.model import load_reward_model
from training.run import parallel
from training.run.optimization import device, trained_state, weights_hash
from training.run.run_folder import RunFolder
from training.run.trainable import merged, prepared, weights_dtype
from training.text.policy import check_fits, forbidden_token_ids, load_policy, save_policy

if TYPE_CHECKING:
    from peft import PeftModel  # slow to import


@dataclass
class Networks:
    """Everything with weights: what writes, what it is held to, what scores it, and what learns beside it."""

    policy: PreTrainedModel
    reference: PreTrainedModel | None  # frozen; None: the policy with its adapters switched off
    reward_model: PreTrainedModel  # frozen
    critic: ValueModel | None  # None: advantages need none, or nothing learns
    tokenizer: PreTrainedTokenizerBase
    averaged: PreTrainedModel | None = None  # moving average of the policy's weights; None: nothing learns
    adapters: dict[str, "PeftModel"] = field(default_factory=dict)  # owners of those in `policy` and `averaged`
    hashes: dict[str, str] = field(default_factory=dict)  # of what was loaded and stays as it is
    _restores: list[Callable[[], None]] = field(default_factory=list)  # functions that reassemble sharded networks

    @cached_property
    def forbidden(self) -> Tensor:
        """The ids [F] that no policy may write."""
        return forbidden_token_ids(self.policy, self.tokenizer)

    @property
    def sharded(self) -> bool:
        """Whether every process holds a part of each network only."""
        return bool(self._restores)

    @contextmanager
    def as_reference(self) -> Iterator[PreTrainedModel]:
        """Provide the network that the KL divergence is measured from."""
        if self.reference is not None:
            yield self.reference
            return
        from training.run.lora import without_adapters  # peft is slow to import

        with without_adapters(self.policy):
            yield self.policy

    def check_fits(self, tokens: int) -> None:
        """Raise ValueError if a sequence of so many tokens is longer than the positions of any network."""
        for network in (self.policy, self.reference, self.reward_model):
            if network is not None:
                check_fits(network, tokens)

    def check_alike(self, when: str) -> None:
        """Raise RuntimeError unless all processes hold the same networks."""
        if parallel.process_count() > 1:
            learning = filter(None, (self.policy, self.averaged, self.critic))
            parallel.check_alike(" ".join(map(weights_hash, learning)), when)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Return the trained weights by network."""
        networks: dict[str, Any] = {"policy": self.policy, "averaged": self.averaged, "critic": self.critic}
        return {
            name: trained_state(network, self.policy if name == "averaged" else None)
            for name, network in networks.items()
            if network is not None
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Put the trained weights of `state` into the networks."""
        for name in state.keys() & {"policy", "averaged", "critic"}:
            getattr(self, name).load_state_dict(state[name], strict=False)  # frozen weights are not in it

    def shard(self) -> None:
        """Divide the weights of all networks among the processes."""
        networks = (self.policy, self.averaged, self.critic, self.reference, self.reward_model)
        self._restores = [parallel.shard(network) for network in networks if network is not None]

    def average(self, decay: float) -> None:
        """Move the averaged weights towards the policy's: `decay` of what they were, the rest of what those are."""
        assert self.averaged is not None  # the policy learns
        with torch.no_grad():
            for average, weights in zip(self.averaged.parameters(), self.policy.parameters(), strict=True):
                if weights.requires_grad:
                    average.lerp_(weights, 1 - decay)

    def settle(self) -> None:
        """Make the networks whole in the first process, which continues alone; the others end here."""
        if not self.sharded:
            self.check_alike("at the end")
        for restore in self._restores:
            restore()
        parallel.leave()

    def save(self, name: str, folder: Path) -> None:
        """Write `policy` or `averaged` to a folder, adapters merged into it and beside it."""
        save_policy(merged(getattr(self, name), self.adapters.get(name), folder), self.tokenizer, folder)


def load(config: PPOConfig, run_folder: RunFolder, state: dict[str, Any] | None) -> Networks:
    """Load the networks of a run, try and check them, and make them ready to learn or freeze them.

    `state` is the run's saved one: raise ValueError if a network is not the one that it began with.
    """
    dtype = weights_dtype(config)
    reference, tokenizer = load_policy(config.init_from, dtype, config)
    if config.continue_from:
        policy, policy_tokenizer = load_policy(config.continue_from, dtype, config)
    else:  # a copy need not be tried again
        policy, policy_tokenizer = deepcopy(reference), tokenizer
    reward_model, reward_tokenizer, _ = load_reward_model(config.reward_model, dtype)
    trial.report(run_folder, "init_from", config.init_from, trial.findings(reference, tokenizer))
    trial.report(run_folder, "reward_model", config.reward_model, trial.findings_of_scores(reward_model))
    _check_vocabularies(tokenizer, policy_tokenizer, config.continue_from, config)
    _check_vocabularies(tokenizer, reward_tokenizer, config.reward_model, config)
    _check_reward_model(reward_model, config, run_folder)
    hashes = {"reference": weights_hash(reference), "reward_model": weights_hash(reward_model)}
    if config.continue_from:  # adapters are added to it
        hashes["policy"] = weights_hash(policy)
    parallel.check_alike(" ".join(hashes.values()), "at the start")
    if state is not None:
        _check_unchanged(hashes, state, config)

    policy, adapted = prepared(policy, config)
    policy.train(config.gradient_checkpointing)  # the only mode in which activations are recomputed
    if adapted and config.continue_from is None:
        reference = None  # it is the policy with its adapters switched off
    averaged, adapted_average = _averaged(policy, adapted, config)
    for network in filter(None, (reward_model, reference)):
        network.to(device()).requires_grad_(False)
    networks = Networks(
        policy,
        reference,
        reward_model,
        _critic(reward_model, config),
        tokenizer,
        averaged,
        {"policy": adapted, "averaged": adapted_average} if adapted else {},
        hashes,
    )
    networks.check_alike("at the start")  # sharded networks cannot be compared
    return networks


def _averaged(policy: Any, adapted: Any, config: PPOConfig) -> tuple[Any, Any]:
    """Return a copy of the policy for averaged weights, and its adapters' owner or None.

    Frozen weights are not copied unless they are sharded, which cannot be shared between networks.
    """
    if adapted is None:
        return deepcopy(policy), None
    shared = {} if config.sharded else {id(p): p for p in policy.parameters() if not p.requires_grad}
    owner = deepcopy(adapted, shared)
    return owner.get_base_model(), owner


def _critic(reward_model: Any, config: PPOConfig) -> ValueModel | None:
    if config.advantage != "gae":
        return None
    critic = ValueModel(reward_model, config.lora_rank, share=not config.sharded)
    if config.gradient_checkpointing:
        critic.body.activation_checkpointing_enable({"use_reentrant": False})
        critic.train()
    return critic


def _check_unchanged(hashes: dict[str, str], state: dict[str, Any], config: PPOConfig) -> None:
    paths = {"reference": config.init_from, "reward_model": config.reward_model, "policy": config.continue_from}
    for name, found in hashes.items():
        if state.get(name) != found:
            raise ValueError(f"{paths[name]}: the network changed since the run began; start a new run")


def _check_vocabularies(
    tokenizer: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase, path: Path | None, config: PPOConfig
) -> None:
    if tokenizer.get_vocab() != other.get_vocab() or tokenizer.eos_token_id != other.eos_token_id:
        raise ValueError(
            f"{path}: its vocabulary ({len(other)} tokens) is not that of {config.init_from} ({len(tokenizer)}); "
            "sampled tokens are scored as they are, so all networks of a run need one tokenizer"
        )


def _check_reward_model(reward_model: Any, config: PPOConfig, run_folder: RunFolder) -> None:
    """Raise ValueError if the reward model is not clearly better than a coin; warn if that is allowed or unmeasured."""
    metrics = getattr(reward_model.config, "reward_metrics", None) or {}
    measured = [name for name in ("validation", "held_out_labelers") if f"accuracy/{name}" in metrics]
    if not measured:
        run_folder.report(
            Warned(message=f"{config.reward_model}: its accuracy on held-out comparisons was never measured")
        )
        return
    accuracy, low, high = (metrics[f"accuracy/{measured[0]}{end}"] for end in ("", "_low", "_high"))
    if low > 0.5:
        return
    what = f"its accuracy on held-out comparisons is {accuracy:.1%} (95 % interval {low:.1%} to {high:.1%})"
    pairs, prompts = (metrics.get(f"accuracy/{measured[0]}{count}") for count in ("_pairs", "_prompts"))
    what += f" in {pairs:.0f} pairs of {prompts:.0f} prompts" if pairs and prompts else ""
    if config.allow_weak_reward_model:
        run_folder.report(Warned(message=f"{config.reward_model}: {what}, not clearly better than a coin toss"))
        return
    raise ValueError(
        f"reward_model: {config.reward_model}: {what}, not clearly better than a coin toss, so PPO would chase noise; "
        "collect more comparisons or check that labelers agree, or set allow_weak_reward_model=true to train anyway"
    )
