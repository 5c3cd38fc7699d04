"""Reading the rankings in a row of a file, in the formats of Plumbline and other tools."""

from collections.abc import Callable, Sequence
from enum import StrEnum

import orjson
from pydantic import ValidationError

from app.comparisons import argilla, label_studio
from app.comparisons.pairs import read_pair
from app.comparisons.rankings import Order, Ranked, Ranking, labeler_of
from app.errors import BadInput
from app.kit.given import Given, Problem, Row
from app.kit.i18n import gettext as _
from app.kit.text import require_text
from app.prompts.imports import PromptDefaults, drafts_of
from app.prompts.messages import canonical
from app.prompts.schemas import PromptDraft
from training.contract.records import ComparisonRecord, Pool, Split

MOST = 9  # maximum number of completions in a comparison


class ComparisonFormat(StrEnum):
    """What one row of the file is."""

    HH = "hh"  # {"chosen", "rejected"}: two whole dialogues, "\n\nHuman: ...\n\nAssistant: ..."
    PAIRS = "pairs"  # {"prompt", "chosen", "rejected"}: texts or lists of messages
    RANKINGS = "rankings"  # our own export: records.ComparisonRecord
    ARGILLA = "argilla"  # records with a ranking question
    LABEL_STUDIO = "label-studio"  # tasks with a ranker or a pairwise choice


_ORDERS: dict[ComparisonFormat, Callable[[Given], list[Order]]] = {
    ComparisonFormat.ARGILLA: argilla.orders,
    ComparisonFormat.LABEL_STUDIO: label_studio.orders,
}
Read = tuple[Sequence[Ranking], Sequence[str], Sequence[Problem]]  # rankings, why others are left out, problems


def read(row: Row, format: ComparisonFormat, defaults: PromptDefaults, policy: str) -> Read:
    """Return a row's rankings, why others in it do not count, and all its problems."""
    try:
        if format in _ORDERS:
            return _of_orders(row, _ORDERS[format](row.values), defaults, policy)
        if format is ComparisonFormat.RANKINGS:
            ranking, problems = _read_ranking(row, defaults)
        else:
            ranking, problems = read_pair(row, defaults, policy, transcripts=format is ComparisonFormat.HH)
    except BadInput as error:
        return [], [], [Problem(row.line, error.field or "line", error.message)]
    return [ranking] if ranking else [], [], problems


def _of_orders(row: Row, orders: Sequence[Order], defaults: PromptDefaults, policy: str) -> Read:
    rankings = []
    for order in orders:
        if order.left_out:
            continue
        if len(order.texts) > MOST:
            raise BadInput(
                _("%(n)d completions are ranked; a comparison can have at most %(most)d.")
                % {"n": len(order.texts), "most": MOST},
                field="completions",
            )
        drafts, problems = drafts_of(Row(row.line, Given({"messages": order.messages})), defaults)
        if problems:
            return [], [], problems
        tiers = _dense(order.tiers)
        ranked = tuple(Ranked(text, policy, tier) for text, tier in zip(order.texts, tiers, strict=True))
        rankings.append(Ranking(row.line, drafts[0], ranked, order.labeler))
    return rankings, [order.left_out for order in orders if order.left_out], []


def _dense(tiers: Sequence[int | None]) -> list[int | None]:
    """Renumber tiers from 1 without gaps, since only the order counts; raise BadInput if fewer than two have one."""
    given = [tier for tier in tiers if tier is not None]
    if len(given) < 2:
        raise BadInput(
            _("Fewer than two completions have a tier, so the row ranks nothing; add tiers, or remove the row."),
            field="completions.tier",
        )
    places = {tier: place for place, tier in enumerate(sorted(set(given)), 1)}
    return [None if tier is None else places[tier] for tier in tiers]


def _read_ranking(row: Row, defaults: PromptDefaults) -> tuple[Ranking | None, list[Problem]]:
    values = row.values
    given = {name: values.structured(name) if name in ("prompt", "completions") else values[name] for name in values}
    try:
        record = ComparisonRecord.model_validate_json(orjson.dumps(given))
    except ValidationError as error:
        return None, [
            Problem(row.line, ".".join(map(str, found["loc"])) or "line", found["msg"]) for found in error.errors()
        ]
    # A held-out labeler's record of a train prompt says validation, so it may not be the prompt's own split.
    unsure = record.pool is Pool.HELD_OUT and record.split is Split.VALIDATION
    prompt = PromptDraft(
        messages=canonical(record.prompt, "prompt"),
        source=defaults.source,
        use_case=record.use_case,
        owner=defaults.owner,
        split=None if unsure else record.split,
        collection=defaults.collection,
    )
    tiers = _dense([one.tier for one in record.completions])
    completions = tuple(
        Ranked(
            require_text(one.text, f"completions.{number}.text", may_be_empty=True),
            require_text(one.policy, f"completions.{number}.policy", at_most=120),
            tier,
            one.rating,
            {str(flag): answer for flag, answer in one.flags.items() if answer is not None},
            one.shown_position,
        )
        for number, (one, tier) in enumerate(zip(record.completions, tiers, strict=True))
    )
    positions = [one.shown_position for one in completions]
    if set(positions) != {None} and set(positions) != set(range(len(positions))):
        raise BadInput(
            _("The shown positions must be 0 to %(last)d, each once, or all left out.") % {"last": len(positions) - 1},
            field="completions.shown_position",
        )
    labeler, pool = labeler_of(values)
    return Ranking(row.line, prompt, completions, labeler, pool, record.probability), []
