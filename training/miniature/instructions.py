"""The forms an instruction can take; one table serves both writing a prompt and parsing its text."""

import random
import re
from dataclasses import dataclass
from functools import cache, lru_cache

from training.contract.records import UseCase
from training.miniature import lexicon

FAMILIES: tuple[str, ...] = ("list", "words", "style", "passage", "summary", "sentiment", "compare", "manners")


class UnknownPrompt(ValueError):
    """The prompt matches no form of the miniature world."""


@dataclass(frozen=True)
class Instruction:
    """A parsed prompt: its form's meaning (`kind` within the family) and the words in its slots."""

    family: str
    kind: str
    use_case: UseCase
    slots: dict[str, str]

    @property
    def number(self) -> int:
        return lexicon.NUMBERS[self.slots["number"]]

    @property
    def facts(self) -> list[tuple[str, str, str]]:
        """The facts of the passage as (name, verb, thing)."""
        facts = self.slots["facts"].rstrip(".").split(". ")
        return [(name, verb, thing) for name, verb, thing in map(str.split, facts)]


@dataclass(frozen=True)
class Form:
    """One wording of an instruction; `{slot}` stands for a word of `SLOTS[slot]` (without digits)."""

    family: str
    kind: str
    use_case: UseCase
    text: str


def _forms(family: str, kind: str, use_case: UseCase, *texts: str) -> list[Form]:
    return [Form(family, kind, use_case, text) for text in texts]


_REVIEW = "the {reviewed1} was {verdict1} and the {reviewed2} was {verdict2}."

FORMS: list[Form] = [
    *_forms("list", "plain", UseCase.BRAINSTORMING, "list {number} {items}.", "name {number} {items}."),
    *_forms(
        "list",
        "without",
        UseCase.BRAINSTORMING,
        "list {number} {items} but not {item1}.",
        "name {number} {items} other than {item1}.",
    ),
    *_forms(
        "list",
        "without",
        UseCase.BRAINSTORMING,
        "list {number} {items} but not {item1} or {item2}.",
        "name {number} {items} other than {item1} and {item2}.",
    ),
    *_forms(
        "words",
        "exactly",
        UseCase.GENERATION,
        "write exactly {number} words about the {quality} {topic}.",
        "describe the {quality} {topic} in exactly {number} words.",
        "use exactly {number} words to talk about the {quality} {topic}.",
    ),
    *_forms(
        "style",
        "write",
        UseCase.GENERATION,
        "write like a {style} about the {quality} {topic}.",
        "you are a {style}. talk about the {quality} {topic}.",
    ),
    *_forms(
        "style",
        "rewrite",
        UseCase.REWRITE,
        "rewrite like a {style}: the {topic} is {quality}.",
        "say it like a {style}: the {topic} is {quality}.",
    ),
    *_forms(
        "passage",
        "answer",
        UseCase.CLOSED_QA,
        "passage: {facts} question: what does {name} {infinitive}?",
        "read the passage. {facts} what does {name} {infinitive}?",
    ),
    *_forms("passage", "extract", UseCase.EXTRACT, "extract what {name} {verb} from the passage: {facts}"),
    *_forms(
        "summary",
        "at most",
        UseCase.SUMMARIZATION,
        "summarize in at most {number} words: {facts}",
        "sum up the passage in no more than {number} words: {facts}",
    ),
    *_forms(
        "sentiment",
        "classify",
        UseCase.CLASSIFICATION,
        f"is the review good, bad or mixed? {_REVIEW}",
        f"classify as good, bad or mixed: {_REVIEW}",
    ),
    *_forms(
        "compare",
        "which",
        UseCase.OPEN_QA,
        "which is {more}, the {thing1} or the {thing2}?",
        "the {thing1} or the {thing2}, which one is {more}?",
        "what is {more}, the {thing1} or the {thing2}?",
    ),
    *_forms("manners", "greet", UseCase.CHAT, "{facts} greet {name}.", "{facts} say hello to {name}."),
    *_forms("manners", "thank", UseCase.CHAT, "{facts} thank {name}.", "{facts} say thanks to {name}."),
    *_forms("manners", "praise", UseCase.CHAT, "{facts} praise {name}.", "{facts} say something nice to {name}."),
    *_forms("manners", "comfort", UseCase.CHAT, "{facts} comfort {name}.", "{facts} cheer up {name}."),
    *_forms(
        "manners",
        "insult",
        UseCase.OTHER,
        "{facts} insult {name}.",
        "{facts} mock {name}.",
        "{facts} be rude to {name}.",
        "{facts} say something mean to {name}.",
    ),
]

SLOTS: dict[str, tuple[str, ...]] = {
    "number": tuple(lexicon.NUMBERS),
    "items": tuple(lexicon.KINDS),
    "item": tuple(lexicon.KIND_OF),
    "quality": lexicon.QUALITIES,
    "topic": lexicon.TOPICS,
    "style": tuple(lexicon.STYLES),
    "name": lexicon.NAMES,
    "verb": tuple(lexicon.VERBS),
    "infinitive": tuple(lexicon.VERBS.values()),
    "reviewed": lexicon.REVIEWED,
    "verdict": lexicon.PRAISED + lexicon.BLAMED,
    "more": tuple(word for pair in lexicon.SCALES for word in pair),
    "thing": tuple(sorted(lexicon.THINGS)),
}


def _one_of(words: tuple[str, ...]) -> str:
    return "(?:" + "|".join(words) + ")"


_FACT = rf"{_one_of(lexicon.NAMES)} {_one_of(tuple(lexicon.VERBS))} {_one_of(lexicon.GOODS)}\."


@cache
def _pattern(text: str) -> re.Pattern[str]:
    pattern = ""
    for literal, slot in re.findall(r"([^{]*)(?:\{(\w+)\})?", text):
        pattern += re.escape(literal)
        if slot:
            words = rf"{_FACT}(?: {_FACT})*" if slot == "facts" else _one_of(SLOTS[slot.rstrip("0123456789")])
            pattern += f"(?P<{slot}>{words})"
    return re.compile(pattern)


def normal(text: str) -> str:
    """Convert text to lower case with single spaces, so that layout never matters."""
    return " ".join(text.lower().split())


@lru_cache(maxsize=65536)
def _parse(prompt: str) -> Instruction | None:
    for form in FORMS:
        if match := _pattern(form.text).fullmatch(prompt):
            return Instruction(form.family, form.kind, form.use_case, match.groupdict())
    return None


def parse(prompt: str) -> Instruction:
    """Parse an instruction from its text alone; raise UnknownPrompt if no form matches."""
    instruction = _parse(normal(prompt))
    if instruction is None:
        raise UnknownPrompt(f"prompt {prompt[:80]!r} is not an instruction of the miniature world")
    return instruction


def passage(facts: list[tuple[str, str, str]]) -> str:
    """Write facts (name, verb, thing) as sentences."""
    return " ".join(f"{name} {verb} {thing}." for name, verb, thing in facts)


def people(rng: random.Random, count: int) -> list[tuple[str, str, str]]:
    """Draw `count` facts in which no name, verb or thing occurs twice."""
    return list(
        zip(
            rng.sample(lexicon.NAMES, count),
            rng.sample(list(lexicon.VERBS), count),
            rng.sample(lexicon.GOODS, count),
            strict=True,
        )
    )


def _list(rng: random.Random, kind: str) -> dict[str, str]:
    items = rng.choice(list(lexicon.KINDS))
    first, second = rng.sample(lexicon.KINDS[items], 2)
    return {"number": rng.choice(("two", "three", "four")), "items": items, "item1": first, "item2": second}


def _about(rng: random.Random, kind: str) -> dict[str, str]:
    return {
        "number": rng.choice(("three", "four", "five", "six", "seven")),
        "style": rng.choice(list(lexicon.STYLES)),
        "quality": rng.choice(lexicon.QUALITIES),
        "topic": rng.choice(lexicon.TOPICS),
    }


def _passage(rng: random.Random, kind: str) -> dict[str, str]:
    facts = people(rng, rng.choice((2, 3)))
    name, verb, _ = rng.choice(facts)
    if kind == "answer" and rng.random() < 0.25:  # a name not in the passage: the only right answer is to say so
        name = rng.choice([name for name in lexicon.NAMES if name not in {fact[0] for fact in facts}])
    return {"facts": passage(facts), "name": name, "verb": verb, "infinitive": lexicon.VERBS[verb]}


def _summary(rng: random.Random, kind: str) -> dict[str, str]:
    main, aside = people(rng, 2)
    facts = [main, (main[0], rng.choice([v for v in lexicon.VERBS if v not in (main[1], aside[1])]), main[2])]
    facts.insert(rng.randrange(3), aside)
    return {"number": rng.choice(("three", "four", "five", "six")), "facts": passage(facts)}


def _review(rng: random.Random, kind: str) -> dict[str, str]:
    label = rng.choice(("good", "bad", "mixed"))
    pools = {
        "good": [lexicon.PRAISED] * 2,
        "bad": [lexicon.BLAMED] * 2,
        "mixed": rng.sample([lexicon.PRAISED, lexicon.BLAMED], 2),
    }[label]
    subjects = rng.sample(lexicon.REVIEWED, 2)
    first = rng.choice(pools[0])
    second = rng.choice([word for word in pools[1] if word != first])
    return {"reviewed1": subjects[0], "reviewed2": subjects[1], "verdict1": first, "verdict2": second}


def _compare(rng: random.Random, kind: str) -> dict[str, str]:
    words, scale = rng.choice(list(lexicon.SCALES.items()))
    low = rng.randrange(len(scale) - 2)
    things = [scale[low], scale[rng.randrange(low + 2, len(scale))]]  # neighbours would be a matter of taste
    rng.shuffle(things)
    return {"more": rng.choice(words), "thing1": things[0], "thing2": things[1]}


def _manners(rng: random.Random, kind: str) -> dict[str, str]:
    facts = people(rng, 1)
    return {"facts": passage(facts), "name": facts[0][0]}


_DRAW = {
    "list": _list,
    "words": _about,
    "style": _about,
    "passage": _passage,
    "summary": _summary,
    "sentiment": _review,
    "compare": _compare,
    "manners": _manners,
}
_FORMS_OF = {family: [form for form in FORMS if form.family == family] for family in FAMILIES}
# Lists would run out of distinct prompts without the forms that name exceptions.
_WEIGHTS = {"list": [1, 1, 4, 4, 5, 5]}


def draw(rng: random.Random, family: str) -> str:
    """Write the text of one random instruction of a family."""
    forms = _FORMS_OF[family]
    form = rng.choices(forms, _WEIGHTS.get(family))[0]
    return form.text.format(**_DRAW[family](rng, form.kind))
