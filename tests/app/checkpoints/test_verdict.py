"""What a reward model's page says of it in words."""

import pytest

from app.checkpoints import rules
from app.database import transaction
from app.jobs.tables import JobVerb
from tests.app.plans.test_pages import text_of
from training.contract.events import CheckpointSaved

CASES = [
    ((0.43, 0.30, 0.57), "not distinguishable from chance", "PPO refuses this model. Collect"),
    ((0.31, 0.22, 0.41), "worse than chance", "in reverse order"),
    ((0.62, 0.55, 0.69), "better than chance", "95% interval: 55% to 69%"),
    (None, "not measured", "Nothing was held out"),
]


@pytest.mark.parametrize(("accuracy", "verdict", "more"), CASES)
def test_a_verdict_stands_beside_the_step_that_a_run_kept(client, people, accuracy, verdict, more):
    ends = ("", "_low", "_high")
    metrics = {f"accuracy/validation{end}": value for end, value in zip(ends, accuracy or (), strict=False)}
    saved = CheckpointSaved(step=9, path="checkpoints/rm", role="reward_model", metrics=metrics, chosen=True)
    with transaction() as session:
        job = rules.create_job(session, JobVerb.TRAIN_BASE, {"recipe": "miniature_base"})
        made = rules.register(session, job, saved).public_id
    people.sign_in(client, people.admin())
    for path in ("/admin/checkpoints", f"/admin/checkpoints/{made}", f"/admin/jobs/{job.public_id}"):
        shown = text_of(client, path)
        assert "selected by its run" in shown and verdict in shown, path
        assert "recommended" not in shown
    assert more in text_of(client, f"/admin/checkpoints/{made}")
