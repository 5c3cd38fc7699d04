"""Checkpoints: where each came from, references that survive a moved data folder, sampled completions taken in."""

import shutil

import pytest
from sqlalchemy import func, select

from app import config, database
from app.checkpoints import queries, rules, sampling
from app.checkpoints.tables import Checkpoint, CheckpointRole
from app.completions.tables import Completion
from app.database import reading, transaction
from app.errors import BadInput, Conflict
from app.jobs.tables import Job, JobVerb
from app.policies.tables import Policy, PolicyKind
from app.runs import tasks as job_tasks
from app.snapshots import rules as snapshots
from app.snapshots.tables import Snapshot
from tests.conftest import forget_settings
from tests.loop import fill_round, prompts
from tests.trainer import run, work
from training.contract.records import Purpose


@pytest.fixture
def trained(database) -> dict[str, Checkpoint]:
    """base -> sft -> reward model, each by a job of its own."""
    fill_round(prompts(8))
    with transaction() as session:
        made = {purpose: snapshots.create(session, purpose, {}) for purpose in Purpose}
        rules.create_job(session, JobVerb.TRAIN_BASE, {"recipe": "miniature_base"})
    work()
    found: dict[str, Checkpoint] = {}
    for role, verb, start, purpose in (
        ("sft", JobVerb.TRAIN_SFT, "base", Purpose.SFT),
        ("reward_model", JobVerb.TRAIN_REWARD_MODEL, "sft", Purpose.RM),
    ):
        with transaction() as session:
            parent = queries.newest(session, CheckpointRole(start))
            keys = {"init_from": rules.reference(parent)}
            rules.create_job(session, verb, keys, snapshot=made[purpose])
        work()
        with reading() as session:
            found |= {start: parent, role: queries.newest(session, CheckpointRole(role))}
    return found


def test_a_checkpoint_knows_where_it_came_from(trained):
    with reading() as session:
        line = queries.descent(session, queries.find(session, trained["reward_model"].public_id))
        assert [link.checkpoint.role for link in line] == ["reward_model", "sft", "base"]
        assert line[0].snapshot.purpose is Purpose.RM and line[2].snapshot is None
        assert line[0].checkpoint.round_number == 1 and line[2].checkpoint.round_number is None
        assert [one.id for one in queries.children(session, trained["sft"])] == [trained["reward_model"].id]


def test_a_moved_data_folder_still_works(trained, tmp_path, monkeypatch):
    with reading() as session:
        job = session.scalar(select(Job).where(Job.verb == JobVerb.TRAIN_REWARD_MODEL))
        before = rules.resolve(session, job.config)
    assert before["init_from"] == str(rules.folder(trained["sft"])) and before["data"].startswith(str(tmp_path))
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "data", moved, ignore=shutil.ignore_patterns("*.db*"))
    monkeypatch.setattr(config.settings(), "data_dir", moved)
    with reading() as session:
        after = rules.resolve(session, job.config)
    assert after["init_from"].startswith(str(moved)) and after["data"].startswith(str(moved))


def test_a_checkpoint_saved_again_is_one_row(trained):
    from training.contract.events import CheckpointSaved

    with transaction() as session:
        job = session.scalar(select(Job).where(Job.verb == JobVerb.TRAIN_SFT))
        saved = CheckpointSaved(step=9, path="checkpoints/sft", role="sft", metrics={"a/b": 2.0}, chosen=True)
        again = rules.register(session, job, saved)
        assert again.id == trained["sft"].id and again.step == 9 and again.metrics == {"a/b": 2.0}


def test_a_reward_model_chooses_among_the_epochs_of_sft(trained):
    from training.contract.events import CheckpointSaved

    with transaction() as session:
        first = session.scalar(select(Job).where(Job.verb == JobVerb.TRAIN_SFT))
        keys = {"recipe": "miniature_sft", "init_from": rules.reference(trained["base"])}
        keys["reward_model"] = rules.reference(trained["reward_model"])
        snapshot = session.get_one(Snapshot, first.snapshot_id)
        job = rules.create_job(session, JobVerb.TRAIN_SFT, keys, snapshot=snapshot)
        assert rules.resolve(session, job.config)["reward_model"] == str(rules.folder(trained["reward_model"]))
        for name, step in (("sft_by_loss", 18), ("sft", 54)):
            event = CheckpointSaved(step=step, path=f"checkpoints/{name}", role="sft", chosen=name == "sft")
            rules.register(session, job, event)
        best = queries.chosen_of(session, job)
        assert (best.step, best.reward_model.id) == (54, trained["reward_model"].id)
        names = session.scalars(select(Checkpoint.name).where(Checkpoint.job_id == job.id).order_by(Checkpoint.step))
        assert [name.partition(" after")[0] for name in names] == ["SFT with lowest loss", "SFT"]
    with transaction() as session, pytest.raises(BadInput, match="nowhere"):
        rules.create_job(session, JobVerb.TRAIN_SFT, {**keys, "reward_model": "checkpoint:nowhere"}, snapshot=snapshot)


def test_a_checkpoint_becomes_at_most_one_policy_and_a_reward_model_none(trained):
    with transaction() as session:
        sft = session.get_one(Checkpoint, trained["sft"].id)
        first = rules.make_policy(session, sft, name="mine")
        assert rules.make_policy(session, sft, name="another").id == first.id
        assert (first.kind, first.path) == (PolicyKind.TRAINED, sft.path)
        base = session.get_one(Checkpoint, trained["base"].id)
        with pytest.raises(Conflict, match="mine"):
            rules.make_policy(session, base, name="mine")
        with pytest.raises(BadInput, match="scores"):
            rules.make_policy(session, session.get_one(Checkpoint, trained["reward_model"].id))
        assert session.scalar(select(func.count()).select_from(Policy).where(Policy.kind == PolicyKind.TRAINED)) == 1


def test_sampled_completions_are_taken_in_once(trained):
    with transaction() as session:
        data = session.scalar(select(snapshots.Snapshot).where(snapshots.Snapshot.purpose == Purpose.PPO))
        keys = {"init_from": rules.reference(trained["sft"]), "completions_per_prompt": 3}
        job = rules.create_job(session, JobVerb.SAMPLE_COMPLETIONS, keys, snapshot=data)
        with pytest.raises(BadInput, match="finished"):
            sampling.check(session, job)
    run(job)
    with reading() as session:
        count = select(func.count()).select_from(Completion)
        before = session.scalar(count)
    with transaction() as session:
        sampling.request(session, session.get_one(Job, job.id), None)
    for _ in range(2):
        job_tasks.take_in(job.id)
    with reading() as session:
        assert session.scalar(count) == before + 8 * 3
        sampled = session.scalars(select(Completion).order_by(Completion.id.desc()).limit(24)).all()
        assert len({one.prompt_id for one in sampled}) == 8
        assert {one.policy.name for one in sampled} == {queries.find(session, trained["sft"].public_id).policy.name}
    assert database.engine()
    forget_settings()
