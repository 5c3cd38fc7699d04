"""What the tests of a labeler's day share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from app.accounts.tables import SignInSession
from app.assignments.tables import Draft
from app.database import reading, transaction
from tests.conftest import PASSWORD


def until(page, holds: Callable[[], bool]) -> None:
    """Wait until something is so in the database or on the page."""
    for _ in range(200):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not come to be so within ten seconds")


def rows(table):
    """Every row of a table."""
    with reading() as session:
        return session.scalars(select(table)).all()


def saved_text(text: str) -> bool:
    """Whether this text stands in a draft."""
    return any(draft.content.get("text") == text for draft in rows(Draft))


def expire_sessions() -> None:
    """Let every session have run out a minute ago."""
    with transaction() as session:
        session.execute(update(SignInSession).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))


def sign_in_again(page, account) -> None:
    """Sign in on the page one was sent to, and be back at the work."""
    page.fill("[name=username]", account.username)
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/assignments/*")


def at_work(page, heading: str) -> None:
    """Wait for a page of work and its scripts."""
    page.get_by_role("heading", level=1, name=heading).wait_for()
    page.get_by_label("Use single-key shortcuts").wait_for()


@contextmanager
def going_on(page) -> Iterator[None]:
    """What is done inside leads to another page, which is waited for."""
    before = page.url
    yield
    until(page, lambda: page.url != before)


def copies(page) -> list[str]:
    """The keys under which words are kept in this browser."""
    return page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('plumbline.words.'))")


def editor(page):
    """Where a demonstration is written."""
    return page.get_by_label("Your completion")


def line(page) -> str:
    """What the page says of saving."""
    return page.locator("#saved").inner_text()
