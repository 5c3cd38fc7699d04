"""Near-duplicates: MinHash is datasketch's, the bands miss few, and only what says the same is called the same."""

import csv
import json
import random
from collections.abc import Iterator

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from app.config import ROOT
from app.prompts.hygiene.near_duplicates import (
    are_near_duplicates,
    bands,
    normal_form,
    signature,
)
from training.miniature.world import tasks

DATA = ROOT.parent / "shared/data"
ALIKE = 0.8  # of common shingles: what the bands are made to find


def shingles(text: str) -> set[str]:
    form = normal_form(text)
    return {form[place : place + 5] for place in range(max(1, len(form) - 4))}


def jaccard(one: str, other: str) -> float:
    """The share of common shingles among all shingles of two texts."""
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def similarity(one: bytes, other: bytes) -> float:
    """The share of equal numbers in two signatures."""
    return float((np.frombuffer(one, dtype="<u4") == np.frombuffer(other, dtype="<u4")).mean())


def hash_of(shingle: str) -> int:
    """A polynomial of the code points modulo 2^64, mixed, its upper half."""
    value = 0
    for character in shingle:
        value = (value * 0x9E3779B97F4A7C15 + ord(character) + 1) % 2**64
    return ((value ^ (value >> 32)) * 0xD6E8FEB86659FD93 % 2**64) >> 32


def by_datasketch(text: str) -> bytes:
    form = normal_form(text)
    sketch = MinHash(num_perm=126, seed=1, hashfunc=hash_of, scheme="affine32")
    sketch.update_batch([form[place : place + 5] for place in range(max(1, len(form) - 4))])
    return sketch.hashvalues.astype("<u4").tobytes()


@given(st.text(max_size=200))
def test_a_signature_is_datasketchs(text):
    assert signature(text) == by_datasketch(text)


def test_a_signature_of_a_long_text_is_the_same_in_pieces():
    text = " ".join(f"word{number * number}" for number in range(3_000))
    assert len(normal_form(text)) > 4 * 4096
    assert signature(text) == by_datasketch(text)


def edited(rng: random.Random, changed: float) -> tuple[str, str]:
    """Two texts of 120 words, some of which are replaced in the second."""
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(120)]
    others = [word[::-1] if rng.random() < changed else word for word in words]
    return " ".join(words), " ".join(others)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[float, bytes, bytes]]:
    """Pairs of texts of every likeness: their exact similarity and both signatures."""
    rng = random.Random(5)
    texts = [edited(rng, rng.choice((0.04, 0.05, 0.06, 0.08, 0.4))) for _ in range(2_000)]
    return [(jaccard(one, other), signature(one), signature(other)) for one, other in texts]


def test_the_estimate_is_close_to_the_share_of_common_shingles(pairs):
    errors = np.array([similarity(one, other) - exact for exact, one, other in pairs])
    assert abs(errors.mean()) < 0.003 and errors.std() < 0.045
    assert similarity(pairs[0][1], pairs[0][1]) == 1.0


def test_bands_miss_one_in_a_hundred_at_most_above_085_and_most_below_half(pairs):
    meets = [(exact, bool(set(bands(one)) & set(bands(other)))) for exact, one, other in pairs]
    high = [met for exact, met in meets if exact >= 0.85]
    near = [met for exact, met in meets if ALIKE <= exact < 0.85]
    low = [met for exact, met in meets if exact < 0.45]
    assert len(high) > 200 and sum(high) / len(high) > 0.99
    assert len(near) > 200 and sum(near) / len(near) > 0.97
    assert len(low) > 200 and sum(low) / len(low) < 0.15


def test_keys_fit_a_column_and_name_their_band():
    keys = bands(signature("Write a poem about the sea."))
    assert len(keys) == 18 == len(set(keys)) and all(-(2**63) <= key < 2**63 for key in keys)
    assert len(signature("")) == len(signature("x" * 5_000)) == 504
    assert len(set(bands(bytes(504)))) == 18, "equal rows in two bands are two keys"


def test_jaccard_by_hand():
    assert jaccard("abcdefg", "abcdefg") == 1.0
    assert jaccard("abcdef", "abcdeg") == 1 / 3  # abcde is common; bcdef and bcdeg are not
    assert jaccard("abc", "abd") == 0.0  # shorter than a shingle: the whole


PASSAGE = (
    "The lighthouse on the northern cape was built in 1872 by two brothers who had seen a ship go down there in a "
    "storm. Its lamp burned oil at first and was lit by hand every evening until electricity came to the island."
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Write a poem about the sea.", "write a poem about the sea"),
        ("Write a poem about the sea.", "  Write   a poem\nabout the sea!! "),
        ("Write a poem about the sea.", "Please write a poem about the sea."),
        ("Write a poem about the sea.", "Hi, could you please write a poem about the sea? Thanks a lot"),
        ("Write a poem about the sea.", "Hello! Write a poem about the sea, please."),
        ("Write a poem about the sea.", "WRITE A POEM ABOUT THE SEA"),
        ("Don’t use the word “sea”.", 'don\'t use the word "sea"'),
        ("How did the French Revolution begin?", "how did the french revolution begin"),
        ("How do I tie a tie?", "how do i tie a tie"),
        ("Who ruled in the year 1789?", "Who ruled in the year 1789!"),
        ("¿Qué hora es?", "Qué hora es"),
        ("Translate to German: I love the sea.", "translate to German: I love the sea"),
        ("What should I cook: pasta or rice?", "what should I  cook:\npasta or rice"),
        ("Explain light-dependent reactions", "explain light dependent reactions"),
        ("Caf\u00e9 names", "Cafe\u0301 names"),
        ("Write\u200b a poem", "Write a poem"),
        ("Ｗｒｉｔｅ　ａ　ｐｏｅｍ", "Write a poem"),
        ("写一首关于春天的诗。", "请写一首关于春天的诗"),
        (f"Summarize: {PASSAGE}", f"summarize:  {PASSAGE.rstrip('.')}"),
        (PASSAGE, PASSAGE.upper()),
    ],
)
def test_what_says_the_same(one, other):
    assert are_near_duplicates(one, other) and are_near_duplicates(other, one)
    assert set(bands(signature(one))) & set(bands(signature(other))), "and meets in a band"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 3+4?", "What is 5+9?"),
        ("What is 3 + 4?", "What is 3 - 4?"),
        ("What is 12 34?", "What is 1234?"),
        ("What is 10²?", "What is 102?"),
        ("Write a poem about dogs.", "Write a poem about cats."),
        ("say hello to ann", "say thanks to ann"),
        ("Which animal is faster, the dog or the cat?", "Which animal is faster, the cat or the dog?"),
        ("C# or C++?", "C or C?"),
        ("if x != y:", "if x == y:"),
        ("写一首关于春天的诗", "写一首关于秋天的诗"),
        ("???", "!!!"),
        ("😀", "😁"),
        (f"Summarize: {PASSAGE}", f"Translate: {PASSAGE}"),
        (f"Summarize: {PASSAGE}", f"Summarize in French: {PASSAGE}"),
        (f"{PASSAGE} When was it built?", f"{PASSAGE} Who built the lighthouse?"),
        (PASSAGE, PASSAGE.replace("1872", "1873")),
        (PASSAGE, PASSAGE.replace("was built", "was not built")),
        (PASSAGE, PASSAGE.replace("two", "ten")),
        (PASSAGE, PASSAGE.replace("lighthouse", "windmill")),
        (f"{PASSAGE} What do they speak in Austria?", f"{PASSAGE} What do they speak in Australia?"),
        (f"{PASSAGE} Is Marta older than Ann?", f"{PASSAGE} Is Maria older than Ann?"),
    ],
)  # fmt: skip
def test_what_asks_for_something_else(one, other):
    assert not are_near_duplicates(one, other) and not are_near_duplicates(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [  # small words
        ("What causes hepatitis A?", "What causes hepatitis?"),
        ("What is vitamin a?", "What is vitamin?"),
        ("Translate 'please' into French.", "Translate 'the' into French."),
        ("Translate please into French.", "Translate the into French."),
        ("What does the word 'these' mean?", "What does the word 'those' mean?"),
        ("What does the word these mean?", "What does the word those mean?"),
        ("Which article is right: a or an?", "Which article is right: the or an?"),
        ("Which article is right, a or an?", "Which article is right, the or an?"),
        ("Why do a few people vote?", "Why do few people vote?"),
        ("Does he love me?", "Does he love?"),
        ("How do you say please?", "How do you say?"),
        # thanks and greetings
        ("Translate to German: thank you", "Translate to German: thanks a lot"),
        ("Translate to German: thank you", "Translate to German: danke"),
        ("Translate to German. Thank you", "Translate to German. Thanks a lot"),
        ("How do you say thanks?", "How do you say?"),
        ("Say hello thanks", "Say hello"),
        ("Hello world", "world"),
        ("Hello, world", "world"),
        ("Will you marry me?", "marry"),
        ("Will you marry me?", "Marry me."),
        ("Would you kill a person?", "Kill a person."),
        ("请假条怎么写", "假条怎么写"),
        # code
        ("What does it print?\nfor i in x:\n    a(i)\n    b(i)", "What does it print?\nfor i in x:\n    a(i)\nb(i)"),
        ("Why:\nif x:\n\ty\nz", "Why:\nif x:\n\ty\n\tz"),
        ("Convert the string 'Hello' to upper case", "Convert the string 'hello' to upper case"),
        ("Convert Hello to upper case", "Convert hello to upper case"),
        ("Is 'ABC' equal to 'abc'?", "Is 'abc' equal to 'abc'?"),
        ('Is "a  b" equal to "a b"?', 'Is "a b" equal to "a b"?'),
        ("What does ls -L do?", "What does ls -l do?"),
        # signs
        ("What is 5 - 3?", "What is 5 3?"),
        ("What is -3 plus 4?", "What is 3 plus 4?"),
        ("What is the cube of 3.", "What is the cube of .3"),
        ("Explain .NET", "Explain net"),
        ("What is 5!?", "What is 5?"),
        ("What is n! for n above 3?", "What is n for n above 3?"),
        # case
        ("What does US mean?", "What does us mean?"),
        ("What is IT?", "What is it?"),
        ("What is CO?", "What is Co?"),
        ("How many mW is it?", "How many MW is it?"),
        ("Write about Turkey.", "Write about turkey."),
        ("What is Polish?", "What is polish?"),
        # words that are one letter from another
        ("How do I make a desert?", "How do I make a dessert?"),
        ("Write a story about a trial in the mountains of the north of Italy.",
         "Write a story about a trail in the mountains of the north of Italy."),
        ("What is the boiling point of methanol at the pressure of the sea level?",
         "What is the boiling point of methanal at the pressure of the sea level?"),
        (f"Summarize: {PASSAGE}", f"Summarize: {PASSAGE.replace('brothers', 'brohters')}"),
        ("What does every day mean?", "What does everyday mean?"),
        ("What is the difference between its and it's?", "What is the difference between its and its?"),
        # punctuation and spelling
        ("Add punctuation: hello how are you", "Add punctuation: hello, how are you"),
        ("Punctuate: Im going home", "Punctuate: I'm going home!"),
        ("Punctuate how are you", "Punctuate how are you?"),
        ("Correct the spelling in this sentence. I definately saw it",
         "Correct the spelling in this sentence. I definitely saw it"),
        ("Where are commas missing? Lets eat grandma", "Where are commas missing? Lets eat, grandma"),
    ],
)  # fmt: skip
def test_what_differs_in_little_and_asks_for_something_else(one, other):
    assert not are_near_duplicates(one, other) and not are_near_duplicates(other, one)


def test_none_of_the_prompts_of_the_miniature_world_is_another_ones_duplicate():
    texts = [task.prompt for task in tasks(1, 1_500)]
    alike = [(a, b) for a, b in candidates(texts) if jaccard(a, b) >= ALIKE]
    assert len(alike) > 20, "many are made of one form and differ in a word or a number"
    assert not [pair for pair in alike if are_near_duplicates(*pair)]


def candidates(texts: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs that share a key, as a table of keys would find them."""
    known: dict[int, list[str]] = {}
    for text in dict.fromkeys(texts):
        meeting = {other: None for key in bands(signature(text)) for other in known.setdefault(key, [])}
        yield from ((other, text) for other in meeting)
        for key in bands(signature(text)):
            known[key].append(text)


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
def test_of_public_prompts_that_are_alike_none_is_a_duplicate():
    with (DATA / "truthfulqa/TruthfulQA.csv").open(encoding="utf-8-sig") as file:
        texts = [row["Question"] for row in csv.DictReader(file)]
    for line in (DATA / "squad2-sample/squad2_dev_sample_300.jsonl").open():
        row = json.loads(line)
        texts.append(f"{row['context']}\n{row['question']}")
    texts += [json.loads(line)["prompt"] for line in (DATA / "ifeval/input_data.jsonl").open()]
    for name in ("user_oriented/instructions.jsonl", "seed-tasks/seed_tasks.jsonl"):
        for task in map(json.loads, (DATA / name).open()):
            texts += [f"{task['instruction']}\n{instance['input']}" for instance in task["instances"]]
    alike = [pair for pair in candidates(texts) if jaccard(*pair) >= ALIKE]
    assert len(alike) == 59  # all were read: other questions of one text, and one question of other countries
    assert not [pair for pair in alike if are_near_duplicates(*pair)]


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_two_texts_can_be_compared(one, other):
    assert are_near_duplicates(one, one) and jaccard(one, one) == 1.0
    assert are_near_duplicates(one, other) == are_near_duplicates(other, one)
    assert 0.0 <= jaccard(one, other) <= 1.0
