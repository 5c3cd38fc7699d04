"""Comparison records as training data of a reward model: by prompt, with all pairs of all its rankings."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from transformers import PreTrainedTokenizerBase

from training.contract.configs import DPOConfig, RewardModelConfig
from training.contract.events import Warned
from training.contract.records import COMPARISONS, ComparisonRecord, Split, Use
from training.fast.shared_prefix import Group
from training.reward.model import Pair
from training.run.run_folder import RunFolder
from training.run.snapshots import load
from training.text.formatting import encode_comparison, left_out

TIES = "pairs left out: tied, a completion not ranked, or both the same once cut"
SEEN = "rankings left out: by held-out labelers, of texts that are trained on"
OTHER_POOL = "rankings left out: by held-out labelers, who belong to no group"


@dataclass
class RankedPrompt:
    """One prompt's ids, its distinct completions, and the pairs of all its rankings with their distance in tiers."""

    prompt: list[int]
    split: Split
    use_case: str | None = None
    completions: list[list[int]] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    distances: list[int] = field(default_factory=list)
    key: str = ""  # prompt_key

    @property
    def group(self) -> Group:
        """The prompt and its completions, which are computed together."""
        return self.prompt, self.completions

    @property
    def tokens(self) -> int:
        """Tokens computed if the completions share the prompt in one row."""
        return len(self.prompt) + sum(map(len, self.completions))

    @property
    def padded_tokens(self) -> int:
        """Tokens computed if each completion has its own row with the prompt, padded to the longest."""
        return (len(self.prompt) + max(map(len, self.completions))) * len(self.completions)

    def settled(self) -> "RankedPrompt":
        """Return a copy in a fixed order: what was shown first, and to whom, must not decide how sums are rounded."""
        order = sorted(range(len(self.completions)), key=self.completions.__getitem__)
        place = {old: new for new, old in enumerate(order)}
        pairs = sorted(
            (pair._replace(chosen=place[pair.chosen], rejected=place[pair.rejected]), distance)
            for pair, distance in zip(self.pairs, self.distances, strict=True)
        )
        return replace(
            self,
            completions=[self.completions[old] for old in order],
            pairs=[pair for pair, _ in pairs],
            distances=[distance for _, distance in pairs],
        )


@dataclass
class Rankings:
    """Prompts to train on, unseen prompts ranked by the same labelers, and unseen prompts ranked by held-out ones."""

    train: list[RankedPrompt]
    validation: list[RankedPrompt]
    held_out_labelers: list[RankedPrompt]

    def longest(self) -> int:
        """Return the most tokens of a prompt with one of its completions."""
        prompts = [*self.train, *self.validation, *self.held_out_labelers]
        return max(len(prompt.prompt) + max(map(len, prompt.completions)) for prompt in prompts)


def check_pairs(prompts: Iterable[RankedPrompt], config: RewardModelConfig | DPOConfig, counts: Counter[str]) -> None:
    """Raise ValueError if no prompt has a pair, with what was left out and why."""
    if not any(prompt.pairs for prompt in prompts):
        raise ValueError(
            f"data: {config.data / COMPARISONS} has no pair to learn from (train split, train pool, tiers that differ)"
            + left_out(counts, config)
        )


def warn_of_large_groups(sizes: Iterable[int], limit: int, run_folder: RunFolder) -> None:
    """Warn of the largest group of a prompt's completions, in tokens, if it exceeds the limit of a forward pass.

    A group is computed together, because the loss of a pair needs both scores at once: no limit splits it.
    """
    largest = max(sizes, default=0)
    if largest > limit:
        run_folder.report(
            Warned(
                message=f"micro_batch_tokens: {limit} does not bound a prompt with its completions, which are computed "
                f"together; the largest has {largest} tokens, and that is what memory has to hold: lower "
                "max_completion_tokens or max_prompt_tokens, or set gradient_checkpointing, if it does not"
            )
        )


def read_rankings(
    config: RewardModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    counts: Counter[str],
    run_folder: RunFolder | None = None,
) -> Rankings:
    """Read the snapshot's rankings by prompt; what is left out or cut is counted in `counts`.

    Rankings are held out by their use or, with folds, if they are by the `fold`-th group of the train pool's labelers.
    The validation split and the test split are measured together.
    """
    records = [(record, record.use) for record in load(config.data, COMPARISONS, ComparisonRecord, run_folder)]
    if config.folds:
        train_pool = [record for record, use in records if use is not Use.HELD_OUT]
        counts[OTHER_POOL] += len(records) - len(train_pool)
        group = labeler_groups(train_pool, config.folds)[config.fold]
        records = [(one, Use.HELD_OUT if _person(one) in group else one.use) for one in train_pool]
    trained_on = {record.text for record, use in records if use is Use.TRAIN}
    train: dict[str, RankedPrompt] = {}
    validation: dict[str, RankedPrompt] = {}
    held_out_labelers: dict[str, RankedPrompt] = {}
    for record, use in records:
        if use is not Use.HELD_OUT:
            part = train if use is Use.TRAIN else validation
        elif record.text not in trained_on:
            part = held_out_labelers
        else:
            counts[SEEN] += 1
            continue
        encoded = encode_comparison(tokenizer, record, config.max_prompt_tokens, config.max_completion_tokens, counts)
        if encoded is not None:
            ranked = part.setdefault(
                record.prompt_key, RankedPrompt(encoded[0], record.split, record.use_case, key=record.prompt_key)
            )
            counts[TIES] += _add(ranked, record, encoded[1], keep_ties=config.tie_margin > 0)
    counts += Counter()  # drops zeros
    return Rankings(
        *([ranked.settled() for ranked in part.values()] for part in (train, validation, held_out_labelers))
    )


def _add(ranked: RankedPrompt, record: ComparisonRecord, completions: Sequence[list[int]], keep_ties: bool) -> int:
    """Add one ranking to its prompt's; returns how many of its pairs are left out.

    Two completions that begin alike may be identical once cut: no score can separate them.
    """
    places = []
    for completion in completions:
        if completion not in ranked.completions:
            ranked.completions.append(completion)
        places.append(ranked.completions.index(completion))
    tiers = {place: one.tier for place, one in enumerate(record.completions) if one.tier is not None}
    sure = 1.0 if record.probability is None else record.probability
    pairs = [(Pair(places[a], places[b], sure, 1 - sure), tiers[b] - tiers[a]) for a, b in record.pairs()]
    pairs = [(pair, distance) for pair, distance in pairs if pair.chosen != pair.rejected]
    if keep_ties:
        pairs += [
            (Pair(places[a], places[b], 1.0, 1.0), 0)
            for a, b in combinations(tiers, 2)
            if tiers[a] == tiers[b] and places[a] != places[b]
        ]
    ranked.pairs += [pair for pair, _ in pairs]
    ranked.distances += [distance for _, distance in pairs]
    return math.comb(len(completions), 2) - len(pairs)


def _person(record: ComparisonRecord) -> str:
    """Return the labeler; an unknown one counts as a separate labeler for each prompt."""
    return record.labeler or f"unnamed {record.prompt_key}"


def labeler_groups(records: Iterable[ComparisonRecord], count: int) -> list[set[str]]:
    """Divide the labelers into `count` groups with about equally many rankings [InstructGPT E.2]."""
    rankings = Counter(map(_person, records))
    if len(rankings) < count:
        raise ValueError(
            f"folds: the rankings are by {len(rankings)} labeler(s), who make no {count} groups; take "
            "a lower number, or a snapshot with the rankings of more labelers"
        )
    groups: list[set[str]] = [set() for _ in range(count)]
    sizes = [0] * count
    for labeler, number in sorted(rankings.items(), key=lambda item: (-item[1], item[0])):
        smallest = sizes.index(min(sizes))
        groups[smallest].add(labeler)
        sizes[smallest] += number
    return groups


def joined(prompts: Sequence[RankedPrompt]) -> list[list[Pair]]:
    """Return each prompt's pairs as indices into the completions of all prompts, in order."""
    groups, first = [], 0
    for prompt in prompts:
        groups.append(
            [pair._replace(chosen=first + pair.chosen, rejected=first + pair.rejected) for pair in prompt.pairs]
        )
        first += len(prompt.completions)
    return groups
