"""Signing in and accounts in a real browser: by keyboard alone, without scripts, and against a page elsewhere."""

import http.server
import threading

import pytest

from app import database as app_database
from app.accounts import queries
from tests.browser.conftest import sign_in
from tests.conftest import PASSWORD


def account(username):
    with app_database.reading() as session:
        return queries.by_username(session, username)


def tab_to(page, name: str) -> None:
    """Press Tab until the control with this accessible name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => { const e = document.activeElement;"
            " return e.labels?.[0]?.firstChild.textContent.trim() || e.innerText?.trim() || e.value }"
        )
        if focused == name:
            return
    raise AssertionError(f"Tab never reaches {name!r}")


def test_an_admins_errand_with_the_keyboard_alone(page, people):
    people.admin()
    page.goto("/admin/accounts")
    page.keyboard.type("olga")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Accounts").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")  # over the navigation to the content
    tab_to(page, "New account")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="New account").wait_for()
    page.keyboard.type("bo")
    tab_to(page, "Password")
    page.keyboard.type("short")
    page.keyboard.press("Enter")
    page.get_by_role("alert").or_(page.locator(".error")).first.wait_for()
    assert page.locator("[aria-invalid=true]").get_attribute("name") == "password"
    tab_to(page, "Password")
    page.keyboard.type("four unrelated words")
    tab_to(page, "Pool")
    page.keyboard.press("ArrowDown")
    tab_to(page, "Create account")
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("can now sign in as").wait_for()
    assert account("bo").pool == "held-out"


@pytest.mark.parametrize("scripts", [True, False])
def test_a_wrong_password_is_told_and_the_name_is_kept(browser, live, people, scripts):
    people.labeler()
    context = browser.new_context(base_url=live, java_script_enabled=scripts)
    tab = context.new_page()
    tab.goto("/account")
    tab.fill("[name=username]", "ana")
    tab.fill("[name=password]", "wrong")
    tab.keyboard.press("Enter")
    tab.get_by_role("alert").wait_for()
    assert tab.input_value("[name=username]") == "ana"
    tab.fill("[name=password]", PASSWORD)
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="Your account").wait_for()


def test_a_page_on_another_port_changes_nothing(page, live, people):
    """The cookies of a host are sent to all of its ports, SameSite or not: the browser's word on the origin decides."""
    ana = people.labeler()
    sign_in(page, ana)
    token = page.get_attribute("input[name=csrf_token]", "value")  # even if it leaked
    attack = (
        f'<form method="post" action="{live}/account"><input name="csrf_token" value="{token}">'
        '<input name="name" value="Eve"><input name="language" value="en"><button>win</button></form>'
    )

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(attack.encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        with page.expect_navigation() as navigation:
            page.click("text=win")
        assert navigation.value.status == 403
        page.get_by_text("another site").wait_for()
    finally:
        server.shutdown()
    assert account("ana").name == "Ana"
    page.goto("/account")
    page.fill("section:has(#you) [name=name]", "Ana María")  # and our own form goes through
    page.click("section:has(#you) button")
    page.get_by_role("status").get_by_text("Saved.").wait_for()
    assert account("ana").name == "Ana María"


def test_htmx_carries_the_token_and_follows_to_the_sign_in_page(page, live, people):
    sign_in(page, people.labeler())
    page.goto("/account")
    with page.expect_response("**/account") as answered:
        values = "{name: 'By htmx', language: 'en'}"
        page.evaluate(f"() => {{ htmx.ajax('POST', '/account', {{source: document.body, values: {values}}}) }}")
    assert answered.value.status == 303 and account("ana").name == "By htmx"
    page.context.clear_cookies(name="plumbline_session")
    page.evaluate("() => { htmx.ajax('GET', '/account', {source: document.body}) }")
    page.wait_for_url("**/sign-in?next=/account")


def test_the_rest_interface_is_shown_under_the_strict_policy(page):
    page.goto("/docs")
    page.get_by_role("button", name="Authorize").wait_for()
    page.locator("#operations-tag-accounts button").first.click()
    page.get_by_role("link", name="/api/v1/accounts/me").first.wait_for()


def test_times_are_told_by_the_readers_clock(browser, live, people):
    page = browser.new_context(base_url=live, timezone_id="Asia/Tokyo").new_page()
    sign_in(page, people.labeler())
    page.goto("/account")
    assert page.locator("time").first.inner_text().endswith(" JST")
