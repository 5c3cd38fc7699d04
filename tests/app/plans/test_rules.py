"""Plans: one turn of the loop after the other, what stops one, and how it goes on."""

import re

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import OperationalError

from app.accounts.tables import AccountKind
from app.checkpoints.tables import Checkpoint
from app.completions.tables import Completion
from app.database import reading, transaction
from app.errors import BadInput, Conflict
from app.jobs import rules as jobs
from app.jobs.tables import Job, JobState
from app.plans import queries, rules, tasks
from app.plans.schemas import NextRound, Source
from app.plans.steps import mix, queue_snapshot, step_snapshot
from app.plans.tables import Plan, PlanState, StepState
from app.policies.tables import Policy
from app.prompt_writing import rules as writing
from app.prompt_writing import submitting
from app.prompt_writing.schemas import FewShotExample, WritingCallIn, WritingContent
from app.prompts.hygiene.kinds import PersonalData
from app.prompts.tables import Finding, FindingState, PromptSource
from app.rounds.tables import Item, ItemKind, Round, RoundState
from app.runs import tasks as job_tasks
from tests.loop import add_prompt, fill_round, prompts
from tests.trainer import run, work
from training.contract.records import Split

SFT_STEPS = ["base", "snapshot_sft", "sft", "sft_for_ppo", "prompts", "sample_sft", "round"]
FULL_STEPS = [
    "snapshot_sft", "sft", "sft_for_ppo", "snapshot_rm", "reward_model", "snapshot_ppo", "ppo",
    "prompts", "sample_policy", "sample_sft", "round",
]  # fmt: skip


def start(round: Round, **config) -> Plan:
    """A plan on a round."""
    with transaction() as session:
        return rules.start(session, session.get_one(Round, round.id), config)


def found(plan: Plan) -> Plan:
    """The plan as it is now, steps and all."""
    with reading() as session:
        return queries.find(session, plan.public_id)


def states(plan: Plan) -> dict[str, StepState]:
    """Where each step stands."""
    return {step.name: step.state for step in found(plan).steps}


@pytest.fixture
def bank(database) -> None:
    """Prompts that no round has asked yet."""
    with transaction() as session:
        for task in prompts(40, seed=5):
            add_prompt(session, task)


NEXT = {"prompts": 8, "completions": 4, "validation_share": 0.25}


def test_the_first_plan_has_nothing_to_rank_yet_and_the_second_makes_the_full_turn(bank):
    first = fill_round(prompts(8), comparisons=False, state=RoundState.OPEN)
    handing_out = {"priority": "high", "reserved_for_people": 0.25}
    plan = start(first, next_round={**NEXT, "demonstrations": 3, **handing_out})
    with reading() as session:
        assert session.get_one(Round, first.id).state is RoundState.CLOSED
    assert list(states(plan)) == SFT_STEPS
    assert work() is None
    plan = found(plan)
    assert plan.state is PlanState.FINISHED, plan.error
    with reading() as session:
        made = session.get_one(Round, plan.next_round_id)
        assert (made.priority, made.reserved_percent) == ("high", 25)
        items = session.scalars(select(Item).where(Item.round_id == made.id)).all()
        kinds = {kind: [item for item in items if item.kind is kind] for kind in ItemKind}
        assert made.state is RoundState.OPEN and made.number == 2
        assert len(kinds[ItemKind.COMPARISON]) == 8 and len(kinds[ItemKind.DEMONSTRATION]) == 3
        assert all(len(item.completions) == 4 for item in kinds[ItemKind.COMPARISON])
        splits = [item.prompt.split for item in kinds[ItemKind.COMPARISON]]
        assert splits.count(Split.VALIDATION) == 2
        writers = {place.completion.policy.name for item in items for place in item.completions}
        assert len(writers) == 1  # SFT alone
        assert session.scalar(select(func.count()).select_from(Completion)) >= 8 * 4

    fill_round(prompts(8, seed=9), number=3)  # rankings
    with reading() as session:
        ranked = session.scalar(select(Round).where(Round.number == 3))
    second = start(ranked, next_round={**NEXT, "mix": {"policy": 2, "previous": 1, "sft": 1}})
    assert list(states(second)) == FULL_STEPS  # no last policy yet: its share goes to the new one
    work()
    second = found(second)
    assert second.state is PlanState.FINISHED, second.error
    with reading() as session:
        roles = dict(session.execute(select(Checkpoint.role, func.count()).group_by(Checkpoint.role)).all())
        assert roles == {"base": 1, "sft": 4, "reward_model": 1, "policy": 1}
        ppo = session.scalar(select(Checkpoint).where(Checkpoint.role == "policy"))
        assert ppo.parent.role == "sft" and ppo.reward_model.role == "reward_model" and ppo.round_number == 3
        assert session.scalar(select(Policy.path).join(Checkpoint, Checkpoint.policy_id == Policy.id).where(
            Checkpoint.id == ppo.id)) == ppo.path  # fmt: skip
        item = session.scalars(select(Item).where(Item.round_id == second.next_round_id)).first()
        counts = {}
        for place in item.completions:
            counts[place.completion.policy_id] = counts.get(place.completion.policy_id, 0) + 1
        assert counts[ppo.policy_id] == 3

    fill_round(prompts(8, seed=10), number=5, demonstrations=False)
    with reading() as session:
        ranked = session.scalar(select(Round).where(Round.number == 5))
    third = start(ranked, next_round={**NEXT, "mix": {"policy": 2, "previous": 1, "sft": 1}}, continue_from_last=True)
    assert "sample_previous" in states(third)
    job = work("train_ppo")
    assert states(third)["sft"] is StepState.FINISHED
    assert job.config["continue_from"] == f"checkpoint:{ppo.public_id}"
    # The same demonstrations and the same recipe: the SFT networks of the second plan are taken over.
    taken = {step.name: step.job_id for step in found(third).steps}
    before = {step.name: step.job_id for step in second.steps}
    assert (taken["sft"], taken["sft_for_ppo"]) == (before["sft"], before["sft_for_ppo"])
    assert taken["reward_model"] != before["reward_model"]


def test_a_finished_job_and_the_step_after_it_are_one_transaction(bank, monkeypatch):
    plan = start(fill_round(prompts(8)), next_round=None)
    job = work("train_sft")

    class Broken(Exception):
        pass

    def breaks(session, *, job=None, snapshot=None):
        rules_advance(session, job=job, snapshot=snapshot)
        raise Broken

    rules_advance = rules.advance_after
    monkeypatch.setattr("app.runs.supervisor.plans.advance_after", breaks)
    with pytest.raises(Broken):
        run(job)
    monkeypatch.undo()
    with reading() as session:
        assert session.get_one(Job, job.id).state is JobState.RUNNING  # neither the end nor the next step
    assert states(plan)["sft"] is StepState.RUNNING and states(plan)["sft_for_ppo"] is StepState.WAITING


def test_a_failed_job_stops_the_plan_with_its_reason_and_the_plan_goes_on_when_it_is_mended(bank):
    from training.contract import events
    from training.run.run_folder import RunFolder

    plan = start(fill_round(prompts(8)), next_round=None)
    job = work("train_ppo")
    with RunFolder(jobs.folder(job)) as folder:
        folder.report(events.Started(verb="train_ppo"))
        folder.report(events.Failed(message="reward_model: right on 52 %, not clear of 50 %"))
    with transaction() as session:
        held = jobs.claim(session, job.id, "worker")
    supervisor = job_tasks.Supervisor(held, lambda: False)
    supervisor.end(1)
    now = found(plan)
    assert now.state is PlanState.FAILED and "not clear of 50 %" in now.error and now.error.startswith("ppo")
    with transaction() as session:
        rules.retry(session, now, None, {"allow_weak_reward_model": True})
    again = work("train_ppo")
    assert again.id != job.id and again.config["allow_weak_reward_model"] is True
    run(again)
    assert found(plan).state is PlanState.FINISHED


def test_a_job_resumed_on_its_own_page_takes_its_plan_along(bank):
    plan = start(fill_round(prompts(8)), next_round=None)
    job = work("train_sft")
    with transaction() as session:
        jobs.cancel(session, session.get_one(Job, job.id), None)
        rules.advance_after(session, job=job)
    assert found(plan).state is PlanState.FAILED and "canceled" in found(plan).error
    with transaction() as session:
        jobs.resume(session, session.get_one(Job, job.id), None)
    work()
    assert found(plan).state is PlanState.FINISHED


def test_sft_trains_on_the_few_shot_pairs_of_labelers_too(bank, people):
    ana, boss = people.labeler("ana"), people.admin("boss")
    pairs = [FewShotExample(input=word, completion=word.upper()) for word in ("sun", "sky", "sea")]
    with transaction() as session:
        wanted = WritingCallIn(kind=PromptSource.LABELER_FEW_SHOT, wanted=1, collection="pairs")
        piece = writing.begin(session, writing.call(session, wanted, boss), ana)
        submitting.hand_in(session, piece, ana, WritingContent(instruction="Louder.", pairs=pairs), version=0)
    plan = start(fill_round(prompts(8)), next_round=None)
    with transaction() as session:
        made = queue_snapshot(session, session.get_one(Plan, plan.id), "snapshot_sft")
        assert made.filter["collections"] == ["pairs"]


def test_a_plan_whose_snapshot_would_be_empty_stops_and_says_what_was_left_out(bank):
    round = fill_round(prompts(8), comparisons=False)
    plan = start(round, next_round=None)
    assert states(plan)["snapshot_sft"] is StepState.WAITING, "it waits for the base network"
    with transaction() as session:
        rows = [{"prompt_id": id, "message": 0, "kind": PersonalData.EMAIL, "start": 0, "stop": 3}
                for id in session.scalars(select(Item.prompt_id).where(Item.round_id == round.id))]  # fmt: skip
        session.execute(insert(Finding), rows)
    work()
    stopped = found(plan)
    assert stopped.state is PlanState.FAILED
    said = "0 demonstrations and 0 conversations.*prompts with open personal data findings \\(8\\)"
    assert re.search(said, stopped.error), stopped.error
    with transaction() as session:
        session.execute(update(Finding).values(state=FindingState.ALLOWED))
        rules.retry(session, session.get_one(Plan, plan.id), None)
    assert work() is None and found(plan).state is PlanState.FINISHED


def test_a_plan_is_cancelled_with_the_job_it_waits_for(bank):
    plan = start(fill_round(prompts(8)))
    job = work("train_sft")
    with transaction() as session:
        rules.cancel(session, found(plan), None)
    with reading() as session:
        assert session.get_one(Job, job.id).state is JobState.CANCELLED
    assert set(states(plan).values()) == {StepState.FINISHED, StepState.CANCELLED}
    with transaction() as session, pytest.raises(Conflict):
        rules.retry(session, found(plan), None)


def test_plans_begun_before_there_is_a_base_network_wait_for_one_job_together(bank):
    first, second = (start(fill_round(prompts(4, seed=n), number=n, comparisons=False)) for n in (1, 2))
    with reading() as session:
        job = session.scalars(select(Job)).one()
    with transaction() as session:
        rules.cancel(session, first, None)
    with reading() as session:
        assert session.get_one(Job, job.id).state is JobState.QUEUED, "the second plan still waits for it"
    with transaction() as session:
        rules.cancel(session, second, None)
    with reading() as session:
        assert session.get_one(Job, job.id).state is JobState.CANCELLED


def test_the_reconciler_takes_on_what_a_lost_message_left(bank):
    plan = start(fill_round(prompts(8), comparisons=False), next_round=NEXT)
    work("sample_completions")
    job = work("sample_completions")
    run(job)
    assert states(plan)["round"] is StepState.RUNNING
    tasks.reconcile()
    step = found(plan).steps[-1]
    tasks.make_round(step.id)
    tasks.make_round(step.id)  # the message comes twice
    assert found(plan).state is PlanState.FINISHED
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Round)) == 2


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"sft": {"recipe": "miniature_sfd"}}, "sft"),
        ({"ppo": {"recipe": "miniature_ppo_ptx", "set": {"betta": 1}}}, "beta"),
        ({"base": "nothere"}, "nothere"),
        ({"next_round": {"completions": 5}}, "mix"),
        ({"next_rounds": {}}, "next_rounds"),
    ],
)
def test_a_plan_whose_later_steps_could_not_start_is_refused_at_once(bank, config, word):
    round = fill_round(prompts(4), state=RoundState.OPEN)
    with pytest.raises(BadInput, match=word):
        start(round, **config)
    with reading() as session:
        assert session.get_one(Round, round.id).state is RoundState.OPEN


def test_a_round_is_trained_on_by_one_plan(bank):
    round = fill_round(prompts(4))
    start(round)
    with pytest.raises(Conflict):
        start(round)


def test_a_cancelled_plan_leaves_its_round_to_another(bank):
    round = fill_round(prompts(4))
    for _ in range(2):
        plan = start(round)
        with transaction() as session:
            assert queries.of_round(session, round).id == plan.id
            assert queries.startable_rounds(session) == []
            rules.cancel(session, plan, None)
        with reading() as session:
            assert queries.of_round(session, round) is None
            assert [one.id for one in queries.startable_rounds(session)] == [round.id]
    start(round)
    with pytest.raises(Conflict):
        start(round)


@pytest.mark.parametrize(("verb", "word"), [("train_sft", "epochs"), ("train_base", "train_base")])
def test_a_wrong_key_at_try_again_is_refused_and_not_kept(bank, verb, word):
    plan = start(fill_round(prompts(8)), next_round=None)
    job = work(verb)
    with transaction() as session:
        jobs.cancel(session, session.get_one(Job, job.id), None)
        rules.advance_after(session, job=job)
    before = found(plan)
    with pytest.raises(BadInput, match=word) as refused, transaction() as session:
        rules.retry(session, before, None, {"epocs": 3})
    assert refused.value.field == "config"
    assert found(plan).config == before.config and found(plan).state is PlanState.FAILED


def test_a_recipe_that_went_away_stops_the_plan_with_its_reason(bank):
    plan = start(fill_round(prompts(8)), next_round=None)
    job = work("train_base")
    with transaction() as session:
        kept = session.get_one(Plan, plan.id)
        kept.config = {**kept.config, "sft": {"recipe": "gone", "set": {}}}
    run(job)
    work()
    assert found(plan).state is PlanState.FAILED and "gone" in found(plan).error
    assert states(plan)["snapshot_sft"] is StepState.FINISHED and states(plan)["sft"] is StepState.FAILED


@pytest.mark.parametrize("times", [tasks.TRIES - 1, tasks.TRIES])
def test_a_database_that_is_busy_does_not_fail_the_next_round_unless_it_stays_so(bank, monkeypatch, times):
    plan = start(fill_round(prompts(8), comparisons=False), next_round=NEXT)
    work("sample_completions")
    run(work("sample_completions"))
    step = found(plan).steps[-1]
    make, tried = tasks.next_round.make, []

    def busy(session, plan):
        tried.append(plan)
        if len(tried) <= times:
            raise OperationalError("UPDATE", {}, Exception("database is locked"))
        return make(session, plan)

    monkeypatch.setattr(tasks.next_round, "make", busy)
    monkeypatch.setattr(tasks, "PAUSE_SECONDS", 0)
    tasks.make_round(step.id)
    assert len(tried) == tasks.TRIES
    now = found(plan)
    if times == tasks.TRIES:
        assert now.state is PlanState.FAILED and states(plan)["round"] is StepState.FAILED
        assert now.error.startswith("round: ") and "database is locked" in now.error and "retry" in now.error
        tasks.reconcile()
        assert found(plan).state is PlanState.FAILED  # nobody goes on by himself
        with transaction() as session:
            rules.retry(session, now, None)
        tasks.make_round(step.id)
    assert found(plan).state is PlanState.FINISHED
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Round)) == 2


def test_a_round_without_any_demonstration_cannot_start_the_loop(bank):
    with pytest.raises(BadInput, match="demonstration"):
        start(fill_round(prompts(4), demonstrations=False))


def test_a_plan_trains_on_what_programs_answered_only_if_it_says_so(bank):
    by_people = fill_round(prompts(4), comparisons=False)
    by_programs = fill_round(prompts(8, seed=9), number=2, kind=AccountKind.SIMULATED, labelers="bot")
    first = start(by_people, next_round=None)
    assert "snapshot_rm" not in states(first), "people have ranked nothing"
    second = start(by_programs, next_round=None, also=["simulated"])
    work()
    frozen = [step_snapshot(found(plan), "snapshot_sft").manifest["counts"] for plan in (first, second)]
    assert [counts["demonstrations"] for counts in frozen] == [4, 12]
    assert step_snapshot(found(second), "snapshot_rm").manifest["counts"]["comparisons_simulated"] == 8


def test_a_plan_on_programs_answers_alone_is_refused_with_the_next_step(bank):
    round = fill_round(prompts(4), kind=AccountKind.SIMULATED)
    with pytest.raises(
        BadInput, match=r"Left out: demonstrations by simulated labelers \(4\)\. Under .*“also”"
    ) as refused:
        start(round)
    assert refused.value.field == "also"
    assert round.state is RoundState.CLOSED and start(round, also=["simulated"])


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({"policy", "previous", "sft", "base"}, {"policy": 2, "previous": 1, "sft": 1}),
        ({"policy", "sft", "base"}, {"policy": 3, "sft": 1}),
        ({"sft", "base"}, {"sft": 4}),
    ],
)
def test_the_share_of_a_network_that_is_not_there_goes_to_another(there, expected):
    assert mix(NextRound(), {Source(name) for name in there}) == expected
