"""The loop's pages and REST as an admin uses them, from an open round to the next one."""

import gzip
import io
import json
import re

import orjson
import pyarrow.parquet
import pytest
from sqlalchemy import select

from app.database import reading, transaction
from app.jobs.tables import Job, JobVerb
from app.rounds.tables import Round, RoundState
from tests.loop import add_prompt, fill_round, prompts
from tests.trainer import run, work
from training.contract import recipes

PATHS = ["/admin/snapshots", "/admin/snapshots/new", "/admin/jobs", "/admin/jobs/new", "/admin/checkpoints",
         "/admin/checkpoints/new", "/admin/plans", "/admin/plans/new"]  # fmt: skip


@pytest.fixture
def olga(people, client):
    """An admin, signed in."""
    account = people.admin()
    people.sign_in(client, account)
    return account


def text_of(client, path: str) -> str:
    """The page at a path, which must be there."""
    answer = client.get(path)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[-500:]}"
    return answer.text


def test_only_admins_see_these_pages(client, people):
    people.sign_in(client, people.labeler())
    for path in PATHS:
        assert client.get(path).status_code == 404
    client.cookies.clear()
    for path in PATHS:
        assert client.get(path).headers["location"].startswith("/sign-in")
    for path in ("snapshots", "jobs", "checkpoints", "plans"):
        assert client.get(f"/api/v1/{path}").status_code == 401


def test_every_page_is_there_when_nothing_is(client, olga):
    for path in PATHS:
        text_of(client, path)
    for path in ("snapshots", "jobs", "checkpoints", "plans"):
        assert client.get(f"/admin/{path}/nothere").status_code == 404


def test_a_turn_of_the_loop_on_the_pages(client, olga, people):
    with transaction() as session:
        for task in prompts(20, seed=5):
            add_prompt(session, task)
    round = fill_round(prompts(8), state=RoundState.OPEN)
    form = text_of(client, f"/admin/plans/new?round={round.public_id}")
    assert "Round 1" in form
    sent = people.csrf(client) | {
        "round": round.public_id, "sft": "miniature_sft", "sft_for_ppo": "miniature_sft_for_ppo", "open": "on",
        "reward_model": "miniature_reward_model", "ppo": "miniature_ppo_ptx", "next_round": "on", "prompts": "6",
        "completions": "4", "overlap": "1", "demonstrations": "0", "mix_policy": "3", "mix_sft": "1",
    }  # fmt: skip
    wrong = client.post("/admin/plans/new", data=sent | {"set": "ppo.betta = 1"})
    assert wrong.status_code == 422 and "betta" in wrong.text
    answer = client.post("/admin/plans/new", data=sent | {"set": "ppo.beta = 0.04\nsample.temperature = 0.9"})
    assert answer.status_code == 303, answer.text
    plan = answer.headers["location"]
    assert "every 2s" in text_of(client, plan) and "every 3s" in text_of(client, "/admin/jobs")
    assert "<html" not in client.get("/admin/jobs", headers={"HX-Request": "true"}).text
    assert "<html" not in client.get(plan, headers={"HX-Request": "true"}).text
    ppo = work("train_ppo")
    assert ppo.config["beta"] == 0.04
    job = text_of(client, f"/admin/jobs/{ppo.public_id}")
    assert "No training worker is running" in job
    run(ppo)
    work()
    text = text_of(client, plan)
    assert "Train on round 1" in text and "After round 1" in text and "every 2s" not in text
    with reading() as session:
        jobs = session.scalars(select(Job)).all()
        assert session.scalar(select(Round.state).where(Round.number == 2)) is RoundState.OPEN
    for job in jobs:
        text = text_of(client, f"/admin/jobs/{job.public_id}")
        assert "loss/train" in text and "finished" in text
        text_of(client, f"/admin/jobs/{job.public_id}/metrics")
    for path in PATHS:
        assert "every 3s" not in text_of(client, path)

    bearer = people.bearer(olga)
    found = client.get("/api/v1/checkpoints?role=policy", headers=bearer).json()["items"][0]
    assert "PPO" in text_of(client, f"/admin/checkpoints/{found['id']}")
    line = client.get(f"/api/v1/checkpoints/{found['id']}/descent", headers=bearer).json()
    assert [link["role"] for link in line["line"]] == ["policy", "sft", "base"]
    assert line["line"][1]["snapshot_sha256"] and line["configs"][0]["beta"] == 0.04
    events = client.get(f"/api/v1/jobs/{found['job']}/events?cursor=2&limit=2", headers=bearer).json()
    assert [event["number"] for event in events["items"]] == [3, 4] and events["next_cursor"] == "4"
    plans = client.get("/api/v1/plans", headers=bearer).json()["items"]
    assert plans[0]["state"] == "finished" and plans[0]["next_round"]


def test_the_stream_tells_where_a_job_stands_and_ends_with_it(client, olga, people):
    answer = client.post(
        "/api/v1/jobs", headers=people.bearer(olga), json={"verb": "train_base", "config": {"recipe": "miniature_base"}}
    )
    assert answer.status_code == 201
    id = answer.json()["id"]
    work()
    answer = client.get(f"/admin/jobs/{id}/stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "finished" in answer.text and answer.text.rstrip().endswith("event: done\ndata: over")
    assert client.get("/admin/jobs/nothere/stream").status_code == 404


@pytest.mark.parametrize(("verb", "key"), [(verb, key) for verb in JobVerb for key in recipes.CONFIGS[verb].required])
def test_a_job_that_lacks_something_says_where_to_get_it(client, olga, people, verb, key):
    here = {"data": "/data", "init_from": "/network", "reward_model": "/judge", "text": "/text", "policies.sft": "/sft"}
    others = set(recipes.CONFIGS[verb].required) - {key}
    given = "\n".join(f"{name} = {value}" for name, value in here.items() if name.partition(".")[0] in others)
    page = client.post("/admin/jobs/new", data=people.csrf(client) | {"recipe": verb, "set": given})
    assert page.status_code == 422
    (alert,) = re.findall(r'class="(?:alert danger|error)"[^>]*>(?:<p>)?(.*?)</', page.text, re.DOTALL)
    assert key in alert and verb in alert and "--set" not in alert
    ways = re.findall(r'<a href="([^"]+)"', page.text.partition('role="alert"')[2].partition("</div>")[0])
    if key in ("data", "init_from"):
        (way,) = ways
        assert client.get(way).status_code == 200
    else:
        assert "train_reward_model" in alert or f"{key} = " in alert


def test_a_page_without_networks_and_snapshots_leads_to_where_they_are_made(client, olga):
    for page, ways in (
        ("/admin/jobs/new", {"/admin/checkpoints/new", "/admin/snapshots/new"}),
        ("/admin/plans/new", {"/admin/rounds/new"}),
    ):
        body = client.get(page).text
        assert ways <= set(re.findall(r'href="([^"]+)"', body[body.index("<h1") :])), page
    fill_round(prompts(4), demonstrations=False)
    body = client.get("/admin/plans/new").text
    assert "knows only the miniature world" in body and "/admin/checkpoints/new" in body[body.index("<h1") :]


def test_jobs_over_rest(client, olga, people):
    bearer = people.bearer(olga)
    wrong = client.post("/api/v1/jobs", headers=bearer, json={"verb": "train_base", "config": {"epoch": 1}})
    assert wrong.status_code == 422 and "epochs" in wrong.json()["detail"]
    assert wrong.headers["content-type"] == "application/problem+json"
    gone = {"verb": "train_sft", "config": {"data": "/x", "init_from": "checkpoint:gone"}}
    assert client.post("/api/v1/jobs", headers=bearer, json=gone).status_code == 422
    made = client.post("/api/v1/jobs", headers=bearer, json={"verb": "train_base", "config": {}}).json()
    assert made["state"] == "queued"
    path = f"/api/v1/jobs/{made['id']}"
    assert client.post(f"{path}/cancel", headers=bearer).json()["state"] == "cancelled"
    assert client.post(f"{path}/cancel", headers=bearer).status_code == 409
    assert client.post(f"{path}/resume", headers=bearer).json()["state"] == "queued"
    assert client.get(path, headers=bearer).json()["config"]["epochs"] >= 1
    listed = client.get("/api/v1/jobs", headers=bearer).json()
    assert [job["id"] for job in listed["items"]] == [made["id"]] and listed["workers"] == []
    narrow = people.bearer(olga, "read")
    assert client.post(f"{path}/cancel", headers=narrow).status_code == 403


def test_a_snapshot_is_frozen_followed_and_taken_away(client, olga, people):
    fill_round(prompts(6))
    sent = people.csrf(client) | {"purpose": "rm", "name": "first", "rounds": ["1"], "all": "splits"}
    assert client.post("/admin/snapshots/new", data=sent | {"rounds": "9"}).status_code == 422
    page = client.post("/admin/snapshots/new", data=sent).headers["location"]
    assert "every 1s" in text_of(client, page)
    work()
    assert "pairs.jsonl.gz" in text_of(client, page)
    lines = client.get(f"{page}/comparisons.jsonl").text.splitlines()
    assert len(lines) == 6
    bearer = people.bearer(olga)
    id = page.rsplit("/", 1)[1]
    base = f"/api/v1/snapshots/{id}"
    assert client.get(base, headers=bearer).json()["manifest"]["counts"]["comparisons"] == 6

    pairs = client.get(f"{base}/pairs.jsonl", headers=bearer)
    packed = client.get(f"{base}/pairs.jsonl.gz", headers=bearer).content
    assert gzip.decompress(packed) == pairs.content
    # Pairs counted from the rankings themselves, by hand.
    expected = 0
    for line in map(orjson.loads, lines):
        tiers = [completion["tier"] for completion in line["completions"]]
        expected += sum(a != b for place, a in enumerate(tiers) for b in tiers[place + 1 :])
    rows = [json.loads(line) for line in pairs.text.splitlines()]
    assert len(rows) == expected > 0
    assert rows[0]["chosen"][0]["role"] == "assistant" and rows[0]["prompt"][-1]["role"] == "user"
    assert len({row["group"] for row in rows}) <= 6

    assert len(client.get(f"{base}/prompts.jsonl", headers=bearer).text.splitlines()) == 6
    assert client.get(f"{base}/demonstrations.jsonl", headers=bearer).status_code == 200
    assert client.get(f"{base}/comparisons.csv", headers=bearer).status_code == 404
    assert client.get(f"{base}/comparisons.jsonl").status_code == 401
    parquet = client.get(f"{base}/comparisons.parquet", headers=bearer)
    table = pyarrow.parquet.read_table(io.BytesIO(parquet.content))
    assert table.num_rows == 6 and table.to_pylist()[0]["labeler"] == orjson.loads(lines[0])["labeler"]


def test_a_network_of_one_s_own_is_brought_by_path_and_becomes_a_policy(client, olga, people, tmp_path):
    sent = people.csrf(client) | {"path": str(tmp_path / "mine"), "name": "mine", "role": "base"}
    assert "no such network folder" in client.post("/admin/checkpoints/new", data=sent).text
    (tmp_path / "mine").mkdir()
    for name, content in (("config.json", "{}"), ("tokenizer.json", "{}"), ("model.safetensors", "x")):
        (tmp_path / "mine" / name).write_text(content)
    page = client.post("/admin/checkpoints/new", data=sent).headers["location"]
    assert client.post("/admin/checkpoints/new", data=sent).status_code == 409
    assert str(tmp_path / "mine") in text_of(client, page)
    assert client.post(f"{page}/policy", data=people.csrf(client) | {"name": "my policy"}).status_code == 303
    assert "my policy" in text_of(client, page)
    bearer = people.bearer(olga)
    again = client.post(f"/api/v1{page.removeprefix('/admin')}/policy", headers=bearer, json={"name": "other"})
    assert (
        again.json()["policy"] == client.get(f"/api/v1{page.removeprefix('/admin')}", headers=bearer).json()["policy"]
    )
