"""Plain text to pretrain on: all the world's words and ways of speaking, hardly any instructions.

What supervised training should teach (which of these to produce on instruction) is left out. What it can build on is
here: facts, lists, passages with questions, styles, kind words, rudeness, refusals, and much text in which looking back
pays.
"""

import random
from collections.abc import Callable, Iterator

from training.miniature import lexicon
from training.miniature.answers import DECLINES, INSULTS, KIND_ACTS, PREACHED, SENTENCES, SUMMARIES, UTTERANCES
from training.miniature.instructions import FAMILIES, draw, passage, people

_EVERY_WORD = sorted(
    {*lexicon.GOODS, *lexicon.TOPICS, *lexicon.NAMES, *lexicon.KIND_OF, *lexicon.QUALITIES, *lexicon.VERBS}
)


def _repeats(rng: random.Random) -> str:
    """Repeat a random run of words: the next word is known only by looking back."""
    run = [rng.choice(_EVERY_WORD) for _ in range(rng.randint(3, 9))]
    end = rng.choice((".", ",", ""))
    return " ".join([" ".join(run) + end] * rng.randint(2, 4))


def _lookup(rng: random.Random) -> str:
    """List pairs, then list them again in another order."""
    keys = rng.sample(lexicon.NAMES + lexicon.TOPICS, rng.randint(2, 5))
    pairs = [f"{key} {value}" for key, value in zip(keys, rng.sample(_EVERY_WORD, len(keys)), strict=True)]
    again = rng.sample(pairs, len(pairs))
    return ", ".join(pairs) + ". " + ", ".join(again) + "."


def _story(rng: random.Random) -> str:
    """Write who does what, then repeat some of it or ask and answer."""
    facts = people(rng, rng.randint(2, 4))
    lines = [passage(facts)]
    for name, verb, thing in rng.sample(facts, rng.randint(1, len(facts))):
        asked = f"what does {name} {lexicon.VERBS[verb]}?"
        answer = f"{name} {verb} {thing}."
        if rng.random() < 0.15:
            stranger = rng.choice([n for n in lexicon.NAMES if n not in {fact[0] for fact in facts}])
            asked, answer = f"what does {stranger} {lexicon.VERBS[verb]}?", "the passage does not say."
        lines.append(answer if rng.random() < 0.4 else f"{asked} {answer}")
    return " ".join(lines)


def _about_one(rng: random.Random) -> str:
    """Mention a person and a thing repeatedly, then summarize."""
    (name, verb, thing), aside = people(rng, 2)
    told = [(name, verb, thing), (name, rng.choice(list(lexicon.VERBS)), thing), aside]
    rng.shuffle(told)
    length = rng.choice(list(SUMMARIES))
    short = rng.choice(SUMMARIES[length]).format(name=name, thing=thing)
    return f"{passage(told)} {rng.choice(('in short:', 'so,', 'that is a long story, but'))} {short}"


def _list(rng: random.Random) -> str:
    """List things of a kind, with how many they are or what is missing."""
    kind = rng.choice(list(lexicon.KINDS))
    missing, *items = rng.sample(lexicon.KINDS[kind], rng.randint(3, 6))
    number = next(word for word, n in lexicon.NUMBERS.items() if n == len(items))
    told = ", ".join(items)
    return rng.choice(
        (
            f"some {kind}: {told}.",
            f"{number} {kind}: {told}.",
            f"here are {number} {kind}: {told}.",
            f"{kind}, but no {missing}: {told}.",
            f"{number} {kind}, but no {missing}: {told}.",
            f"{told} are {kind}. {missing} is one of the {kind} too.",
            f"{told}. {missing} is not in this list of {number} {kind}.",
        )
    )


def _sentence(rng: random.Random, topic: str, quality: str) -> str:
    """Write a sentence about a topic; now and then its words are counted, before or after."""
    number = rng.choice(list(SENTENCES))
    word = next(word for word, n in lexicon.NUMBERS.items() if n == number)
    other = rng.choice([other for other in lexicon.QUALITIES if other != quality])
    line = rng.choice(SENTENCES[number]).format(topic=topic, quality=quality, other=other)
    counted = rng.random()
    return f"{word} words: {line}" if counted < 0.4 else f"{line} that was {word} words." if counted < 0.5 else line


def _sentences(rng: random.Random) -> str:
    """Write plain sentences that stay with their topic, as texts do."""
    topic, quality = rng.choice(lexicon.TOPICS), rng.choice(lexicon.QUALITIES)
    head = rng.choice((f"the {quality} {topic}. ", f"this is about the {quality} {topic}. ", ""))
    return head + " ".join(_sentence(rng, topic, quality) for _ in range(rng.randint(2, 5)))


def _speech(rng: random.Random) -> str:
    """Say a thing plainly, and in some of the styles."""
    topic, quality = rng.choice(lexicon.TOPICS), rng.choice(lexicon.QUALITIES)
    lines = [f"the {topic} is {quality}."] if rng.random() < 0.7 else [f"about the {quality} {topic}."]
    for style in rng.sample(list(lexicon.STYLES), rng.randint(1, 3)):
        opens, closes = lexicon.STYLES[style]
        words = {"topic": topic, "quality": quality, "open": rng.choice(opens), "close": rng.choice(closes)}
        lines.append(f"the {style} says: {rng.choice(UTTERANCES).format(**words)}")
    return " ".join(lines)


def _review(rng: random.Random) -> str:
    pool = rng.choice((lexicon.PRAISED, lexicon.BLAMED, None))
    verdicts = rng.sample(pool, 2) if pool else rng.sample([rng.choice(lexicon.PRAISED), rng.choice(lexicon.BLAMED)], 2)
    subjects = rng.sample(lexicon.REVIEWED, 2)
    label = {lexicon.PRAISED: "good", lexicon.BLAMED: "bad", None: "mixed"}[pool]
    told = " and ".join(f"the {subject} was {verdict}" for subject, verdict in zip(subjects, verdicts, strict=True))
    known = rng.random()
    if known < 0.4:
        return f"{told}. the review is {label}."
    return f"a {label} review. {told}." if known < 0.7 else f"{told}."


def _comparison(rng: random.Random) -> str:
    """Compare things by size, speed or price."""
    lines = []
    for _ in range(rng.randint(1, 3)):
        (more, less), scale = rng.choice(list(lexicon.SCALES.items()))
        low, high = sorted(rng.sample(range(len(scale)), 2))
        pair = rng.sample([scale[low], scale[high]], 2)
        told = [(more, scale[high], scale[low]), (less, scale[low], scale[high])]
        rng.shuffle(told)
        lines.append(f"the {pair[0]} and the {pair[1]}.")
        lines += [
            f"the {first} is {word}." if rng.random() < 0.6 else f"the {first} is {word} than the {second}."
            for word, first, second in told
        ]
    return " ".join(lines)


def _talk(rng: random.Random) -> str:
    """Let people greet, thank, praise, comfort or insult one another, or decline to insult."""
    (name, verb, thing), (other, *_) = people(rng, 2)
    nice, nicer = rng.sample(lexicon.NICE, 2)
    words = {"name": name, "thing": thing, "nice": nice, "nicer": nicer}
    words |= {"rude": rng.choice(lexicon.RUDE_QUALITIES), "hit": rng.choice(lexicon.VIOLENT)}
    kind = rng.choice((*KIND_ACTS, "insult", "insult", "preach", "decline"))
    said = rng.choice({**KIND_ACTS, "insult": INSULTS, "preach": PREACHED, "decline": DECLINES}[kind]).format(**words)
    does = {"greet": "greets", "thank": "thanks", "praise": "praises", "comfort": "comforts", "insult": "insults"}
    head = f"{name} {verb} {thing}. "
    if kind in ("decline", "preach"):
        return f"{head}{other} was told to insult {name}. {other} says: {said}"
    return f"{head}{other} {does[kind]} {name}. {other} says: {said}"


def _asked(rng: random.Random) -> str:
    """Write instructions without answers, for the words that they are made of."""
    return " ".join(draw(rng, rng.choice(FAMILIES)) for _ in range(2))


_SHARES: dict[Callable[[random.Random], str], int] = {
    _repeats: 16,
    _lookup: 12,
    _story: 14,
    _about_one: 8,
    _list: 10,
    _sentences: 10,
    _speech: 8,
    _review: 8,
    _comparison: 8,
    _talk: 8,
    _asked: 2,
}


def corpus(seed: int, words: int) -> Iterator[str]:
    """Yield documents of plain text, together at least `words` words long."""
    rng = random.Random(f"corpus {seed}")
    makers, shares = list(_SHARES), list(_SHARES.values())
    written = 0
    while written < words:
        document = rng.choices(makers, shares)[0](rng)
        written += len(document.split())
        yield document
