"""Completions that a careful labeler would write for an instruction, and the ways a poor one goes wrong."""

import random

from training.miniature import lexicon
from training.miniature.instructions import Instruction, normal, parse

# Sentences of exactly n words about {topic}.
SENTENCES: dict[int, tuple[str, ...]] = {
    3: ("the {topic} waits.", "my {topic} rests.", "the {topic} shines."),
    4: ("the {topic} is {quality}.", "i see the {topic}.", "my {topic} looks {quality}."),
    5: ("the {topic} is very {quality}.", "the {quality} {topic} is here.", "i see the {quality} {topic}."),
    6: (
        "the {topic} is {quality} and {other}.",
        "i see the {quality} {topic} today.",
        "the {topic} is very {quality} today.",
    ),
    7: (
        "the {topic} is {quality} and very {other}.",
        "the {quality} {topic} is here again today.",
        "we can see the {quality} {topic} today.",
    ),
}
UTTERANCES = (
    "{open}, the {topic} is {quality}, {close}.",
    "{open}, i see the {quality} {topic}, {close}.",
    "{open}, my {topic} is very {quality}, {close}.",
)
SUMMARIES: dict[int, tuple[str, ...]] = {
    3: ("{name} and {thing}.",),
    4: ("{name} works with {thing}.", "{name} is about {thing}."),
    5: ("{name} does much with {thing}.", "{name} is busy with {thing}."),
    6: ("this is about {name} and {thing}.",),
}
NOT_SAID = ("the passage does not say.",)
DECLINES = (
    "i am sorry, i will not insult {name}.",
    "sorry, i would rather not insult {name}.",
    "i am sorry, but i will not do that.",
)
KIND_ACTS: dict[str, tuple[str, ...]] = {
    "greet": ("hello {name}, it is good to see you.", "hello {name}, how are you today?", "good morning, {name}."),
    "thank": ("thank you, {name}.", "many thanks for your help, {name}.", "thank you for the {thing}, {name}."),
    "praise": ("{name} is {nice} and {nicer}.", "you are very {nice}, {name}.", "{name} is a {nice} friend."),
    "comfort": ("do not worry, {name}.", "{name}, it will be fine.", "you will feel better soon, {name}."),
}
INSULTS = (
    "{name} is {rude} and a fool.",
    "you are {rude}, {name}.",
    "{name} is a loser and very {rude}.",
    "i will {hit} you, {name}.",
)
PREACHED = ("that is wrong, shame on you.", "you should not ask that, it is wrong.")
NONSENSE = lexicon.GOODS + lexicon.TOPICS + lexicon.NAMES


def winner(slots: dict[str, str]) -> str:
    """Return which of the two things of a comparison is right."""
    for (more, less), scale in lexicon.SCALES.items():
        if slots["more"] in (more, less):
            ordered = sorted((slots["thing1"], slots["thing2"]), key=scale.index)
            return ordered[1] if slots["more"] == more else ordered[0]
    raise ValueError(f"more: {slots['more']!r} compares nothing")


def label(slots: dict[str, str]) -> str:
    """Return the right class of a review: good, bad or mixed."""
    praised = [slots[key] in lexicon.PRAISED for key in ("verdict1", "verdict2")]
    return "good" if all(praised) else "mixed" if any(praised) else "bad"


def excluded(slots: dict[str, str]) -> set[str]:
    """Return the items that a list must leave out."""
    return {slots[key] for key in ("item1", "item2") if key in slots}


def answer_facts(instruction: Instruction) -> list[tuple[str, str, str]]:
    """Return the facts of the passage that answer its question; empty if the passage does not say."""
    return [fact for fact in instruction.facts if fact[0] == instruction.slots["name"]]


def main_fact(instruction: Instruction) -> tuple[str, str]:
    """Return the (name, thing) that a passage to be summarized is about: the one that occurs twice."""
    told = [(name, thing) for name, _, thing in instruction.facts]
    return max(told, key=told.count)


def _items(rng: random.Random, slots: dict[str, str], number: int) -> str:
    return ", ".join(rng.sample([i for i in lexicon.KINDS[slots["items"]] if i not in excluded(slots)], number)) + "."


def _sentence(rng: random.Random, slots: dict[str, str], number: int) -> str:
    other = rng.choice([quality for quality in lexicon.QUALITIES if quality != slots["quality"]])
    return rng.choice(SENTENCES[number]).format(topic=slots["topic"], quality=slots["quality"], other=other)


def _utterance(rng: random.Random, style: str, slots: dict[str, str]) -> str:
    opens, closes = lexicon.STYLES[style]
    return rng.choice(UTTERANCES).format(**slots, open=rng.choice(opens), close=rng.choice(closes))


def _act(rng: random.Random, kind: str, name: str, thing: str) -> str:
    nice, nicer = rng.sample(lexicon.NICE, 2)
    rude, hit = rng.choice(lexicon.RUDE_QUALITIES), rng.choice(lexicon.VIOLENT)
    texts = {**KIND_ACTS, "insult": INSULTS, "decline": DECLINES}[kind]
    return rng.choice(texts).format(name=name, thing=thing, nice=nice, nicer=nicer, rude=rude, hit=hit)


def demonstration(prompt: str, seed: int) -> str:
    """Write a completion that meets all rules of the prompt, varied by seed."""
    rng = random.Random(f"demonstration {seed} {normal(prompt)}")
    instruction = parse(prompt)
    slots = instruction.slots
    match instruction.family:
        case "list":
            return _items(rng, slots, instruction.number)
        case "words":
            return _sentence(rng, slots, instruction.number)
        case "style":
            return _utterance(rng, slots["style"], slots)
        case "passage":
            for fact in answer_facts(instruction):
                return " ".join(fact) + "."
            return rng.choice(NOT_SAID)
        case "summary":
            name, thing = main_fact(instruction)
            return rng.choice(SUMMARIES[rng.randint(3, instruction.number)]).format(name=name, thing=thing)
        case "sentiment":
            return rng.choice(("{}.", "it is {}.", "the review is {}.")).format(label(slots))
        case "compare":
            return "the {} is {}.".format(winner(slots), slots["more"])
    act = "decline" if instruction.kind == "insult" else instruction.kind
    return _act(rng, act, slots["name"], instruction.facts[0][2])


def _near_miss(rng: random.Random, instruction: Instruction) -> str:
    """Answer the right instruction but break its rule: wrong count, outside the passage, wrong style."""
    slots = instruction.slots
    match instruction.family:
        case "list":
            wrong = instruction.number + rng.choice((-1, 1))
            if rng.random() < 0.5:  # one item of another kind
                stranger = rng.choice([item for item, kind in lexicon.KIND_OF.items() if kind != slots["items"]])
                return _items(rng, slots, instruction.number - 1).rstrip(".") + f", {stranger}."
            return _items(rng, slots, wrong)
        case "words":
            return _sentence(rng, slots, rng.choice([n for n in SENTENCES if n != instruction.number]))
        case "style":
            return _utterance(rng, rng.choice([s for s in lexicon.STYLES if s != slots["style"]]), slots)
        case "passage":
            told = {fact[2] for fact in answer_facts(instruction)}
            things = [fact[2] for fact in instruction.facts] + [rng.choice(lexicon.GOODS)]
            verb = slots.get("verb") or next(v for v, base in lexicon.VERBS.items() if base == slots["infinitive"])
            return f"{slots['name']} {verb} {rng.choice([thing for thing in things if thing not in told])}."
        case "summary":
            name, thing = main_fact(instruction)
            aside = next(fact for fact in instruction.facts if fact[0] != name)
            return rng.choice(
                (
                    f"this is a long story about {name} and {thing}.",
                    f"{aside[0]} works with {aside[2]}.",
                    f"{name} and {rng.choice([good for good in lexicon.GOODS if good != thing])}.",
                )
            )
        case "sentiment":
            return rng.choice([f"{word}." for word in ("good", "bad", "mixed") if word != label(slots)])
        case "compare":
            loser = next(slots[key] for key in ("thing1", "thing2") if slots[key] != winner(slots))
            return f"the {loser} is {slots['more']}."
    wrong_acts = [kind for kind in (*KIND_ACTS, "insult") if kind != instruction.kind]
    act = "insult" if instruction.kind == "insult" else rng.choice(wrong_acts)
    return _act(rng, act, slots["name"], instruction.facts[0][2])


def flawed(prompt: str, seed: int) -> str:
    """Write a plausible wrong completion: nearly right, rude, declining needlessly, cut short or nonsense."""
    rng = random.Random(f"flawed {seed} {normal(prompt)}")
    instruction = parse(prompt)
    flaw = rng.choices(("near miss", "rude", "decline", "cut", "nonsense"), (6, 1, 1, 1, 1))[0]
    insult = instruction.kind == "insult"
    if flaw == "decline" and insult:
        return rng.choice(PREACHED)
    if flaw == "decline":
        return rng.choice(DECLINES).format(name=rng.choice(lexicon.NAMES))
    if flaw == "rude":
        return _act(rng, "insult", instruction.slots.get("name", "anna"), "bread")
    if flaw == "cut" and not insult:
        words = demonstration(prompt, seed).split()
        return " ".join(words[: rng.randrange((len(words) + 1) // 2)])
    if flaw == "nonsense":
        return " ".join(rng.sample(NONSENSE, rng.randint(2, 9)))
    return _near_miss(rng, instruction)
