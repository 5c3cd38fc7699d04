"""Two tabs, double clicks, expired sessions, shared browsers and lost leases: no word of a labeler is lost."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from app.accounts.tables import SignInSession
from app.assignments.tables import Assignment, Draft, Skip
from app.database import reading, transaction
from app.demonstrations.tables import Demonstration
from app.rounds.tables import ItemKind
from tests.app.desk.pages.plain_browser import Browser, Fields, one
from tests.app.desk.test_api import close
from tests.desk import make_round


def test_a_double_click_on_hand_in_is_one_row_and_no_error(ana):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    ana.next()
    page = ana.html
    for _ in range(2):
        ana.html = page
        ana.press("submit", text="once", do="stop")
        assert ana.url == "/" and "Submitted." in ana.html
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Demonstration)) == 1


def test_a_double_click_on_a_step_is_no_conflict(ana):
    make_round(1, k=2)
    ana.next()
    page = ana.html
    for _ in range(2):
        ana.html = page
        ana.press(do="go_on", **{"rating.A": 5})
        assert ana.reply.status_code == 200 and "Rate completion B" in ana.html


@pytest.mark.parametrize("act", ["draft", "submit"])
def test_two_tabs_see_both_texts_and_choose(ana, act):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    tab = ana.html
    ana.press(do="save", text="from the first tab")
    ana.html = tab
    ana.press(act, text="from the second tab")
    assert ana.reply.status_code == 409
    assert "from the first tab" in ana.html and "from the second tab" in ana.html
    assert one(Draft).content["text"] == "from the first tab"
    form = Fields(ana.html.split('aria-labelledby="yours"')[1]).fields
    url = re.search(rf'action="(/assignments/\w+/{act})"', ana.html)[1]
    ana.follow(ana.client.post(url, data=form))
    assert one(Draft).content["text"] == "from the second tab"


def test_another_answer_after_handing_in_shows_both(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    tab = ana.html
    ana.press("submit", text="the first")
    ana.html = tab
    ana.press("submit", text="the second", key="another page load")
    assert ana.reply.status_code == 409 and "the first" in ana.html and "the second" in ana.html
    ana.html = tab
    ana.press(text="the third")
    assert ana.reply.status_code == 409 and "the third" in ana.html


def test_words_changed_after_handing_in_are_not_swallowed_by_the_pages_key(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    tab = ana.next().html
    ana.press("submit", text="first words")
    ana.html = tab  # the browser's Back: the same page with the same key
    ana.press("submit", text="better words")
    assert ana.reply.status_code == 409 and "first words" in ana.html and "better words" in ana.html
    ana.html = tab
    ana.press("submit", text="first words")
    assert ana.reply.status_code == 200 and one(Demonstration).completion_id


@pytest.mark.parametrize("act", ["draft", "submit", "skip"])
def test_a_file_in_place_of_a_text_is_ignored(ana, act):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next().press(do="save", text="typed")
    fields = {**Fields(ana.html).fields, "reason": "other"}
    file = ("a.txt", b"not typed")
    for name in ("version", "text", "active_seconds", "do", "key"):
        fields.pop(name, None)
    sent = ana.client.post(f"{ana.url}/{act}", data=fields, files={"version": file, "text": file, "do": file})
    assert sent.status_code in (200, 303, 409), sent.text
    assert one(Draft).content["text"] == "typed"


@pytest.mark.parametrize("act", ["draft", "submit", "skip"])
def test_an_expired_session_keeps_the_text_and_asks_to_sign_in(ana, act):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    url = ana.url
    with transaction() as session:
        session.execute(update(SignInSession).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    ana.press(act, text="written all afternoon", reason="other")
    assert ana.url == "/sign-in" and "kept as a draft" in ana.html
    assert one(Draft).content["text"] == "written all afternoon"
    with reading() as session:
        assert not session.scalars(select(Demonstration)).all() and not session.scalars(select(Skip)).all()
    assert ana.client.get(url).status_code == 303, "an expired session reads nothing"
    ana.people.sign_in(ana.client, ana.account)
    assert "written all afternoon" in ana.open(url).html


def test_an_expired_session_overwrites_nothing(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    tab = ana.html
    ana.press(text="from the first tab")
    with transaction() as session:
        session.execute(update(SignInSession).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    ana.html = tab
    ana.press(text="from the second tab")
    assert one(Draft).content["text"] == "from the first tab\n\nfrom the second tab"


def test_an_expired_session_of_somebody_else_keeps_nothing(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    ana.people.sign_in(ana.client, ana.people.labeler("ben"))
    with transaction() as session:
        session.execute(update(SignInSession).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    ana.press(text="not mine", csrf_token=ana.people.csrf(ana.client)["csrf_token"])
    assert ana.reply.status_code == 403 and one(Draft).content == {}


@pytest.mark.parametrize("act", ["draft", "submit", "skip"])
def test_a_page_left_open_in_a_shared_browser_never_reaches_the_next_persons_draft(ana, act):
    make_round(1, kind=ItemKind.DEMONSTRATION, overlap=2)
    tab = ana.next().html
    ben = Browser(ana.client, ana.people, ana.people.labeler("ben"))
    url = ben.next().url
    ben.press(text="by ben")
    headers = {"Sec-Fetch-Site": "same-origin"}
    sent = Fields(tab).fields | {"text": "by <ana>", "reason": "other"}
    refused = ana.client.post(f"{url}/{act}", data=sent, headers=headers)
    assert refused.status_code == 403 and "Sign in as the writer of this text" in refused.text
    assert "by &lt;ana&gt;" in refused.text, "the words are not lost"
    told = ana.client.post(f"{url}/draft", data=sent, headers=headers | {"Accept": "application/json"})
    assert told.status_code == 403 and "Sign in as the writer" in told.json()["detail"]
    with reading() as session:
        assert session.scalar(select(Draft.content).where(Draft.labeler_id == ben.account.id))["text"] == "by ben"
        assert not session.scalars(select(Demonstration)).all() and not session.scalars(select(Skip)).all()


def test_a_page_from_before_signing_in_again_keeps_the_text_and_does_no_more(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    url, tab = ana.url, ana.html
    ana.people.sign_in(ana.client, ana.account)
    refused = ana.client.post(f"{url}/submit", data=Fields(tab).fields | {"text": "old page"})
    assert refused.status_code == 403 and one(Draft).content == {}, "no browser vouches for it"
    ana.press("submit", headers={"Sec-Fetch-Site": "same-origin"}, text="old page")
    assert ana.url == url and "You signed in again" in ana.html and "old page" in ana.html
    with reading() as session:
        assert not session.scalars(select(Demonstration)).all()
    other_site = ana.client.post(f"{url}/submit", data={"text": "evil"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert other_site.status_code == 403 and one(Draft).content["text"] == "old page"
    headers = {"Sec-Fetch-Site": "same-origin"}
    assert ana.client.post("/assignments/next", headers=headers).status_code == 403
    assert ana.client.post(f"{url}/resume", headers=headers).status_code == 403


def test_a_script_hears_how_saving_went(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    url, headers = ana.url, {"Accept": "application/json"}
    fields = Fields(ana.html).fields
    told = ana.client.post(f"{url}/draft", data=fields | {"text": "a"}, headers=headers)
    assert told.json()["version"] == 1 and told.json()["lost"] is None
    refused = ana.client.post(f"{url}/draft", data=fields | {"text": "b"}, headers=headers)
    assert refused.status_code == 409 and refused.json()["current"]["content"]["text"] == "a"
    beat = ana.client.post(f"{url}/heartbeat", data=fields)
    assert beat.status_code == 204
    with transaction() as session:
        session.execute(update(SignInSession).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    told = ana.client.post(f"{url}/draft", data=fields | {"version": "1", "text": "c"}, headers=headers)
    assert told.status_code == 401 and told.json()["sign_in"].startswith("/sign-in?next=")
    assert one(Draft).content["text"] == "c"


def test_a_lost_lease_and_a_closed_round_say_so_and_take_the_work(ana):
    round = make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    url = ana.url
    ana.press(do="save", text="mine")
    ben = Browser(type(ana.client)(ana.client.app, base_url="http://127.0.0.1:8000", follow_redirects=False), ana.people, ana.people.labeler("ben"))  # fmt: skip  # noqa: E501
    with transaction() as session:
        session.execute(update(Assignment).values(lease_until=datetime.now(UTC) - timedelta(hours=1)))
    assert ben.next().url == url
    assert "ran out" in ana.open(url).html and "mine" in ana.html
    assert "time ran out" in ana.open("/").html
    ana.follow(ana.client.post(f"{url}/resume", data=ana.people.csrf(ana.client)))
    assert "Somebody else has this task now" in ana.html
    close(round)
    assert "This round has closed" in ana.open(url).html
    ana.press("submit")
    assert "extra answer" in ana.html and one(Demonstration).surplus is True
