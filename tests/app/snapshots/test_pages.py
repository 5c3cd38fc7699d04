"""Snapshots as an admin asks for them on pages, over REST and on the command line, and what is shown of them."""

import html
import json
import re

import pytest
from sqlalchemy import insert, select
from typer.testing import CliRunner

from app import cli
from app.accounts.tables import AccountKind
from app.comparisons.formats import ComparisonFormat
from app.comparisons.imports import import_comparisons
from app.comparisons.tables import Comparison
from app.config import ROOT
from app.database import reading, transaction
from app.jobs.tables import Job
from app.plans import rules as plans
from app.prompts.hygiene.kinds import PersonalData
from app.prompts.imports import PromptDefaults
from app.prompts.tables import Finding
from app.rounds.tables import Round, RoundPurpose
from app.snapshots import exports, left_out, rules
from app.snapshots.tables import Snapshot
from tests.app.plans.test_pages import text_of
from tests.loop import fill_round, lines, prompts
from tests.trainer import work
from training.contract.records import Purpose


@pytest.fixture
def olga(client, people):
    """An admin, signed in."""
    made = people.admin()
    people.sign_in(client, made)
    return made


@pytest.fixture
def rounds(database) -> list[Round]:
    """A training round, one that evaluates, and another training round; all are closed."""
    asked = prompts(12)
    return [
        fill_round(asked[:4]),
        fill_round(asked[4:8], number=2, purpose=RoundPurpose.EVALUATION),
        fill_round(asked[8:], number=3),
    ]


def newest() -> Snapshot:
    with reading() as session:
        return session.scalars(select(Snapshot).order_by(Snapshot.id.desc())).first()


def test_the_page_refuses_to_train_on_an_evaluation_until_the_box_is_ticked(client, olga, people, rounds):
    sent = people.csrf(client) | {"purpose": "rm", "rounds": ["1", "2"], "all": "splits"}
    refused = client.post("/admin/snapshots/new", data=sent)
    assert refused.status_code == 422 and "Round 2 is an evaluation" in refused.text
    assert len(re.findall(r'name="rounds"[^>]*checked', refused.text)) == 2, "what was chosen stays chosen"
    page = client.post("/admin/snapshots/new", data=sent | {"train_on_evaluation": "on"}).headers["location"]
    work()
    shown = text_of(client, page)
    assert "used for training" in shown and newest().manifest["counts"]["comparisons"] == 8


def test_a_round_s_own_page_leads_to_a_snapshot_of_that_round(client, olga, people, rounds):
    page = client.get(f"/admin/snapshots/new?round={rounds[2].public_id}").text
    assert re.findall(r'name="rounds" value="(\w+)" checked', page) == ["3"]
    assert page.count("8 answers") == 3, "four rankings and four demonstrations in each round"


def test_programs_answers_count_only_where_they_are_ticked_and_the_page_says_how_many_there_are(client, people, olga):
    fill_round(prompts(8), kind=AccountKind.SIMULATED)
    fill_round(prompts(4, seed=9), number=2, labelers="person")
    page = client.get("/admin/snapshots/new").text
    box = re.search(r'<label><input type="checkbox" name="also" value="(\w+)"( checked)?>.*?(\d+) answers', page)
    assert box.groups() == ("simulated", None, "16") and 'value="demo"' not in page
    sent = people.csrf(client) | {"purpose": "rm", "rounds": ["1"], "all": "splits"}
    refused = client.post("/admin/snapshots/new", data=sent)
    assert refused.status_code == 422
    assert "comparisons by simulated labelers (8). Under “Whose answers”, check" in html.unescape(refused.text)
    kept = client.post("/admin/snapshots/new", data=sent | {"also": "simulated", "rounds": ["9"]}).text
    assert re.search(r'value="simulated" checked', kept), "what was ticked stays ticked"
    place = client.post("/admin/snapshots/new", data=sent | {"also": "simulated"}).headers["location"]
    work()
    assert re.search(r"people <span[^>]*>simulated labelers<", client.get(place).text)
    assert newest().manifest["counts"]["comparisons_simulated"] == 8
    bearer = people.bearer(olga)
    body = {"purpose": "sft", "filter": {"rounds": [1, 2]}}
    counts = []
    for also in ([], ["simulated"]):
        body["filter"]["also"] = also
        made = client.post("/api/v1/snapshots", json=body, headers=bearer).json()["id"]
        work()
        counts.append(client.get(f"/api/v1/snapshots/{made}", headers=bearer).json()["manifest"])
    assert [one["counts"]["demonstrations"] for one in counts] == [4, 12]
    assert [one["left_out"] for one in counts] == [{"demonstrations_by_simulated_labelers": 8}, {}]
    said = CliRunner().invoke(cli.cli, ["export", "freeze", "rm", "--round", "1"])
    assert said.exit_code != 0 and "--also" in said.exception.message
    assert CliRunner().invoke(cli.cli, ["export", "freeze", "rm", "--also", "simulated"]).exit_code == 0
    assert newest().filter["also"] == ["simulated"]


def test_what_was_ticked_for_another_purpose_does_not_count(client, olga, people, rounds):
    sent = people.csrf(client) | {"purpose": "ppo", "rounds": ["1"], "collections": ["miniature"], "imported": ["x"]}
    sent |= {"all": "splits"}
    assert client.post("/admin/snapshots/new", data=sent).status_code == 303
    assert newest().filter["collections"] == ["miniature"] and newest().filter["rounds"] is None


def test_rest_and_the_command_line_can_say_the_word_too(client, olga, people, rounds):
    bearer = people.bearer(olga)
    body = {"purpose": "sft", "filter": {"rounds": [2]}}
    refused = client.post("/api/v1/snapshots", json=body, headers=bearer)
    assert refused.status_code == 422 and "train_on_evaluation" in refused.json()["detail"]
    body["filter"]["train_on_evaluation"] = True
    assert client.post("/api/v1/snapshots", json=body, headers=bearer).json()["filter"]["train_on_evaluation"] is True
    said = CliRunner().invoke(cli.cli, ["export", "freeze", "sft", "--round", "2"])
    assert said.exit_code != 0 and "--train-on-evaluation" in said.exception.message
    said = CliRunner().invoke(cli.cli, ["export", "freeze", "sft", "--round", "2", "--train-on-evaluation"])
    assert said.exit_code == 0 and newest().filter["train_on_evaluation"] is True


def test_a_snapshot_s_page_says_what_each_line_is_for_and_what_is_left_out(client, olga, people, rounds):
    with transaction() as session:
        comparison = session.scalars(select(Comparison).order_by(Comparison.id)).first()
        comparison.surplus = True
        found = {"prompt_id": comparison.prompt_id, "message": 0, "kind": PersonalData.EMAIL, "start": 0, "stop": 3}
        session.execute(insert(Finding), [found])
        made = rules.create(session, Purpose.RM, {"rounds": [1]})
    work()
    page = client.get(f"/admin/snapshots/{made.public_id}").text
    rows = [re.findall(r"<t[hd][^>]*>([^<]*)<", row) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)]
    uses = newest().manifest["uses"]
    for file, found in uses.items():
        assert [file, *(str(found.get(use, 0)) for use in ("train", "validation", "test", "held_out"))] in rows
    assert ["comparisons submitted after their slot was filled or their round closed", "1"] in rows
    assert ["demonstrations of prompts with open personal data findings", "1"] in rows


def test_a_snapshot_of_an_earlier_version_has_its_page_and_its_exports(client, olga, people, rounds):
    with transaction() as session:
        made = rules.create(session, Purpose.RM, {"rounds": [1]})
    work()
    with transaction() as session:
        old = session.get_one(Snapshot, made.id)
        old.filter = {name: value for name, value in old.filter.items() if name != "train_on_evaluation"}
        counts = {name: count for name, count in old.manifest["counts"].items() if not name.startswith("kto")}
        gained = ("uses", "left_out", "counts")
        old.manifest = {name: value for name, value in old.manifest.items() if name not in gained} | {"counts": counts}
    page = f"/admin/snapshots/{made.public_id}"
    assert "pairs.parquet" in text_of(client, page)
    assert client.get(f"{page}/kto.jsonl").status_code == 200
    assert client.get("/admin/snapshots").status_code == 200


def test_a_job_s_page_shows_how_many_lines_it_read_for_which_use(client, olga, people, rounds):
    with transaction() as session:
        plans.start(session, session.merge(rounds[2]), {"next_round": None})
    work()
    with reading() as session:
        job = session.scalars(select(Job).where(Job.verb == "train_reward_model")).one()
        uses = session.get_one(Snapshot, job.snapshot_id).manifest["uses"]["comparisons"]
    page = client.get(f"/admin/jobs/{job.public_id}").text
    table = page[page.index("Lines read") :]
    row = re.findall(r"<t[hd][^>]*>([^<]*)<", table[table.index("<tbody>") : table.index("</tbody>")])
    expected = [str(uses.get(use, 0)) for use in ("train", "validation", "test", "held_out")]
    assert row == ["comparisons.jsonl", *expected] and set(expected) != {"0"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_export_of_comparisons_can_be_imported_again_whole(rounds, tmp_path):
    with transaction() as session:
        made = rules.create(session, Purpose.RM, {"rounds": [1, 3]})
    work()
    exports.save(newest(), exports.What.COMPARISONS, exports.Format.JSONL, tmp_path / "comparisons.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "comparisons.jsonl").read_text().splitlines()]
    path = tmp_path / "comparisons.jsonl"
    report = import_comparisons(path, format=ComparisonFormat.RANKINGS, defaults=PromptDefaults("again"))
    assert (report.added, report.problems, report.left_out) == (len(rows), [], [])
    with transaction() as session:
        again = rules.create(session, Purpose.RM, {"rounds": [], "collections": ["again"]})
    work()
    first, second = (in_order(lines(rules.folder(one) / "comparisons.jsonl")) for one in (made, again))
    assert first == second
    assert {line["answered_by"] for line in lines(rules.folder(again) / "comparisons.jsonl")} == {"import"}


def in_order(found: list[dict]) -> list[str]:
    """The lines without what an import gives another name: the prompt, who ranked, and in which round."""
    renamed = {"prompt_key": "", "text_key": "", "labeler": "", "answered_by": "", "round": None}
    return sorted(json.dumps({**line, **renamed}, sort_keys=True) for line in found)


def test_the_guides_name_every_export_and_every_reason():
    exported = (ROOT / "docs" / "exports.md").read_text()
    table = set(re.findall(r"`(\w+)`", "".join(line for line in exported.splitlines() if line.startswith("| `"))))
    assert set(exports.What) <= table
    held_out = (ROOT / "docs" / "held-out.md").read_text()
    keys = set(re.findall(r"`([\w…]+)`", held_out[held_out.index("## What a snapshot leaves out") :]))
    told = {kind + key.removeprefix("…") for key in keys if key.startswith("…") for kind in left_out.Kind} | keys
    assert set(left_out.WORDS) <= told
