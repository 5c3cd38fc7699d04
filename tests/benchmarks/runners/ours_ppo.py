"""A batch of work.json by the parts of train_ppo: episodes, what is told of them, and the update."""

import torch
from runners.answer import answer, work
from runners.ending import end_with

from training.contract.configs import PPOConfig
from training.ppo.data import generator_for
from training.ppo.diagnostics import describe
from training.ppo.learner import new_learner
from training.ppo.networks import Networks
from training.ppo.rollout import roll_out
from training.ppo.update import update
from training.ppo.value_model import ValueModel
from training.reward.model import load_reward_model
from training.text.policy import load_policy

folder, given = work()
torch.set_num_threads(1)
policy, tokenizer = load_policy(folder / "policy" / "network")
reference, _ = load_policy(folder / "policy" / "network")
reward_model, _, _ = load_reward_model(folder / "reward_model" / "network")
for network in (policy, reference):
    end_with(network, tokenizer, given["end_share"])
frozen = [network.requires_grad_(False) for network in (reference, reward_model)]
config = PPOConfig(
    batch_size=len(given["prompts"]),
    minibatch_size=len(given["prompts"]) // given["minibatches"],
    max_completion_tokens=given["completion_tokens"],
    policy_learning_rate=given["learning_rate"],
    value_learning_rate=given["learning_rate"],
    micro_batch_tokens=2048,
)
networks = Networks(policy, reference, reward_model, ValueModel(reward_model), tokenizer)
learner = new_learner(networks, config)


def run() -> dict[str, float]:
    """One iteration."""
    generator = generator_for(config, learner.iteration, "sampling")
    before = learner.steps
    episodes = roll_out(given["prompts"], networks, config, generator)
    describe(episodes)
    update(learner, episodes, None, config)
    return {"steps": learner.steps - before, "work": len(episodes), "written": int(episodes.mask.sum())}


answer(run)
