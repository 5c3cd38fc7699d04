"""What may happen to accounts and tokens, on both databases."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from app import database as app_database
from app.accounts import passwords, queries, rules
from app.accounts.passwords import MAX_LENGTH, MIN_LENGTH, check_new, hash_password, verify
from app.accounts.tables import Account, AccountKind, ApiToken, AuditEntry, Role, Scope
from app.errors import BadInput, Conflict, NotFound, TooMany
from app.web import auth
from training.contract.records import Pool


def actions(session) -> list[str]:
    return list(session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))


def test_an_account_is_made_once_whatever_its_letters(database, people):
    made = people.labeler(" Ana.B@example.org ", name=" Ana ")
    assert (made.username, made.name, made.pool, made.kind) == ("ana.b@example.org", "Ana", Pool.TRAIN, "person")
    with pytest.raises(Conflict, match=r"ana\.b@example\.org") as refused:
        people.labeler("ANA.B@EXAMPLE.ORG")
    assert refused.value.field == "username"
    with app_database.reading() as session:
        assert queries.by_username(session, "Ana.B@Example.org").id == made.id
        assert actions(session) == ["account.create"]


def test_strange_user_names_names_and_languages_are_refused(database, people):
    for username in ("", " ", "a b", "ä", "-ana", "ana.", "a" * 81, "<script>", "a\nb"):
        with pytest.raises(BadInput) as refused:
            people.labeler(username)
        assert refused.value.field == "username"
    for field, value in (("name", ""), ("name", "x" * 121), ("language", "tlh")):
        with pytest.raises(BadInput) as refused:
            people.labeler(**{field: value})
        assert refused.value.field == field


@pytest.mark.parametrize("password", ["", "x" * (MIN_LENGTH - 1), "x" * (MAX_LENGTH + 1), "Anastasia.B"])
def test_a_weak_password_is_refused(password):
    with pytest.raises(BadInput):
        check_new(password, "anastasia.b")
    assert check_new("four unrelated words", "ana")


def test_a_password_is_verified_and_never_a_hash_in_its_place(database):
    stored = hash_password("four unrelated words")
    assert verify("four unrelated words", stored)[0]
    assert not verify(str(stored), stored)[0]
    assert not verify("four unrelated words", "not a hash")[0]
    assert not verify("nobody signs in with this", None)[0]


def test_at_most_two_hashes_run_at_once(monkeypatch):
    running, most = 0, 0

    class Slow:
        def hash(self, password):
            nonlocal running, most
            running += 1
            most = max(most, running)
            time.sleep(0.01)
            running -= 1
            return "hash"

    with monkeypatch.context() as patch, ThreadPoolExecutor(8) as pool:
        patch.setattr(passwords, "_hasher", Slow)
        list(pool.map(hash_password, ["password"] * 16))
    assert most == 2


def test_a_crowd_at_the_door_is_asked_to_come_back(monkeypatch):
    """Requests wait in threads; if all of them waited for passwords, nobody else would be served."""
    release = threading.Event()

    class Stuck:
        def hash(self, password):
            release.wait(10)
            return "hash"

    def ask(_number) -> bool:
        try:
            hash_password("password")
        except TooMany as refused:
            release.set()  # the last one did not wait
            return refused.retry_after_seconds > 0
        return False

    with monkeypatch.context() as patch, ThreadPoolExecutor(17) as pool:
        patch.setattr(passwords, "_hasher", Stuck)
        assert sum(pool.map(ask, range(17))) == 1


def test_the_last_admin_stays(database, people):
    olga, otto = people.admin(), people.admin("otto")
    with app_database.transaction() as session:
        rules.change_account(session, otto, by=olga, role=Role.LABELER)
    for change in ({"role": Role.LABELER}, {"disabled": True}):
        with pytest.raises(Conflict, match="last admin"), app_database.transaction() as session:
            rules.change_account(session, olga, by=olga, **change)
    with app_database.reading() as session:
        assert queries.get(session, olga.public_id).role is Role.ADMIN


def test_the_last_two_admins_cannot_step_down_at_once(database, people):
    pair = [people.admin(), people.admin("otto")]

    def step_down(account) -> bool:
        try:
            with app_database.transaction() as session:
                rules.change_account(session, account, by=account, role=Role.LABELER)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(step_down, pair)) == [False, True]


def test_a_change_is_written_down_with_what_it_changed(database, people):
    olga, ana = people.admin(), people.labeler()
    with app_database.transaction() as session:
        rules.change_account(session, ana, by=olga, pool=Pool.HELD_OUT, name="Ana")
        rules.change_account(session, ana, by=olga, pool=Pool.HELD_OUT)  # changes nothing, says nothing
    with app_database.reading() as session:
        entries = queries.audit(session, subject=ana.public_id)
    assert [(entry.action, account and account.username) for entry, account in entries] == [
        ("account.change", "olga"),
        ("account.create", None),
    ]
    assert entries[0][0].detail == {"pool": "held-out"}


def test_disabling_ends_sessions_and_enabling_brings_none_back(database, people):
    olga, ana = people.admin(), people.labeler()
    with app_database.transaction() as session:
        secret = rules.open_session(session, ana)
        rules.change_account(session, ana, by=olga, disabled=True)
        rules.change_account(session, ana, by=olga, disabled=False)
    with app_database.reading() as session:
        assert queries.session_of(session, secret) is None


def test_a_new_password_signs_out_everywhere_else(database, people):
    ana = people.labeler()
    with app_database.transaction() as session:
        here, there = rules.open_session(session, ana), rules.open_session(session, ana)
        other = rules.open_session(session, people_ben := rules.create_account(
            session, username="ben", name="Ben", password=hash_password("four unrelated words")))  # fmt: skip
        rules.set_password(session, ana, hash_password("another four words"), by=ana, keep=here)
    with app_database.reading() as session:
        assert queries.session_of(session, here).account_id == ana.id
        assert queries.session_of(session, there) is None
        assert queries.session_of(session, other).account_id == people_ben.id
        assert verify("another four words", queries.get(session, ana.public_id).password_hash)[0]


RECOVERIES = {
    "password": lambda session, ana, olga: rules.set_password(
        session, ana, hash_password("another four words"), by=olga
    ),
    "sign-out": lambda session, ana, olga: rules.sign_out_everywhere(session, ana, by=olga),
    "disabled": lambda session, ana, olga: rules.change_account(session, ana, by=olga, disabled=True),
}


@pytest.mark.parametrize("recovery", RECOVERIES)
def test_recovering_an_account_revokes_its_tokens_and_no_others(database, people, recovery):
    ana, olga, ben = people.labeler(), people.admin(), people.labeler("ben")
    with app_database.transaction() as session:
        secrets = [rules.create_token(session, ana, name="x", scopes=["work"])[1] for _ in range(2)]
        other = rules.create_token(session, ben, name="x", scopes=["work"])[1]
    with app_database.transaction() as session:
        RECOVERIES[recovery](session, ana, olga)
        rules.change_account(session, ana, by=olga, disabled=False)  # being enabled again brings no token back
    with app_database.reading() as session:
        assert [queries.live_token(session, secret) for secret in secrets] == [None, None]
        assert queries.live_token(session, other)


def test_tokens_are_kept_where_that_was_chosen(database, people):
    ana = people.labeler()
    with app_database.transaction() as session:
        secret = rules.create_token(session, ana, name="x", scopes=["work"])[1]
        rules.set_password(session, ana, hash_password("another four words"), by=None, keep_tokens=True)
        rules.sign_out_everywhere(session, ana, by=None, keep_tokens=True)
    with app_database.reading() as session:
        assert queries.live_token(session, secret)


def test_strange_tokens_are_refused(database, people):
    ana = people.labeler()
    for fields, field in (
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["work", "everything"]}, "scopes"),
        ({"scopes": ["read"]}, "scopes"),  # a labeler's
        ({"days": 0, "by": ana}, "days"),  # only an admin may choose one that never ends
        ({"days": None}, "days"),
        ({"days": 100_000}, "days"),
    ):
        with app_database.transaction() as session, pytest.raises(BadInput) as refused:
            rules.create_token(session, ana, **{"name": "x", "scopes": ["work"], **fields})
        assert refused.value.field == field


def test_tokens_are_random_hashed_and_revoked_by_their_owner_alone(database, people):
    ana, ben = people.labeler(), people.labeler("ben")
    with app_database.transaction() as session:
        token, secret = rules.create_token(session, ana, name="x", scopes=[Scope.WORK, "work"], days=0)
        _other, another = rules.create_token(session, ana, name="x", scopes=["work"])
    assert secret != another and secret.startswith("plumb_") and len(secret) >= 49
    assert secret not in (token.prefix, token.token_sha256) and token.scopes == ["work"] and token.expires_at is None
    with pytest.raises(NotFound), app_database.transaction() as session:
        rules.revoke_token(session, ben, token.public_id)
    with app_database.reading() as session:
        assert queries.live_token(session, secret).account.id == ana.id
    with app_database.transaction() as session:
        rules.revoke_token(session, ana, token.public_id)
    with app_database.reading() as session:
        assert queries.live_token(session, secret) is None
    with pytest.raises(NotFound), app_database.transaction() as session:
        rules.revoke_token(session, ana, token.public_id)


def test_noting_that_a_token_was_used_does_not_undo_what_happened_meanwhile(database, people):
    ana = people.labeler()
    with app_database.transaction() as session:
        _token, secret = rules.create_token(session, ana, name="x", scopes=["work"])
    with app_database.reading() as session:
        read_before = queries.live_token(session, secret)
    with app_database.transaction() as session:
        rules.revoke_token(session, ana, read_before.public_id)
        session.get_one(Account, ana.id).pool = Pool.HELD_OUT
    auth._note_use(read_before)
    with app_database.reading() as session:
        assert queries.live_token(session, secret) is None
        assert session.get_one(Account, ana.id).pool is Pool.HELD_OUT
        assert session.get_one(ApiToken, read_before.id).last_used_at is not None


def test_the_first_admin_is_made_once_and_admins_who_are_no_person_do_not_count(database, people):
    people.admin("demo-admin", kind=AccountKind.DEMO)
    people.admin("simulated-admin", kind=AccountKind.SIMULATED)
    password = hash_password("four unrelated words")
    with app_database.transaction() as session:
        assert rules.first_admin(session, username="olga", name="Olga", password=password).role is Role.ADMIN
    with pytest.raises(NotFound), app_database.transaction() as session:
        rules.first_admin(session, username="eve", name="Eve", password=password)


def test_lists_go_on_where_the_page_before_ended(database, people):
    for number in range(5):
        people.labeler(f"ana{number}")
    people.labeler("ben", name="Ben 100%")
    with app_database.reading() as session:
        first = queries.accounts(session, text="ANA", limit=3)
        rest = queries.accounts(session, text="ana", cursor=first[-1].public_id, limit=3)
        literal = queries.accounts(session, text="0%")
        nothing = queries.accounts(session, text="a_a")
    assert [account.username for account in first + rest] == [f"ana{number}" for number in (4, 3, 2, 1, 0)]
    assert ([account.username for account in literal], nothing) == (["ben"], [])
