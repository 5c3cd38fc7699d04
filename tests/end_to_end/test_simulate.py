"""The two-minute simulation: every part of the loop works and is counted; it says nothing of what is learnt."""

import json
import os
import subprocess
import sys

import httpx
import pytest

from tests.end_to_end.test_run import PLUMBLINE, Run

LABELERS = 4


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """What `plumbline simulate --quick` reports, and the data folder it leaves."""
    data = tmp_path_factory.mktemp("simulate") / "data"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLUMBLINE_")}
    done = subprocess.run(
        [*PLUMBLINE, "simulate", "--quick", "--rounds", "1", "--labelers", str(LABELERS), "--json"],
        env={**environment, "PLUMBLINE_DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), data


def test_every_label_is_counted(simulated):
    report, _ = simulated
    (round,) = report["rounds"]
    assert round["demonstrations"] == 32
    # Forty items once, and six that every labeler ranks; an item may be left out whose completions are all the same.
    shared = 6 * LABELERS
    assert 20 + shared <= round["comparisons"] <= 40 + shared
    assert 0 < round["by_held_out_labelers"] < round["comparisons"]


def test_agreement_is_measured_and_near_what_the_noise_was_set_for(simulated):
    (round,) = simulated[0]["rounds"]
    assert round["noise"] > 0
    # 3 standard errors of a share of some ninety pairs, which are not even independent
    assert round["agreement"] == pytest.approx(0.726, abs=0.15)
    assert round["agreement_pairs"] > 50 and 1 < round["agreement_items"] <= 6
    assert round["agreement_low"] < round["agreement"] < round["agreement_high"]
    assert round["agreement_high"] - round["agreement_low"] > 0.15  # six items are few, however many their pairs


def test_the_networks_are_measured(simulated):
    (round,) = simulated[0]["rounds"]
    assert 0 <= round["reward_model"]["accuracy/validation"] <= 1
    assert 0 <= round["reward_model"]["accuracy/held_out_labelers"] <= 1
    for name in ("score", "kl_nats", "start_score"):
        assert round["ppo"][f"{name}_low"] <= round["ppo"][name] <= round["ppo"][f"{name}_high"]


def test_policies_are_compared_by_family_on_held_out_prompts(simulated):
    evaluation = simulated[0]["evaluation"]
    assert evaluation["prompts"] >= 200
    assert list(evaluation["policies"]) == ["base", "sft", "ppo"]
    for policy in evaluation["policies"].values():
        assert len(policy["solved_by_family"]) >= 5
        assert all(0 <= share <= 1 for share in policy["solved_by_family"].values())
        assert all(found["solved_low"] < found["solved_high"] for found in policy["families"].values())
    pairs = {(row["policy"], row["against"]) for row in evaluation["win_rates"]}
    assert {("ppo", "sft"), ("ppo", "base")} <= pairs
    assert all(row["low"] <= row["win_rate"] <= row["high"] for row in evaluation["win_rates"])


def test_what_it_left_is_marked_as_simulated_and_can_be_looked_at(simulated, tmp_path):
    run = Run(simulated[1])
    run.start()
    try:
        token = subprocess.run(
            [*PLUMBLINE, "token", "create", "simulated-admin", "--scope", "read", "--scope", "accounts"],
            env=run.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        with httpx.Client(base_url=f"{run.url}/api/v1", headers={"Authorization": f"Bearer {token}"}) as api:
            accounts = api.get("/accounts").json()["items"]
            plans = api.get("/plans").json()["items"]
            audit = api.get("/audit", params={"limit": 500}).json()["items"]
            policies = [one for one in api.get("/checkpoints").json()["items"] if one["role"].startswith("policy")]
        assert {one["kind"] for one in accounts} == {"simulated"}
        assert [plan["state"] for plan in plans] == ["finished", "finished"]
        assert policies
        assert {one["surface"] for one in audit if one["action"] == "job.create"} == {"rest", "worker"}
    finally:
        run.process.terminate()
        run.process.wait(60)
        run.process.stdout.close()
    assert not run.processes()


def test_a_running_server_is_asked_for_a_token():
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "simulate", "--url", "http://127.0.0.1:1"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "token" in done.stderr
    done = subprocess.run(
        [*PLUMBLINE, "simulate", "--url", "http://127.0.0.1:1", "--token", "plumb_x"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr
