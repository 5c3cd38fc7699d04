"""Choosing the K completions: distinct texts, shares kept, decided by the seed alone."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from app.completions.tables import Completion
from app.rounds.mixing import choose
from app.rounds.schemas import PolicyShare


def written(*texts: str) -> list[Completion]:
    return [Completion(text=text, text_sha256=hashlib.sha256(text.encode()).hexdigest()) for text in texts]


def shares(**counts: int | None) -> list[PolicyShare]:
    return [PolicyShare(policy=name, count=count) for name, count in counts.items()]


texts = st.lists(st.sampled_from(["", " ", "a", "b ", "b", "c", "d", "e", "f"]), max_size=6, unique=True)
candidates = st.fixed_dictionaries({"p": texts, "q": texts, "r": texts})
counts = st.fixed_dictionaries({name: st.none() | st.integers(1, 3) for name in "pqr"})


@given(candidates, counts, st.integers(2, 9), st.integers(0, 5))
def test_the_k_are_distinct_and_shares_are_kept(found, wanted, k, seed):
    by_policy = {policy: written(*said) for policy, said in found.items()}
    owner = {id(one): policy for policy, said in by_policy.items() for one in said}
    chosen = choose(by_policy, shares(**wanted), k, seed, "prompt")
    said = [one.text.strip() for one in chosen]
    assert len(set(said)) == len(said) <= k
    assert "" not in said
    for policy, count in wanted.items():
        if count is not None:
            assert sum(owner[id(one)] == policy for one in chosen) <= count
    if all(count is None for count in wanted.values()):
        distinct = {text.strip() for said in found.values() for text in said} - {""}
        assert len(chosen) == min(k, len(distinct))


@given(candidates, st.integers(0, 5))
def test_the_order_in_which_completions_were_stored_does_not_matter(found, seed):
    one = choose({name: written(*said) for name, said in found.items()}, shares(p=None, q=None, r=None), 4, seed, "x")
    other = choose(
        {name: written(*reversed(said)) for name, said in reversed(found.items())},
        shares(r=None, q=None, p=None),
        4,
        seed,
        "x",
    )
    assert [completion.text.strip() for completion in one] == [completion.text.strip() for completion in other]


def test_a_mix_as_planned():
    found = {"new": written(*"abcdef"), "last": written(*"ghij"), "sft": written(*"klm")}
    chosen = choose(found, shares(new=3, last=2, sft=1), 6, 0, "prompt")
    said = {one.text for one in chosen}
    assert len(chosen) == 6
    assert [len(said & set("abcdef")), len(said & set("ghij")), len(said & set("klm"))] == [3, 2, 1]


def test_a_policy_that_repeats_itself_shrinks_k():
    found = {"new": written("a", "a ", " a"), "last": written("a", "b")}
    assert len(choose(found, shares(new=3, last=1), 4, 0, "prompt")) == 2


def test_seeds_and_prompts_choose_differently():
    found = {"p": written(*"abcdefghi")}
    picks = {
        "".join(one.text for one in choose(found, shares(p=None), 3, seed, prompt))
        for seed in range(5)
        for prompt in ("x", "y")
    }
    assert len(picks) > 5


def test_where_two_policies_wrote_the_same_neither_always_gets_it():
    found = {"p": written("same"), "q": written("same")}
    owner = {id(one): policy for policy, said in found.items() for one in said}
    got = [owner[id(choose(found, shares(p=None, q=None), 2, 0, str(n))[0])] for n in range(200)]
    assert 60 < got.count("p") < 140


def test_the_place_of_a_completion_tells_nothing_of_its_policy():
    found = {"p": written(*"abcd"), "q": written(*"efgh")}
    owner = {id(one): policy for policy, said in found.items() for one in said}
    first = [owner[id(choose(found, shares(p=2, q=2), 4, 0, str(n))[0])] for n in range(200)]
    assert 60 < first.count("p") < 140
