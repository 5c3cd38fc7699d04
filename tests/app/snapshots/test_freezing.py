"""Snapshots: what is frozen, in which order, under which hash, and by one worker at a time."""

import hashlib
import json
from collections import Counter

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from app import database as app_database
from app.accounts.tables import Account, AccountKind
from app.comparisons.tables import ComparedCompletion, Comparison
from app.database import reading, transaction, utc_now
from app.demonstrations.tables import Demonstration
from app.errors import BadInput
from app.prompts.tables import Prompt
from app.rounds.tables import RoundPurpose, RoundState
from app.snapshots import queries, rules, tasks
from app.snapshots.tables import Snapshot, SnapshotMember, SnapshotState
from tests.conftest import fresh_database
from tests.loop import add_prompt, fill_round, lines, prompts
from training.contract.records import ComparisonRecord, DemonstrationRecord, Pool, Purpose, Split, read
from training.miniature.world import Task


def freeze(purpose: Purpose, **filter) -> Snapshot:
    """A snapshot, written."""
    with transaction() as session:
        made = rules.create(session, purpose, filter)
    tasks.write(made.id)
    with reading() as session:
        return session.get_one(Snapshot, made.id)


def test_the_files_the_manifest_and_the_members_agree(database):
    asked = prompts(12)
    fill_round(asked, kind=AccountKind.SIMULATED)
    with transaction() as session:
        for prompt, answer in zip(session.scalars(select(Prompt).limit(3)), (True, True, False), strict=True):
            prompt.answers = {"closed_domain": answer}
    snapshot = freeze(Purpose.RM, also=["simulated"])
    assert snapshot.state is SnapshotState.READY, snapshot.error
    folder = rules.folder(snapshot)
    comparisons = list(read(folder / "comparisons.jsonl", ComparisonRecord))
    demonstrations = list(read(folder / "demonstrations.jsonl", DemonstrationRecord))
    assert len(comparisons) == len(demonstrations) == 12
    assert {record.prompt[0].text for record in comparisons} == {task.prompt for task in asked}
    # The hashes by another way than the code's: read whole, hashed whole.
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in
               ("comparisons.jsonl", "demonstrations.jsonl")}  # fmt: skip
    assert {file["name"]: file["sha256"] for file in snapshot.manifest["files"]} == digests
    listing = "".join(f"{name} {digest}\n" for name, digest in digests.items())
    assert snapshot.content_sha256 == hashlib.sha256(listing.encode()).hexdigest()
    assert json.loads((folder / "manifest.json").read_text()) == snapshot.manifest
    assert snapshot.manifest["guideline_versions"] == ["training v1"]
    assert snapshot.manifest["counts"]["comparisons_simulated"] == 12
    assert snapshot.manifest["prompt_answers"] == {"closed_domain": {"yes": 2, "no": 1}}
    assert snapshot.manifest["counts"]["comparisons_held_out"] == 3
    with reading() as session:
        members = session.scalars(select(SnapshotMember).where(SnapshotMember.snapshot_id == snapshot.id)).all()
    assert len(members) == 24
    assert not [member for member in members if member.pool is Pool.HELD_OUT and member.split is Split.TRAIN]


def test_how_sure_a_judge_was_is_frozen_and_a_person_s_line_stays_as_it_was(database):
    fill_round(prompts(4))
    with transaction() as session:
        session.scalars(select(Comparison)).first().probability = 0.8
    path = rules.folder(freeze(Purpose.RM)) / "comparisons.jsonl"
    assert sorted(record.probability or 0 for record in read(path, ComparisonRecord)) == [0, 0, 0, 0.8]
    assert path.read_text().count("probability") == 1


def test_what_a_labeler_said_of_a_completion_is_frozen_also_what_a_form_added(database):
    fill_round(prompts(4))
    with transaction() as session:
        compared = session.scalars(select(ComparedCompletion)).first()
        compared.unacceptable, compared.flags = True, {"too_long": True, "fails_task": False}
        text = compared.completion.text
    path = rules.folder(freeze(Purpose.RM)) / "comparisons.jsonl"
    said = [one for record in read(path, ComparisonRecord) for one in record.completions if one.unacceptable]
    assert [(one.text, one.flags) for one in said] == [(text, {"too_long": True, "fails_task": False})]
    assert path.read_text().count("unacceptable") == 1, "the lines of others stay as they were"


def test_the_same_data_in_another_order_under_other_ids_freezes_into_the_same_hash(request, tmp_path, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_SECRET", "one key for all, of 32 bytes or more")
    asked, hashes = prompts(12), []
    for number, kind in enumerate(["sqlite", "postgresql", "sqlite"]):
        request.param = kind
        folder = tmp_path / str(number)
        folder.mkdir()
        for _ in fresh_database(request, folder, monkeypatch):
            if number:  # rows that belong to nothing come first and take the first ids
                fill_round(prompts(5, seed=78), number=99, state=RoundState.OPEN, order_seed=number)
            fill_round(asked, order_seed=number)
            named = [added.public_id for added in _prompts_of(asked)]
            hashes.append(
                (
                    freeze(Purpose.RM).content_sha256,
                    freeze(Purpose.SFT).content_sha256,
                    freeze(Purpose.PPO, prompts=named).content_sha256,
                )
            )
    assert hashes[0] == hashes[1] == hashes[2]
    assert len(set(hashes[0])) == 3


def _prompts_of(asked: list[Task]) -> list[Prompt]:
    with transaction() as session:
        return [add_prompt(session, task) for task in asked]


def test_another_key_gives_other_pseudonyms_and_no_name_is_in_the_files(database, monkeypatch):
    fill_round(prompts(6))
    first = freeze(Purpose.RM)
    text = (rules.folder(first) / "comparisons.jsonl").read_text()
    assert "labeler-0" not in text and "held-out" in text  # the pool's name, not the account's
    monkeypatch.setenv("PLUMBLINE_SECRET", "another key, of 32 bytes or more also")
    from app.config import settings

    settings.cache_clear()
    second = freeze(Purpose.RM)
    assert first.content_sha256 != second.content_sha256
    settings.cache_clear()


def test_what_is_open_surplus_withdrawn_or_of_the_demo_stays_out(database):
    asked = prompts(12)
    fill_round(asked[:6])
    fill_round(asked[6:9], number=2, state=RoundState.OPEN)
    fill_round(asked[9:], number=3, purpose=RoundPurpose.DEMO)
    with transaction() as session:
        session.execute(update(Comparison).where(Comparison.id == 1).values(surplus=True))
        session.execute(update(Demonstration).where(Demonstration.id == 2).values(surplus=True))
        gone = session.scalar(select(Comparison.prompt_id).where(Comparison.id == 3))
        session.execute(update(Prompt).where(Prompt.id == gone).values(withdrawn_at=utc_now()))
    snapshot = freeze(Purpose.RM)
    assert snapshot.filter["rounds"] == [1]
    assert snapshot.manifest["counts"]["comparisons"] == 6 - 2
    assert snapshot.manifest["counts"]["demonstrations"] == 6 - 2


@pytest.mark.parametrize(
    ("filter", "word"),
    [
        ({"rounds": [2]}, "close"),
        ({"rounds": [3]}, "demo"),
        ({"rounds": [7]}, "no round 7"),
        ({"rounds": [10**20]}, "rounds"),
        ({"round": 1}, "round"),
    ],
)
def test_a_filter_that_cannot_be_frozen_is_refused(database, filter, word):
    asked = prompts(6)
    fill_round(asked[:2])
    fill_round(asked[2:4], number=2, state=RoundState.OPEN)
    fill_round(asked[4:], number=3, purpose=RoundPurpose.DEMO)
    with transaction() as session, pytest.raises(BadInput, match=word):
        rules.create(session, Purpose.SFT, filter)


def test_a_round_closed_later_does_not_slip_into_a_queued_snapshot(database):
    fill_round(prompts(4, seed=1))
    with transaction() as session:
        queued = rules.create(session, Purpose.RM, {})
    fill_round(prompts(4, seed=2), number=2)
    tasks.write(queued.id)
    with reading() as session:
        assert session.get_one(Snapshot, queued.id).manifest["counts"]["comparisons"] == 4


def test_a_held_out_labeler_can_never_be_a_train_member(database):
    fill_round(prompts(4))
    snapshot = freeze(Purpose.RM)
    with pytest.raises(IntegrityError), transaction() as session:
        session.execute(
            update(SnapshotMember)
            .where(SnapshotMember.snapshot_id == snapshot.id, SnapshotMember.pool == Pool.HELD_OUT)
            .values(split=Split.TRAIN)
        )


def test_a_message_that_comes_twice_writes_once_and_a_lost_lease_writes_nothing(database):
    fill_round(prompts(4))
    with transaction() as session:
        made = rules.create(session, Purpose.RM, {})
    tasks.write(made.id)
    path = rules.folder(made) / "comparisons.jsonl"
    written = path.stat().st_ino
    tasks.write(made.id)
    assert path.stat().st_ino == written
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(SnapshotMember)) == 8
        assert session.get_one(Snapshot, made.id).attempt == 1


def test_a_dead_worker_s_snapshot_is_queued_again_and_given_up_in_the_end(database):
    fill_round(prompts(4))
    with transaction() as session:
        made = rules.create(session, Purpose.RM, {})
    for attempt in range(1, rules.ATTEMPTS + 1):
        with transaction() as session:
            assert rules.claim(session, made.id).attempt == attempt
            assert rules.claim(session, made.id) is None
            session.execute(update(Snapshot).values(lease_until=utc_now(-1)))
        tasks.reconcile()
    with reading() as session:
        found = session.get_one(Snapshot, made.id)
    assert found.state is SnapshotState.FAILED and "3 times" in found.error


def test_a_database_that_is_busy_does_not_fail_a_snapshot(database, monkeypatch):
    fill_round(prompts(4))
    with transaction() as session:
        made = rules.create(session, Purpose.RM, {})

    def busy(*_given):
        raise OperationalError("UPDATE", {}, Exception("database is locked"))

    monkeypatch.setattr(rules, "finish", busy)
    tasks.write(made.id)
    monkeypatch.undo()
    with transaction() as session:
        assert session.get_one(Snapshot, made.id).state is SnapshotState.WRITING
        session.execute(update(Snapshot).values(lease_until=utc_now(-1)))
    tasks.reconcile()
    tasks.write(made.id)
    with reading() as session:
        assert session.get_one(Snapshot, made.id).state is SnapshotState.READY


def test_who_answered_is_told_in_every_line_and_people_count_alone_unless_others_are_asked_for(database):
    fill_round(prompts(12))  # by labeler-0, labeler-1, labeler-2 and held-out, three of each kind
    kinds = {"labeler-1": AccountKind.SIMULATED, "labeler-2": AccountKind.DEMO}
    with transaction() as session:
        for username, kind in kinds.items():
            session.execute(update(Account).where(Account.username == username).values(kind=kind))
    for purpose, file in ((Purpose.SFT, "demonstrations"), (Purpose.RM, "comparisons")):
        for also in ([], ["simulated"], ["demo"], ["demo", "simulated"]):
            made = freeze(purpose, also=also)
            told = Counter(line["answered_by"] for line in lines(rules.folder(made) / f"{file}.jsonl"))
            assert told == {"person": 6, **dict.fromkeys(also, 3)}
            counts, left_out = made.manifest["counts"], made.manifest["left_out"]
            assert {name: counts.get(f"{file}_{name}") for name in kinds.values() if name in also} == dict.fromkeys(
                also, 3
            )
            left = {"simulated": "by_simulated_labelers", "demo": "by_demo_accounts"}.items()
            assert left_out.items() >= {f"{file}_{reason}": 3 for name, reason in left if name not in also}.items()
            assert len(left_out) == (2 - len(also)) * (1 if purpose is Purpose.SFT else 2)
            assert made.manifest["filter"].get("also", []) == also


def test_nothing_but_simulated_answers_is_refused_with_the_next_step(database):
    fill_round(prompts(4), kind=AccountKind.SIMULATED)
    with pytest.raises(BadInput, match=r"comparisons by simulated labelers \(4\)\. Under .* --also"):
        freeze(Purpose.RM)
    with pytest.raises(BadInput, match="no answers"):
        freeze(Purpose.PPO, also=["demo"])


def test_ppo_snapshots_hold_prompts_of_their_collections(database):
    with transaction() as session:
        for task in prompts(8, seed=3):
            add_prompt(session, task, "ours")
        other = add_prompt(session, prompts(2, seed=4)[0], "theirs")
    assert freeze(Purpose.PPO, collections=["ours"]).manifest["counts"]["prompts"] == 8
    assert freeze(Purpose.PPO, collections=["ours"], splits=["validation"]).manifest["counts"]["prompts"] == 2
    named = freeze(Purpose.PPO, prompts=[other.public_id])
    assert [line["prompt"][0]["text"] for line in lines(rules.folder(named) / "prompts.jsonl")] == [
        other.messages[0]["text"]
    ]
    with reading() as session:
        assert queries.prompt_collections(session) == ["ours", "theirs"]
    assert app_database.engine() is database
