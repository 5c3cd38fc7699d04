"""Messages can be collected: gettext is called with literals, and its tool finds them in code and templates."""

import ast
import re

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from app.accounts.tables import Account
from app.config import ROOT
from app.conversations.tables import AlternativesState
from app.database import transaction
from app.errors import Conflict
from app.jobs.tables import JobState
from app.kit.i18n import FOLDER, gettext, languages, ngettext, set_language
from app.kit.words import WORDS
from app.plans.tables import PlanState, StepState
from app.policies.tables import PolicyKind
from app.prompts.tables import FindingState
from app.rounds.tables import ItemKind, RoundPriority, RoundPurpose, RoundState
from app.snapshots.exports import What, rows
from app.snapshots.tables import Snapshot, SnapshotState
from training.contract.records import Pool

CALLS = {"_", "N_", "gettext", "ngettext"}


def test_gettext_is_called_with_literals():
    for path in (ROOT / "app").rglob("*.py"):
        name = str(path.relative_to(ROOT))
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in CALLS:
                literal = isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
                marked = isinstance(call.args[0], ast.Attribute)  # a value that was marked with N_
                assert literal or marked, f"{name}:{call.lineno} cannot be collected for translation"
            if isinstance(call, ast.JoinedStr):  # before Python 3.12 the tool does not look into an f-string
                inside = {
                    one.func.id
                    for one in ast.walk(call)
                    if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)
                }
                assert not inside & CALLS, f"{name}:{call.lineno} says a message within an f-string"


def messages() -> set[str | tuple[str, ...]]:
    """Every message of code and templates; one with a plural as (singular, plural)."""
    found = set()
    for folder, method, options in (("app", "python", {}), ("templates", "jinja2", {"extensions": "jinja2.ext.do"})):
        for _file, _line, message, *_rest in extract_from_dir(
            ROOT / folder, method_map=[("**.py", method), ("**.html", method)], options_map={"**.html": options},
            keywords={**{"_": None, "gettext": None, "N_": None}, "ngettext": (1, 2)},
        ):  # fmt: skip
            found.add(message)
    return found - {""}


def catalogue(language: str) -> Catalog:
    with (FOLDER / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=language)


def test_the_tool_finds_messages_of_code_templates_and_errors():
    found = messages()
    assert {
        "Sign in",
        "Please sign in",
        "Please sign in to continue.",
        ("Signed in on %(num)s device.", "Signed in on %(num)s devices."),
    } <= found


@pytest.mark.parametrize("language", languages()[1:])
def test_everything_said_is_translated_and_nothing_else_is(language):
    known = {message.id for message in catalogue(language) if message.id}
    said = messages()
    assert not said - known, "new messages: run `make messages` and translate what is empty"
    assert not known - said, "messages that nothing says any more: run `make messages`"


@pytest.mark.parametrize("language", languages()[1:])
def test_no_translation_is_empty_fuzzy_or_without_its_placeholders(language):
    wrong = []
    for message in catalogue(language):
        if not message.id:
            continue
        texts = [message.string] if isinstance(message.string, str) else list(message.string)
        asked = message.id if isinstance(message.id, str) else message.id[-1]
        one = {"num"} if message.pluralizable else set()  # a singular may say its number in words
        for text in texts:
            lost = placeholders(asked) - one - placeholders(text) or placeholders(text) - placeholders(asked)
            edges = (text[:1] == " ") != (asked[:1] == " ") or (text[-1:] in ":…") < (asked[-1:] in ":…")
            if not text or message.fuzzy or lost or edges:
                wrong.append((asked, text))
    assert not wrong, wrong


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\((\w+)\)[sdr0-9]", text))


def test_pages_speak_the_language_of_the_browser_then_of_the_account(client, people):
    german = {"Accept-Language": "fr;q=0.9, de-AT, en;q=0.5"}
    page = client.get("/sign-in", headers=german).text
    assert '<html lang="de">' in page and "Benutzername" in page
    assert '<html lang="en">' in client.get("/sign-in", headers={"Accept-Language": "fr"}).text
    ana = people.labeler("ana")
    people.sign_in(client, ana)
    assert '<html lang="en">' in client.get("/", headers=german).text, "the account says English"
    with transaction() as session:
        session.get_one(Account, ana.id).language = "de"
    page = client.get("/").text
    assert '<html lang="de">' in page and "Ihr Arbeitsplatz" in page
    assert "Seite nicht gefunden." in client.get("/admin").text, "errors too"


def test_plurals_and_the_empty_message():
    set_language("de")
    try:
        assert ngettext("%(num)d prompt", "%(num)d prompts", 1) % {"num": 1} == "1 Prompt"
        assert ngettext("%(num)d line", "%(num)d lines", 2) % {"num": 2} == "2 Zeilen"
        assert gettext("") == "" and gettext("what nobody translated") == "what nobody translated"
    finally:
        set_language("en")


STORED = {"state", "purpose", "kind", "pool", "priority"}


def test_every_state_purpose_kind_and_pool_has_a_word():
    for values in (
        RoundState, RoundPurpose, RoundPriority, ItemKind, PolicyKind, JobState, PlanState, StepState, SnapshotState,
        AlternativesState, FindingState, Pool,
    ):  # fmt: skip
        assert set(values) <= WORDS.keys(), values


def test_a_message_says_stored_values_in_the_readers_language():
    """`_("The job is %(state)s.") % {"state": job.state}` would show German readers an English word."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and isinstance(node.right, ast.Dict):
                raw = [v.attr for v in node.right.values if isinstance(v, ast.Attribute) and v.attr in STORED]
                assert not raw, f"{path}:{node.lineno}: {raw}"


def test_a_refusal_names_the_state_in_german():
    set_language("de")
    try:
        with pytest.raises(Conflict, match="eingereiht"):
            rows(Snapshot(public_id="s1", state=SnapshotState.QUEUED), What.PAIRS)
    finally:
        set_language("en")
