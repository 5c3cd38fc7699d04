"""PPO against a reward model, with a share of pretraining gradient where gamma > 0: PPO-ptx [InstructGPT 3.5, C.4]."""

import math
import time
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.contract.configs import PPOConfig
from training.contract.events import Finished, Metrics, Progress, Sample, Started, Warned
from training.contract.intervals import grouped
from training.ppo import networks as ppo_networks
from training.ppo.data import Prompt, generator_for, read_pretraining, read_prompts
from training.ppo.diagnostics import alarms, describe, ends, judged, over_optimisation
from training.ppo.learner import Learner, learner_state, new_learner
from training.ppo.networks import Networks
from training.ppo.rollout import Episodes, roll_out
from training.ppo.update import update
from training.run.command import main
from training.run.run_folder import RunFolder
from training.text.formatting import decode_completion

RESUMABLE = True
SHOWN = 3  # samples reported per iteration, and per network at the end


def run(config: PPOConfig, run_folder: RunFolder) -> None:
    """Train, score raw and averaged weights on validation prompts, save both and choose one."""
    torch.manual_seed(config.seed)  # before anything is drawn, so that every process draws the same
    state = run_folder.load_state()
    done = state["learner"]["iteration"] if state else 0
    run_folder.report(Started(verb=config.verb, total_steps=config.iterations, resumed_from_step=done))
    networks = ppo_networks.load(config, run_folder, state)
    prompts = read_prompts(config, networks.tokenizer, run_folder)
    networks.check_fits(prompts.longest() + config.max_completion_tokens)
    pretraining = read_pretraining(config, networks)
    learner = new_learner(networks, config, state and state["learner"])
    del state

    def save() -> None:
        run_folder.save_state({"learner": learner_state(learner), **networks.hashes})

    stopped_by_kl = False
    while learner.iteration < config.iterations and not stopped_by_kl:
        began, step = time.monotonic(), learner.iteration + 1
        asked = prompts.of(learner.iteration, config)
        generator = generator_for(config, learner.iteration, "sampling")
        episodes = roll_out([prompt.ids for prompt in asked], networks, config, generator)
        _check_scores(episodes, step, config)
        numbers = _described(episodes, asked, networks.tokenizer, config)
        stopped_by_kl = numbers["kl_nats"] > (config.stop_at_kl_nats or math.inf)
        if learner.iteration % config.sample_every_iterations == 0 or stopped_by_kl:
            _report_samples(run_folder, episodes, networks, learner.iteration, every=config.samples_per_prompt)
        if not stopped_by_kl:
            numbers |= update(learner, episodes, pretraining, config)
        _report(run_folder, learner, numbers, step, time.monotonic() - began, config)
        if not stopped_by_kl:
            run_folder.checkpoint_stop(save)
            if step % config.save_every_iterations == 0 or step == config.iterations:
                save()

    networks.settle()
    run_folder.write_text("over_optimisation.csv", over_optimisation(run_folder.path / "events.jsonl"))
    result = {
        **_evaluate_and_save(learner, prompts.evaluation, config, run_folder),
        "iterations": learner.iteration,
        "optimizer_steps": learner.steps,
        "stopped_by_kl": stopped_by_kl,
        "beta": learner.beta,
    }
    run_folder.report(Finished(result=result))


def _check_scores(episodes: Episodes, step: int, config: PPOConfig) -> None:
    """Raise ValueError if a score is not finite."""
    if not bool(episodes.scores.isfinite().all()):
        raise ValueError(
            f"reward_model: {config.reward_model}: its scores are not finite in iteration {step}; set "
            "dtype = float32, or take an earlier checkpoint of it"
        )


def _described(
    episodes: Episodes, prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase, config: PPOConfig
) -> dict[str, float]:
    """Return the episodes' numbers, with the judge's if the config names one."""
    numbers = describe(episodes)
    if config.judge:
        numbers |= judged(episodes, [prompt.text for prompt in prompts], tokenizer)
    return numbers


def _report(
    run_folder: RunFolder, learner: Learner, numbers: dict[str, float], step: int, seconds: float, config: PPOConfig
) -> None:
    """Report numbers, progress and, once each, alarms."""
    learner.first = learner.first or numbers
    values = {f"ppo/{name}": value for name, value in {**numbers, "seconds": seconds}.items()}
    run_folder.report(Metrics(step=step, values=values))
    note = f"score {numbers['score']:.2f}, KL {numbers['kl_nats']:.2f} nats"
    run_folder.report(Progress(step=step, total_steps=config.iterations, note=note))
    for name, message in alarms(numbers, learner.first).items():
        if name not in learner.warned:
            learner.warned.append(name)
            run_folder.report(Warned(message=f"iteration {step}: {message}"))


def _report_samples(
    run_folder: RunFolder, episodes: Episodes, networks: Networks, step: int, every: int = 1, source: str = ""
) -> None:
    tokenizer = networks.tokenizer
    for row in range(0, len(episodes), every)[:SHOWN]:
        run_folder.report(
            Sample(
                step=step,
                prompt=tokenizer.decode(episodes.prompt(row), skip_special_tokens=True),
                completion=decode_completion(tokenizer, episodes.completion(row)),
                score=float(episodes.scores[row]),
                source=source,
            )
        )


def _evaluate_and_save(
    learner: Learner, prompts: Sequence[Prompt], config: PPOConfig, run_folder: RunFolder
) -> dict[str, Any]:
    """Score start, raw and averaged weights on the same prompts with the same draws; save the last two, choose one."""
    networks = learner.networks

    def by(network: Any) -> Episodes:
        writers = replace(networks, policy=network, critic=None)
        return roll_out([prompt.ids for prompt in prompts], writers, config, generator_for(config, 0, "evaluation"))

    with networks.as_reference() as start:
        episodes = {"start": by(start)}
    episodes |= {"policy": by(networks.policy), "policy_ema": by(networks.averaged)}
    measured = {}
    for name, each in episodes.items():
        numbers = _described(each, prompts, networks.tokenizer, config)
        numbers |= ends(each, [prompt.text for prompt in prompts], networks.tokenizer, bool(config.judge))
        measured[name] = {f"evaluation/{key}": value for key, value in numbers.items()}
        _report_samples(run_folder, each, networks, learner.iteration, source=name)
    clusters = [tuple(prompt.ids) for prompt in prompts]
    raw_is_better = clearly_better(episodes["policy"].scores, episodes["policy_ema"].scores, clusters)
    best = "policy" if raw_is_better else "policy_ema"
    for name, field in (("policy", "policy"), ("policy_ema", "averaged")):
        write = partial(networks.save, field)
        run_folder.save_checkpoint(name, write, name, learner.iteration, measured[name], chosen=name == best)
    return {"checkpoint": f"checkpoints/{best}", **measured}


def clearly_better(scores: Tensor, others: Tensor, prompts: Sequence[Hashable] | None = None) -> bool:
    """Return whether scores (N,) exceed the others' on the same prompts by over two standard errors of the difference.

    `prompts` says which of the N are of one prompt and so one observation; by default each is its own.
    """
    groups = grouped((scores - others).tolist(), range(len(scores)) if prompts is None else prompts)
    difference = torch.tensor([fmean(group) for group in groups], dtype=torch.float64)
    return len(groups) > 1 and float(difference.mean()) > 2 * float(difference.std()) / len(groups) ** 0.5


if __name__ == "__main__":
    main("train_ppo")
