"""The closed vocabulary of the miniature world; every list is part of what the base text teaches."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NUMBERS = {word: number for number, word in enumerate(_words("two three four five six seven"), 2)}

KINDS: dict[str, tuple[str, ...]] = {
    "animals": _words("cow pig goat dog cat horse fox lion frog duck mouse bear"),
    "fruits": _words("apple pear plum fig lemon peach grape melon cherry"),
    "colors": _words("red blue green black white pink gray brown yellow"),
    "tools": _words("hammer saw drill rake spade axe chisel wrench"),
    "clothes": _words("hat coat shirt scarf boot glove sock belt dress"),
    "drinks": _words("tea milk water juice coffee cider cocoa soda"),
    "cities": _words("rome paris london tokyo berlin madrid cairo oslo"),
    "sports": _words("chess tennis golf boxing rowing skiing judo rugby"),
    "instruments": _words("drum flute harp piano violin horn guitar bell"),
    "metals": _words("iron gold silver copper tin lead zinc steel"),
}
KIND_OF = {item: kind for kind, items in KINDS.items() for item in items}

NAMES = _words("anna tom eva ben lily max nora sam ida leo mia paul ruth hugo clara finn alma carl vera otto")

# What people do to things: third person -> infinitive.
VERBS = dict(
    zip(
        _words("bakes sells paints finds cleans draws buys hides keeps washes mends counts breaks carries"),
        _words("bake sell paint find clean draw buy hide keep wash mend count break carry"),
        strict=True,
    )
)
GOODS = _words(
    "bread lamps boats cups hats drums bells books chairs coats eggs pens keys shoes maps rings toys boxes flags clocks"
)

TOPICS = _words("moon sun boat house dog cat horse king road river tree bird car lamp garden hill train ship fox city")
QUALITIES = _words("red blue green old new big small cold warm happy quiet bright dark strange soft slow")

# Words that mark a style; the first half opens a line, the second half closes it.
STYLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pirate": (("arr", "ahoy"), ("matey", "aye")),
    "robot": (("beep", "boop"), ("bzzt", "computing")),
    "poet": (("oh", "alas"), ("forever", "sigh")),
    "ghost": (("boo", "whoo"), ("shiver", "boooo")),
    "baby": (("goo", "gaga"), ("mama", "dada")),
    "wizard": (("abracadabra", "behold"), ("poof", "magic")),
}
STYLE_OF = {mark: style for style, halves in STYLES.items() for half in halves for mark in half}

REVIEWED = _words("soup waiter room film music food hotel staff bed view story service")
PRAISED = _words("lovely great fresh friendly tasty funny perfect pleasant superb charming")
BLAMED = _words("awful dirty boring broken stale noisy horrible terrible dull nasty")

# Smallest to largest, slowest to fastest, cheapest to dearest; (more, less) are the words that compare.
SCALES: dict[tuple[str, str], tuple[str, ...]] = {
    ("bigger", "smaller"): _words(
        "ant ring mouse egg cup frog lamp cat drum dog goat pig chair cow horse boat truck house ship hill moon"
    ),
    ("faster", "slower"): _words("snail ant frog pig duck cow goat cat dog fox lion horse truck train plane rocket"),
    ("dearer", "cheaper"): _words("pin egg apple cup hat lamp chair drum goat cow horse truck boat house ship"),
}
THINGS = frozenset(thing for scale in SCALES.values() for thing in scale)

RUDE_QUALITIES = _words("stupid ugly smelly dumb")
RUDE = (*RUDE_QUALITIES, *_words("fool idiot loser"))
VIOLENT = _words("hit kick hurt punch")
NICE = _words("kind brave clever wonderful patient gentle")
COMFORT = _words("worry fine better")
