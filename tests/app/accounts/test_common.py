"""Passwords that are tried first are refused, and what takes long to guess is not."""

import secrets

import pytest

from app.accounts.common import is_common, listed
from app.accounts.passwords import MIN_LENGTH, check_new
from app.errors import BadInput

EASY = """1234567890 qwertyuiop passwordpassword 0987654321 asdfghjkl; 1qaz2wsx3edc zaq12wsxcde3 Password123!
iloveyou123 P@ssw0rd2024
monkeymonkey aaaaaaaaaa abababababab abcabcabcabc qwerty12345 q1w2e3r4t5 1q2w3e4r5t6y letmein1234
administrator Plumbline2026 plumblineplumbline changeme123 abcd1234qwer adminadmin12 trustno1trustno1 iloveyoubaby
michael1234567890 11111222223333 1234567890qwertyuiop sunshine-monkey superman!!!! hallo12345 1234554321 qazwsxedcrfv
!QAZ2wsx#EDC 0000000001 thepassword MyPassword1 P4ssw0rd!P4ssw0rd! anastasia2026 anastasia.b-anastasia.b1
ｐａｓｓｗｏｒｄ１２３ qwertzuiop azertyuiop"""
GOOD = """correct horse battery|four unrelated words|wörter ganz ohne bezug|k7#mQz!9pLw2|tulip engine yellow
Grüne-Wolke-fährt-7|trombone 7 glacier|9274018365|sommerregen im august|密码密码很长很难猜吗
anastasia likes old trams"""


@pytest.mark.parametrize("password", EASY.split())
def test_what_is_tried_first_is_refused(password):
    with pytest.raises(BadInput, match=r"easy to guess.*four unrelated words") as refused:
        check_new(password, "anastasia.b")
    assert refused.value.field == "password"


@pytest.mark.parametrize("password", GOOD.replace("\n", "|").split("|"))
def test_what_takes_long_to_guess_is_not(password):
    assert check_new(password, "anastasia.b") == password


def test_random_passwords_pass():
    for _ in range(2000):
        assert not is_common(secrets.token_urlsafe(12), "anastasia.b")


def test_the_list_holds_more_than_the_3000_most_common_that_are_long_enough_or_begin_one():
    assert len(listed()) > 3000 and sum(len(one) >= MIN_LENGTH for one in listed()) > 1000
    assert {"qwertyuiop", "1234567890", "password"} <= listed()
