"""The input of each step of a plan: the filter of its snapshot, the config of its job, the plan of its round."""

from collections.abc import Collection

from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.checkpoints import queries as checkpoint_queries
from app.checkpoints import rules as checkpoints
from app.checkpoints.tables import Checkpoint
from app.errors import BadInput, NotFound
from app.jobs.tables import Job, JobVerb
from app.kit.i18n import gettext as _
from app.plans import queries
from app.plans.schemas import NextRound, PlanConfig, Source, Training
from app.plans.tables import Plan, StepName
from app.rounds.rules import choose_prompts
from app.rounds.schemas import PromptFilter
from app.rounds.tables import ItemKind
from app.snapshots import contents, filters
from app.snapshots import rules as snapshots
from app.snapshots.left_out import KINDS
from app.snapshots.queries import closed_training_rounds
from app.snapshots.schemas import SnapshotFilter
from app.snapshots.tables import Snapshot
from training.contract import recipes
from training.contract.records import PRETRAINING_TEXT, Purpose, Split

LEASE_SECONDS = 120
_VERBS = {
    StepName.BASE: (JobVerb.TRAIN_BASE, "train_base"),
    StepName.SFT: (JobVerb.TRAIN_SFT, "sft"),
    StepName.SFT_FOR_PPO: (JobVerb.TRAIN_SFT, "sft_for_ppo"),
    StepName.REWARD_MODEL: (JobVerb.TRAIN_REWARD_MODEL, "reward_model"),
    StepName.PPO: (JobVerb.TRAIN_PPO, "ppo"),
}
_DATA = {
    StepName.SFT: StepName.SNAPSHOT_SFT,
    StepName.SFT_FOR_PPO: StepName.SNAPSHOT_SFT,
    StepName.REWARD_MODEL: StepName.SNAPSHOT_RM,
    StepName.PPO: StepName.SNAPSHOT_PPO,
}


def check_collections(session: Session, config: PlanConfig) -> None:
    """Raise BadInput if the plan names a collection that does not exist or holds nothing for its purpose."""
    for purpose, field in ((Purpose.RM, "imported"), (Purpose.PPO, "collections")):
        try:
            filters.check_collections(session, purpose, getattr(config, field) or (), config.also)
        except BadInput as error:
            raise BadInput(f"{field}: {error.message}", field="config") from error


def check(session: Session, config: PlanConfig) -> None:
    """Raise BadInput if a later step of the plan could not be started."""
    if config.base:
        try:
            checkpoint_queries.find(session, config.base)
        except NotFound as error:
            raise BadInput(error.message, field="base") from error
    for verb, field in [*_VERBS.values(), (JobVerb.SAMPLE_COMPLETIONS, "sample")]:
        training: Training = getattr(config, field)
        given = training.config()
        stand_ins = {name: "later" for name in recipes.CONFIGS[verb].required if name not in given}
        _complete(verb, field, {**given, **stand_ins})


def _complete(verb: str, field: str, keys: dict) -> recipes.Config:
    """Return the complete config of a job; raise BadInput."""
    try:
        return recipes.make_config(verb, keys)
    except ValueError as error:
        raise BadInput(f"{field}: {error}", field="config") from error


def _config(plan: Plan) -> PlanConfig:
    return PlanConfig.model_validate(plan.config)


def with_changes(config: dict, step: str, set: dict) -> dict:
    """Return the plan's config with overrides added to a step's job."""
    field = "sample" if step.startswith("sample_") else _VERBS[StepName(step)][1]
    training = {**config[field], "set": {**config[field]["set"], **set}}
    return {**config, field: training}


def mix(round: NextRound, there: Collection[Source]) -> dict[Source, int]:
    """Return how many completions each model writes; the share of a missing model goes to the policy, else to SFT."""
    heir = next(source for source in (Source.POLICY, Source.SFT) if source in there)
    shares: dict[Source, int] = {}
    for source in Source:
        if count := round.mix.get(source, 0):
            source = source if source in there else heir
            shares[source] = shares.get(source, 0) + count
    return {source: shares[source] for source in Source if source in shares}


def shares(plan: Plan) -> dict[Source, int]:
    """Return the mix of this plan's next round, based on the sampling steps that the plan has."""
    there = {Source(step.name.removeprefix("sample_")) for step in plan.steps if step.name.startswith("sample_")}
    return mix(_config(plan).round_to_make(), there | {Source.SFT})


def step_job(plan: Plan, name: str) -> Job | None:
    """Return the job of the step with this name, or None."""
    return next((step.job for step in plan.steps if step.name == name), None)


def step_snapshot(plan: Plan, name: str) -> Snapshot | None:
    """Return the snapshot of the step with this name, or None."""
    return next((step.snapshot for step in plan.steps if step.name == name), None)


def network(session: Session, plan: Plan, source: Source | str) -> Checkpoint:
    """Return the checkpoint that a source or a step's name refers to; raise NotFound."""
    config = _config(plan)
    if source == Source.BASE and config.base:
        return checkpoint_queries.find(session, config.base)
    if source == Source.PREVIOUS:
        found = queries.last_policy(session, plan)
    else:
        job = step_job(plan, StepName.PPO if source == Source.POLICY else source)
        found = checkpoint_queries.chosen_of(session, job) if job else None
    if found is None:
        raise NotFound(_("There is no checkpoint of %(source)s.") % {"source": source})
    return found


def answers(session: Session, purpose: Purpose, config: PlanConfig) -> SnapshotFilter:
    """Return the filter of what a plan trains on: all closed training rounds, and for SFT the few-shot pairs too.

    The few-shot pairs belong to no round.
    """
    collections = config.imported
    if purpose is Purpose.SFT:
        collections = filters.usable_collections(session, purpose, config.also)
    rounds = [round.number for round in closed_training_rounds(session)]
    return SnapshotFilter(rounds=rounds, also=config.also, collections=collections)


def count_answers(session: Session, purpose: Purpose, config: PlanConfig) -> tuple[int, dict[str, int]]:
    """Count the answers that the purpose needs: how many a plan would train on, and the omitted ones by reason."""
    needed, _others = KINDS[purpose]
    held, left_out = contents.count_rows(session, purpose, answers(session, purpose, config))
    return sum(held[kind] for kind in needed), {
        name: count for name, count in left_out.items() if name.startswith(tuple(needed))
    }


def queue_snapshot(session: Session, plan: Plan, name: str) -> Snapshot:
    """Queue the snapshot of a step."""
    config = _config(plan)
    by = session.get(Account, plan.created_by_id) if plan.created_by_id else None
    if name == StepName.SNAPSHOT_SFT:
        purpose, filter = Purpose.SFT, answers(session, Purpose.SFT, config)
    elif name == StepName.SNAPSHOT_RM:
        purpose, filter = Purpose.RM, answers(session, Purpose.RM, config)
    elif name == StepName.SNAPSHOT_PPO:
        purpose, filter = Purpose.PPO, SnapshotFilter(collections=config.collections)
    else:
        purpose, filter = Purpose.PPO, SnapshotFilter(prompts=_prompts_to_compare(session, plan, config))
    return snapshots.create(session, purpose, filter, name=f"{plan.name}: {name}"[:120], by=by)


def _prompts_to_compare(session: Session, plan: Plan, config: PlanConfig) -> list[str]:
    """Return public ids of the next round's prompts, split by validation share; unused prompts come first."""
    wanted = config.round_to_make()
    validation = round(wanted.prompts * wanted.validation_share)
    chosen: list[str] = []
    for split, count in ((Split.TRAIN, wanted.prompts - validation), (Split.VALIDATION, validation)):
        here: dict[str, None] = {}
        for fresh in (True, False):
            filter = PromptFilter(
                collections=config.collections or [], splits=[split], fresh=fresh, seed=plan.round.number
            )
            here |= {found.public_id: None for found in choose_prompts(session, filter, ItemKind.COMPARISON)}
        chosen += list(here)[:count]
    if not chosen:
        raise BadInput(
            _("the collections %(names)s hold no prompts to compare completions of; import some.")
            % {"names": ", ".join(config.collections or [])}
        )
    return chosen


def queue_job(session: Session, plan: Plan, name: str) -> Job:
    """Queue the job of a step.

    Base and SFT steps reuse a queued, running or finished job with the same config over the same data.
    """
    config = _config(plan)
    by = session.get(Account, plan.created_by_id) if plan.created_by_id else None
    title = f"{plan.name}: {name}"[:120]
    if name == StepName.BASE:
        full = _complete("train_base", "train_base", config.train_base.config()).model_dump(mode="json")
        known = queries.same_job(session, "train_base", full, None)
        return known or checkpoints.create_job(session, "train_base", full, name=title, by=by)
    if name.startswith("sample_"):
        source = Source(name.removeprefix("sample_"))
        keys = {
            "init_from": checkpoints.reference(network(session, plan, source)),
            # All K even where fewer are needed: duplicates of another model's completions do not count.
            "completions_per_prompt": config.round_to_make().completions,
            **_lengths(plan, config),
            **config.sample.config(),
        }
        data = step_snapshot(plan, StepName.PROMPTS)
        return checkpoints.create_job(session, JobVerb.SAMPLE_COMPLETIONS, keys, snapshot=data, name=title, by=by)
    verb, field = _VERBS[StepName(name)]
    data = step_snapshot(plan, _DATA[StepName(name)])
    assert data is not None, name  # an earlier step has made it
    keys = {**_inputs(session, plan, name, config), **getattr(config, field).config()}
    full = _complete(verb, field, {**keys, "data": f"snapshot:{data.public_id}"}).model_dump(mode="json")
    if name in (StepName.SFT, StepName.SFT_FOR_PPO) and (known := queries.same_job(session, verb, full, data)):
        return known
    return checkpoints.create_job(session, verb, keys, snapshot=data, name=title, by=by)


def _inputs(session: Session, plan: Plan, name: str, config: PlanConfig) -> dict:
    """Return the checkpoints that a training step starts from."""
    base = network(session, plan, Source.BASE)
    if name in (StepName.SFT, StepName.SFT_FOR_PPO):
        inputs = {"init_from": checkpoints.reference(base)}
    elif name == StepName.REWARD_MODEL:
        return {"init_from": checkpoints.reference(network(session, plan, Source.SFT))}
    else:
        inputs = {
            "init_from": checkpoints.reference(network(session, plan, StepName.SFT_FOR_PPO)),
            "reward_model": checkpoints.reference(network(session, plan, StepName.REWARD_MODEL)),
        }
        if config.continue_from_last and (last := queries.last_policy(session, plan)):
            inputs["continue_from"] = checkpoints.reference(last)
    if name != StepName.SFT and (checkpoints.folder(base) / PRETRAINING_TEXT).is_file():
        inputs["pretraining_text"] = checkpoints.reference(base, PRETRAINING_TEXT)
    return inputs


def _lengths(plan: Plan, config: PlanConfig) -> dict:
    """Return the token limits of SFT training, which the samples keep too."""
    trained = _complete("train_sft", "sft", {**config.sft.config(), "data": "later", "init_from": "later"})
    return {name: getattr(trained, name) for name in ("max_prompt_tokens", "max_completion_tokens")}
