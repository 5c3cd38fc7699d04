"""A training worker without the training: run folders as the verbs leave them, then the real tasks.

A job whose run folder already records the run's end is finished by the real supervisor without a child, so everything
that the application does with a run (events, checkpoints, the plan's next step) is the real code.
"""

import json
from pathlib import Path

from sqlalchemy import select

from app.checkpoints import rules as checkpoints
from app.database import reading
from app.jobs import rules as jobs
from app.jobs.tables import Job, JobState
from app.plans import tasks as plan_tasks
from app.plans.queries import round_steps
from app.runs import tasks as job_tasks
from app.snapshots import tasks as snapshot_tasks
from app.snapshots.tables import Snapshot, SnapshotState
from training.contract import events, records
from training.miniature.world import flawed
from training.run.run_folder import RunFolder
from training.run.snapshots import load

ROLES = {
    "train_base": ("base", "base"),
    "train_sft": ("sft", "sft"),
    "train_reward_model": ("reward_model", "reward_model"),
    "train_dpo": ("policy", "policy"),
    "train_ppo": ("policy", "policy"),
}
READS = {
    "train_sft": (records.DEMONSTRATIONS, records.DemonstrationRecord),
    "train_reward_model": (records.COMPARISONS, records.ComparisonRecord),
    "train_dpo": (records.COMPARISONS, records.ComparisonRecord),
    "train_ppo": (records.PROMPTS, records.PromptRecord),
    "sample_completions": (records.PROMPTS, records.PromptRecord),
}


def run(job: Job, failure: str = "") -> None:
    """Write the job's run folder as its verb would, and let the supervisor see it."""
    with reading() as session:
        config = checkpoints.resolve(session, job.config)
    with RunFolder(jobs.folder(job)) as folder:
        folder.report(events.Started(verb=job.verb, total_steps=2))
        for step in (1, 2):
            folder.report(events.Progress(step=step, total_steps=2))
            folder.report(events.Metrics(step=step, values={"loss/train": 1 / step}))
        if job.verb in READS:
            load(Path(config["data"]), *READS[job.verb], folder)
        if job.verb in ROLES:
            name, role = ROLES[job.verb]
            folder.save_checkpoint(name, _write_network, role, 2, {"loss/train": 0.5}, chosen=True)
        else:
            folder.write_text("completions.jsonl", "".join(_completions(config, job.public_id)))
        folder.report(events.Finished(result={"steps": 2}))
    job_tasks.run(job.id)


def _write_network(folder) -> None:
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")


def _completions(config: dict, salt: str):
    for prompt in records.read(Path(config["data"]) / records.PROMPTS, records.PromptRecord):
        for number in range(config["completions_per_prompt"]):
            text = f"{flawed(prompt.prompt[-1].text, number)} ({salt[:4]} {number})"
            line = {"prompt_key": prompt.prompt_key, "text": text, "tokens": 5, "finished": True, "settings": {}}
            yield json.dumps(line) + "\n"


def work(until_verb: str | None = None) -> Job | None:
    """Run queued jobs until none is left or one of this verb is next; return that job."""
    for _ in range(60):
        with reading() as session:
            snapshot = session.scalar(select(Snapshot).where(Snapshot.state == SnapshotState.QUEUED))
            job = session.scalar(select(Job).where(Job.state == JobState.QUEUED).order_by(Job.id))
            steps = round_steps(session)
        if snapshot:
            snapshot_tasks.write(snapshot.id)
        elif job and job.verb == until_verb:
            return job
        elif job:
            run(job)
        elif steps:
            plan_tasks.make_round(steps[0].id)
        else:
            return None
    raise AssertionError("the work does not end")
