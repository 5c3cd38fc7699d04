"""PPO against a reward model, with a share of pretraining gradient where gamma > 0: PPO-ptx [InstructGPT 3.5, C.4]."""

import time
from collections import Counter
from collections.abc import Hashable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training.contract.configs import PPOConfig
from training.contract.events import Finished, Metrics, Progress, Sample, Started, Warned
from training.contract.intervals import grouped
from training.contract.records import PRETRAINING_TEXT, PROMPTS, PromptRecord, Use
from training.networks import trial
from training.ppo.diagnostics import alarms, describe, ends, judged, over_optimisation
from training.ppo.learner import Learner, Pretraining, endless, generator_for, learner_state, new_learner, update
from training.ppo.rollout import Episodes, roll_out
from training.ppo.value_model import ValueModel
from training.reward.model import load_reward_model
from training.run import parallel
from training.run.command import main
from training.run.optimization import device, merged, prepared, weights_dtype, weights_hash
from training.run.run_folder import RunFolder
from training.run.snapshots import load
from training.text.formatting import decode_completion, encode_prompts, left_out
from training.text.packing import read_documents
from training.text.policy import check_fits, load_policy, max_positions, save_policy

RESUMABLE = True
SHOWN = 3  # samples reported per iteration, and per network at the end


class Asked(NamedTuple):
    """A prompt's token ids for sampling, and its last message for the judge."""

    ids: list[int]
    text: str


def run(config: PPOConfig, run_folder: RunFolder) -> None:
    """Train, score raw and averaged weights on validation prompts, save both and choose one."""
    torch.manual_seed(config.seed)  # before anything is drawn, so that every process draws the same
    state = run_folder.load_state()
    done = state["learner"]["iteration"] if state else 0
    run_folder.report(Started(verb=config.verb, total_steps=config.iterations, resumed_from_step=done))
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
    trained, held_out = _prompts(config, tokenizer, run_folder)
    longest = max(len(prompt.ids) for prompt in trained + held_out) + config.max_completion_tokens
    for network in (policy, reference, reward_model):
        check_fits(network, longest)
    pretraining = _pretraining(config, tokenizer, policy)
    anchors = {"reference": weights_hash(reference), "reward_model": weights_hash(reward_model)}
    paths = {"reference": config.init_from, "reward_model": config.reward_model}
    if config.continue_from:  # adapters are added to it
        anchors["policy"], paths["policy"] = weights_hash(policy), config.continue_from
    parallel.check_alike(" ".join(anchors.values()), "at the start")
    if state is not None:
        for key, path in paths.items():
            if state.get(key) != anchors[key]:
                raise ValueError(f"{path}: the network changed since the run began; start a new run")
    policy, adapted = prepared(policy, config)
    policy.train(config.gradient_checkpointing)
    if adapted and config.continue_from is None:
        reference = None  # it is the policy with its adapters switched off
    averaged, averaged_adapted = _averaged(policy, adapted, config)
    frozen = [network.to(device()).requires_grad_(False) for network in (reference, reward_model) if network]
    # Sharded weights cannot be shared between networks.
    critic = ValueModel(reward_model, config.lora_rank, not config.sharded) if config.advantage == "gae" else None
    if critic and config.gradient_checkpointing:
        critic.body.activation_checkpointing_enable({"use_reentrant": False})
        critic.train()
    _check_alike((policy, averaged, critic), "at the start")  # before sharding, after which they cannot be compared
    learner = new_learner(policy, critic, config, averaged, state and state["learner"], frozen)
    del state

    def save() -> None:
        run_folder.save_state({"learner": learner_state(learner), **anchors})

    stopped_by_kl = False
    while learner.iteration < config.iterations:
        began = time.monotonic()
        iteration = learner.iteration
        size = config.batch_size // config.samples_per_prompt
        places = endless(f"{config.seed} prompts", len(trained), iteration * size, size)
        prompts = [trained[place] for place in places for _ in range(config.samples_per_prompt)]
        generator = generator_for(config, iteration, "sampling")
        ids = [prompt.ids for prompt in prompts]
        episodes = roll_out(ids, learner.policy, reference, reward_model, learner.critic, tokenizer, config, generator)
        if not bool(episodes.scores.isfinite().all()):
            raise ValueError(
                f"reward_model: {config.reward_model}: its scores are not finite in iteration {iteration + 1}; set "
                "dtype = float32, or take an earlier checkpoint of it"
            )
        numbers = _watched(episodes, prompts, tokenizer, config)
        stopped_by_kl = config.stop_at_kl_nats is not None and numbers["kl_nats"] > config.stop_at_kl_nats
        if iteration % config.sample_every_iterations == 0 or stopped_by_kl:
            _report_samples(run_folder, episodes, tokenizer, iteration, every=config.samples_per_prompt)
        if not stopped_by_kl:
            numbers |= update(learner, episodes, pretraining, tokenizer, config)
        learner.first = learner.first or dict(numbers)
        numbers["seconds"] = time.monotonic() - began
        _report(run_folder, learner, numbers, iteration + 1, config)
        if stopped_by_kl:
            break
        run_folder.checkpoint_stop(save)
        if learner.iteration % config.save_every_iterations == 0 or learner.iteration == config.iterations:
            save()

    if not learner.restores:
        _check_alike((learner.policy, learner.averaged, learner.critic), "at the end")
    for restore in learner.restores:
        restore()
    parallel.leave()
    run_folder.write_text("over_optimisation.csv", over_optimisation(run_folder.path / "events.jsonl"))
    owners = {"policy": adapted, "policy_ema": averaged_adapted}
    result = _finish(learner, owners, reference, reward_model, tokenizer, held_out, config, run_folder)
    run_folder.report(
        Finished(
            result={
                **result, "iterations": learner.iteration, "optimizer_steps": learner.steps,
                "stopped_by_kl": stopped_by_kl, "beta": learner.beta,
            }
        )
    )  # fmt: skip


def _check_alike(networks: Sequence[Any], when: str) -> None:
    """Raise RuntimeError unless all processes hold the same networks."""
    if parallel.count() > 1:
        parallel.check_alike(" ".join(weights_hash(network) for network in networks if network is not None), when)


def _averaged(policy: Any, adapted: Any, config: PPOConfig) -> tuple[Any, Any]:
    """Return a copy of the policy for averaged weights, and its adapters' owner or None.

    Frozen weights are not copied unless they are sharded.
    """
    if adapted is None:
        return deepcopy(policy), None
    # Sharded weights cannot be shared between networks.
    shared = {} if config.sharded else {id(p): p for p in policy.parameters() if not p.requires_grad}
    owner = deepcopy(adapted, shared)
    return owner.get_base_model(), owner


def clearly_better(scores: Tensor, others: Tensor, prompts: Sequence[Hashable] | None = None) -> bool:
    """Return whether scores (N,) exceed the others' on the same prompts by over two standard errors of the difference.

    `prompts` says which of the N are of one prompt and so one observation; by default each is its own.
    """
    groups = grouped((scores - others).tolist(), range(len(scores)) if prompts is None else prompts)
    difference = torch.tensor([fmean(group) for group in groups], dtype=torch.float64)
    return len(groups) > 1 and float(difference.mean()) > 2 * float(difference.std()) / len(groups) ** 0.5


def _check_vocabularies(tokenizer: Any, other: Any, path: Path | None, config: PPOConfig) -> None:
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
        run_folder.report(Warned(message=f"{config.reward_model}: {what}, not clear of a coin's 50 %"))
        return
    raise ValueError(
        f"reward_model: {config.reward_model}: {what}, not clear of a coin's 50 %, so PPO would chase noise; collect "
        "more comparisons or check that labelers agree, or set allow_weak_reward_model=true to train all the same"
    )


def _prompts(config: PPOConfig, tokenizer: Any, run_folder: RunFolder) -> tuple[list[Asked], list[Asked]]:
    """Return the train split's prompts, and those that the finished policies are scored on."""
    counts: Counter[str] = Counter()
    records = load(config.data, PROMPTS, PromptRecord, run_folder)
    encoded = encode_prompts(tokenizer, (record.prompt for record in records), config.max_prompt_tokens, counts)
    run_folder.warn_counts(counts)
    by_use: dict[Use, list[Asked]] = {use: [] for use in Use}
    for record, ids in zip(records, encoded, strict=True):
        if ids is not None:
            by_use[record.use].append(Asked(ids, record.prompt[-1].text))
    if not by_use[Use.TRAIN]:
        raise ValueError(
            f"data: {config.data / PROMPTS} has no prompt of the train split left to learn from"
            + left_out(counts, config)
        )
    held_out = by_use[Use.VALIDATION]
    if not held_out:
        run_folder.report(Warned(message="no prompt of the validation split: policies are scored on train prompts"))
        held_out = by_use[Use.TRAIN]
    return by_use[Use.TRAIN], [held_out[i % len(held_out)] for i in range(config.evaluation_episodes)]


def _pretraining(config: PPOConfig, tokenizer: Any, policy: Any) -> Pretraining | None:
    if config.gamma == 0:
        return None
    path = config.pretraining_text or config.init_from / PRETRAINING_TEXT
    if not path.is_file():
        raise ValueError(f"pretraining_text: {path} is no file; give the text that gamma mixes in, or set gamma to 0")
    positions = max_positions(policy) or config.row_tokens
    return Pretraining(read_documents(path), tokenizer, min(config.row_tokens, positions))


def _watched(episodes: Episodes, prompts: Sequence[Asked], tokenizer: Any, config: PPOConfig) -> dict[str, float]:
    numbers = describe(episodes)
    if config.judge:
        numbers |= judged(episodes, [prompt.text for prompt in prompts], tokenizer)
    return numbers


def _report(run_folder: RunFolder, learner: Learner, numbers: dict[str, float], step: int, config: PPOConfig) -> None:
    """Report numbers, progress and, once each, alarms."""
    run_folder.report(Metrics(step=step, values={f"ppo/{name}": value for name, value in numbers.items()}))
    note = f"score {numbers['score']:.2f}, KL {numbers['kl_nats']:.2f} nats"
    run_folder.report(Progress(step=step, total_steps=config.iterations, note=note))
    for name, message in alarms(numbers, learner.first).items():
        if name not in learner.warned:
            learner.warned.append(name)
            run_folder.report(Warned(message=f"iteration {step}: {message}"))


def _report_samples(
    run_folder: RunFolder, episodes: Episodes, tokenizer: Any, step: int, every: int = 1, source: str = ""
) -> None:
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


def _finish(
    learner: Learner,
    owners: dict[str, Any],
    reference: Any,
    reward_model: Any,
    tokenizer: Any,
    prompts: Sequence[Asked],
    config: PPOConfig,
    run_folder: RunFolder,
) -> dict[str, Any]:
    """Score start, raw and averaged weights on the same prompts with the same draws; save the last two, choose one."""
    networks = {"start": reference or learner.policy, "policy": learner.policy, "policy_ema": learner.averaged}
    measured: dict[str, dict[str, float]] = {}
    scores: dict[str, Tensor] = {}
    if reference is None:
        from training.run.lora import without_adapters
    for name, network in networks.items():
        generator = generator_for(config, 0, "evaluation")
        ids = [prompt.ids for prompt in prompts]
        with without_adapters(network) if name == "start" and reference is None else nullcontext():
            episodes = roll_out(ids, network, reference, reward_model, None, tokenizer, config, generator)
        watched = _watched(episodes, prompts, tokenizer, config)
        watched |= ends(episodes, [prompt.text for prompt in prompts], tokenizer, bool(config.judge))
        measured[name] = {f"evaluation/{key}": value for key, value in watched.items()}
        scores[name] = episodes.scores
        _report_samples(run_folder, episodes, tokenizer, learner.iteration, source=name)
    asked = [tuple(prompt.ids) for prompt in prompts]
    best = "policy" if clearly_better(scores["policy"], scores["policy_ema"], asked) else "policy_ema"
    for name in ("policy", "policy_ema"):
        run_folder.save_checkpoint(
            name,
            lambda folder, name=name: save_policy(merged(networks[name], owners[name], folder), tokenizer, folder),
            name,
            learner.iteration,
            measured[name],
            chosen=name == best,
        )
    return {"checkpoint": f"checkpoints/{best}", **measured}


if __name__ == "__main__":
    main("train_ppo")
