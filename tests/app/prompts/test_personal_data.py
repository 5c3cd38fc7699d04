"""Personal data in stored prompts: found at every door, shown where it stands, and decided on by admins."""

import json
import threading

import pytest
from sqlalchemy import select, update

from app.accounts.tables import Role
from app.comparisons.formats import ComparisonFormat
from app.comparisons.imports import import_comparisons
from app.completions.imports import import_completions
from app.database import reading, transaction
from app.errors import Conflict
from app.prompts import findings, rules
from app.prompts.catching_up import examine_stored
from app.prompts.findings import Action, Shown
from app.prompts.hygiene.kinds import PersonalData
from app.prompts.imports import PromptDefaults, import_prompts
from app.prompts.tables import Finding, FindingState, Prompt, PromptBand, PromptSource
from training.contract.records import Split

MAIL, PHONE = "jane.roe@corp-mail.org", "+49 30 901820"
TEXT = f"Write to {MAIL} or call {PHONE}, and to {MAIL} again."


def stored(text: str = TEXT, **fields) -> Prompt:
    with transaction() as session:
        fields = {"source": PromptSource.CUSTOMER} | fields
        return rules.add(session, messages=[{"role": "user", "text": text}], **fields)


def found(prompt: Prompt | None = None) -> list[Finding]:
    with reading() as session:
        query = select(Finding).order_by(Finding.prompt_id, Finding.message, Finding.start)
        return list(session.scalars(query.where(Finding.prompt_id == prompt.id) if prompt else query))


def text_of(prompt: Prompt, message: int = 0) -> str:
    with reading() as session:
        return session.get_one(Prompt, prompt.id).messages[message]["text"]


def decide(finding: Finding, action: Action) -> None:
    with transaction() as session:
        findings.decide(session, findings.find(session, finding.public_id), action, None)


def test_each_finding_is_stored_with_its_kind_and_place(database):
    with transaction() as session:
        said = [("user", f"I am {MAIL}."), ("assistant", "Hello!"), ("user", f"Call {PHONE} please, in 3 hours.")]
        prompt = rules.add(
            session, messages=[{"role": role, "text": text} for role, text in said], source=PromptSource.CUSTOMER
        )
    places = [(one.message, one.kind, said[one.message][1][one.start : one.stop], one.state) for one in found(prompt)]
    assert places == [
        (0, PersonalData.EMAIL, MAIL, FindingState.OPEN),
        (2, PersonalData.PHONE, PHONE, FindingState.OPEN),
    ]
    assert found(stored("How high is Mount Everest, and who was the first to climb it in 1953?")) == []


def test_every_import_finds_it_and_says_so(database, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": f"{number}. {TEXT}", "completion": "Done.", "policy": "p", "chosen": "Yes.", "rejected": "No."}
        for number in range(3)
    ]
    imports = {
        "prompts": lambda: import_prompts(path, as_csv=False, defaults=PromptDefaults()),
        "completions": lambda: import_completions(path, as_csv=False, add_prompts=PromptDefaults()),
        "comparisons": lambda: import_comparisons(path, format=ComparisonFormat.PAIRS, defaults=PromptDefaults()),
    }
    for number, (name, run) in enumerate(imports.items(), 1):
        path.write_text("".join(json.dumps({**row, "prompt": name + row["prompt"]}) + "\n" for row in rows))
        report = run()
        assert report.added == 3, name
        assert any(note.startswith("Prompts with personal data") and note.endswith(": 3.") for note in report.notes), (
            name,
            report.notes,
        )
        assert len(found()) == 9 * number, name


def test_masking_moves_what_stands_behind_it(database):
    prompt = stored()
    first, phone, second = found(prompt)
    decide(first, Action.MASK)
    assert text_of(prompt) == f"Write to [e-mail] or call {PHONE}, and to {MAIL} again."
    with reading() as session:
        shown = [Shown.of(one) for one in findings.of_prompt(session, prompt)]
    assert [(one.found, one.finding.state) for one in shown] == [
        ("[e-mail]", FindingState.MASKED),
        (PHONE, FindingState.OPEN),
        (MAIL, FindingState.OPEN),
    ]
    decide(second, Action.MASK)
    decide(phone, Action.MASK)
    assert text_of(prompt) == "Write to [e-mail] or call [phone number], and to [e-mail] again."
    for one in found(prompt):
        assert text_of(prompt)[one.start : one.stop] in ("[e-mail]", "[phone number]")
    with transaction() as session, pytest.raises(Conflict, match="masked"):
        findings.decide(session, findings.find(session, first.public_id), Action.MASK, None)


def test_a_masked_prompt_is_known_by_both_of_its_texts(database, tmp_path):
    prompt = stored(collection="mine")
    for one in found(prompt):
        decide(one, Action.MASK)
    path = tmp_path / "again.jsonl"
    path.write_text(
        "".join(
            json.dumps({"prompt": text, "completion": "Yes.", "policy": "p"}) + "\n" for text in (TEXT, text_of(prompt))
        )
    )
    report = import_prompts(path, as_csv=False, defaults=PromptDefaults("mine"))
    assert (report.known, report.added, report.joined) == (2, 0, 0)
    report = import_completions(path, as_csv=False)  # what another tool answered to the text as it was exported
    assert (report.added, report.known, report.bad_rows) == (1, 1, 0)
    with reading() as session:
        row = session.scalars(select(Prompt)).one()
        bands = set(session.scalars(select(PromptBand.band)))
    again = stored("please " + text_of(prompt).rstrip("."), filters=False)
    assert row.text_sha256 == prompt.text_sha256 and row.masked_sha256 != row.text_sha256
    with reading() as session:  # what is like the masked text is found, by the bands of that text
        assert bands & set(session.scalars(select(PromptBand.band).where(PromptBand.prompt_id == again.id)))


def test_two_prompts_may_be_the_same_once_masked(database):
    prompts = [stored(f"Write to {name}@corp-mail.org and ask for the bill of March.") for name in ("jane", "joe")]
    for one in found():
        decide(one, Action.MASK)
    assert len({text_of(prompt) for prompt in prompts}) == 1
    with reading() as session:
        rows = [session.get_one(Prompt, prompt.id) for prompt in prompts]
    assert rows[0].folded_sha256 == rows[1].folded_sha256  # so snapshots put both in one split
    assert stored(text_of(prompts[0])).id == prompts[0].id


def test_allowed_may_wait_again_and_dropped_may_come_back(database):
    prompt = stored("My number is +49 30 901820, what is yours?")
    (one,) = found(prompt)
    decide(one, Action.ALLOW)
    with reading() as session:
        assert findings.counts(session) == {}
    decide(one, Action.REOPEN)
    decide(one, Action.DROP)
    with transaction() as session:
        assert findings.counts(session) == {}
        row = rules.prompt(session, prompt.public_id)
        assert row.withdrawn_at
        rules.restore(session, row, None)
    with reading() as session:
        assert findings.counts(session) == {PersonalData.PHONE: 1}


@pytest.mark.parametrize("action", [Action.MASK, Action.ALLOW, Action.DROP])
def test_all_of_a_kind_up_to_what_was_seen(database, people, action):
    admin = people.make("carla", role=Role.ADMIN)
    prompts = [stored(f"{number}: {TEXT}") for number in range(60)]  # more than a transaction takes
    with reading() as session:
        seen = findings.newest(session)
    late = stored("Late: " + TEXT)
    decided = findings.decide_all(PersonalData.EMAIL, action, seen, admin)
    assert decided == 120
    with reading() as session:
        left = findings.counts(session)
        withdrawn = session.scalars(select(Prompt.id).where(Prompt.withdrawn_at.is_not(None))).all()
    assert left[PersonalData.EMAIL] == 2  # of the late one
    assert left[PersonalData.PHONE] == (1 if action is Action.DROP else 61)
    assert len(withdrawn) == (60 if action is Action.DROP else 0)
    assert MAIL in text_of(late) and (MAIL in text_of(prompts[0])) == (action is not Action.MASK)


def test_two_who_mask_in_one_prompt_lose_nothing(database):
    prompt = stored(" ".join(f"Write to person{number}@corp-mail.org." for number in range(12)))
    waits = threading.Barrier(4)

    def work(mine: list[Finding]) -> None:
        waits.wait()
        for one in mine:
            decide(one, Action.MASK)

    all_of_it = found(prompt)
    threads = [threading.Thread(target=work, args=(all_of_it[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert text_of(prompt) == " ".join(["Write to [e-mail]."] * 12)


def test_what_an_earlier_version_stored_is_examined_once(database):
    texts = [f"Prompt {number}: {TEXT}" for number in range(3)] + ["Wie heißt die Hauptstadt von Österreich?", "2+2"]
    prompts = [stored(text, split=Split.TRAIN) for text in texts]
    kept = [(one.message, one.start, one.stop, one.kind) for one in found()]
    with transaction() as session:  # as if nobody had looked
        session.query(Finding).delete()
        session.query(PromptBand).delete()
        session.execute(update(Prompt).values(language=None))
    assert examine_stored() == len(prompts)
    assert examine_stored() == 0
    assert [(one.message, one.start, one.stop, one.kind) for one in found()] == kept
    with reading() as session:
        assert session.scalars(select(Prompt.language).order_by(Prompt.id)).all() == ["en", "en", "en", "de", ""]
    (verdict,) = [stored(texts[3].lower().rstrip("?") + " bitte").split]
    assert verdict is Split.TRAIN  # of the prompt that it nearly repeats
