"""The round that a plan ends with: its prompts, the mix of models that answer them, and new demonstrations."""

from sqlalchemy.orm import Session

from app.accounts.rules import record
from app.accounts.tables import Account
from app.assignments.rules import open_round
from app.checkpoints import rules as checkpoints
from app.errors import BadInput
from app.kit.i18n import gettext as _
from app.plans import steps
from app.plans.schemas import PlanConfig
from app.plans.tables import Plan
from app.rounds import rules as rounds
from app.rounds.schemas import PolicyShare, PromptFilter, RoundPlan
from app.rounds.tables import Round
from training.contract.records import Split


def make(session: Session, plan: Plan) -> Round:
    """Create the plan's next round from the stored completions; open it if the plan says so. Raise BadInput."""
    wanted = PlanConfig.model_validate(plan.config).round_to_make()
    by = session.get(Account, plan.created_by_id) if plan.created_by_id else None
    number = plan.round.number
    made = rounds.create(
        session,
        name=wanted.name or _("After round %(number)s") % {"number": number},
        plan=RoundPlan(
            demonstrations=_demonstrations(plan),
            comparisons=_comparisons(plan),
            policies=_policies(session, plan, by) if wanted.prompts else [],
            completions=wanted.completions,
            seed=number,
        ),
        overlap=wanted.overlap,
        pools=wanted.pools,
        priority=wanted.priority,
        reserved_for_people=wanted.reserved_for_people,
        by=by,
    )
    if not rounds.resample_items(session, made):
        raise BadInput(
            _("no prompt has two distinct completions; sample more of them (completions), or use a higher temperature.")
        )
    if wanted.open:
        open_round(session, made)
        record(session, by, "round.open", made.public_id)
    plan.next_round_id = made.id
    session.flush()
    return made


def _comparisons(plan: Plan) -> PromptFilter | None:
    snapshot = steps.step_snapshot(plan, "prompts")
    return PromptFilter(prompts=snapshot.filter["prompts"]) if snapshot else None


def _demonstrations(plan: Plan) -> PromptFilter | None:
    config = PlanConfig.model_validate(plan.config)
    wanted = config.round_to_make()
    if not wanted.demonstrations:
        return None
    return PromptFilter(
        collections=config.collections or [],
        splits=[Split.TRAIN],
        fresh=True,
        count=wanted.demonstrations,
        seed=plan.round.number,
    )


def _policies(session: Session, plan: Plan, by: Account | None) -> list[PolicyShare]:
    counts: dict[str, int] = {}
    for source, count in steps.shares(plan).items():
        name = checkpoints.make_policy(session, steps.network(session, plan, source), by=by).name
        counts[name] = counts.get(name, 0) + count
    return [PolicyShare(policy=name, count=count) for name, count in counts.items()]
