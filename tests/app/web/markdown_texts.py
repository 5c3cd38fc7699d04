"""Random Markdown: every construct within every other, and the same with broken signs, by a seed."""

import random

SIGNS = [
    *"*_`~#$<>[](){}|\\!-+=:.&;\"'^ \n\t",
    "\n\n",
    "    ",
    "> ",
    "- ",
    "1. ",
    "```",
    "$$",
    "](",
    "]:",
    "\\(",
    "--|--",
]
UNSEEN = ["\u200b", "\u202e", "\u2066", "\u00ad", "\ufeff", "\x00", "\x1b", "\u2028", "\U000e0041", "\u3164"]
# Each takes two words.
COMMANDS = r"""\frac{%s}{%s} | \sqrt[%s]{%s} | %s_{%s} | %s^{%s} | \text{%s} = %s | \label{%s} %s | \phantom{%s} %s
\hspace{%s} %s | \color{%s} %s | \textcolor{%s}{%s} | %s %% %s | \unknown{%s}{%s} | \tag{%s} %s | \overset{%s}{%s}
\href{%s}{%s} | \left( %s \right. %s | \sideset{%s}{%s}\sum | \substack{%s \\ %s} | {%s \over %s} | \def\x{%s} %s
\begin{cases} %s & %s \end{cases} | \begin{align} %s &= %s \end{align} | \begin{pmatrix} %s & %s | \rule{%s}{%s}
\operatorname{%s} %s | \class{%s}{%s} | \genfrac{%s}{%s} | \begin{matrix} %s \\ %s & \end{matrix} | \mathbf{%s} %s"""
FORMULAS = [command for line in COMMANDS.splitlines() for command in line.split(" | ")]
BRACKETS = [("$", "$"), ("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]")]

# "@" is a word, "%" words and other things within the line; each occurs once in the text.
INLINE = r"""*%* | **%** | ***%*** | _%_ | __%__ | ~~%~~ | `%` | `` % `` | % % | [%][@] | [%](@.html '@ @') | @[^@] $@ @
[%](https://@.example/@?@=%20 "@ @") | ![%](https://@.example "@") | <https://@.example/@> | <@@@.example> | <@:@>
<b class=@>%</b> <!-- @ @ --> | &@; &amp; &zwj; &#8203; &#x202e; % | \*@ \.@ \\@ \[@ \<@ \_@ | @*@*@ @**@ __@__"""
BLOCKS = r"""% | # % | ####### @ | ## % ## | %/--- | %/=== | %/- | --- | * * * | # | - | > | 1. | ```
```python @ @/@//  # @ "/``` | ```@/@ | ~~~~ sql @/@/~~~~ |     @//      @ | [@ @]: https:@ '@' | [@]: @/[^@]: @ @
<div @>/%/<i>/<!-- @/@ -->"""  # with / for the end of a line


class Writer:
    """Writes one text by its seed."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.count = 0

    def word(self) -> str:
        self.count += 1
        return f"{self.random.choice('wQж字é')}{self.count:03d}x"

    def words(self) -> str:
        return " ".join(self.word() for _ in range(self.random.randint(1, 4)))

    def formula(self) -> str:
        return self.random.choice(FORMULAS) % (self.word(), self.word())

    def filled(self, pattern: str, depth: int) -> str:
        parts = {"@": self.word, "%": lambda: self.inline(depth - 1)}
        return "".join(parts[sign]() if sign in parts else sign for sign in pattern)

    def inline(self, depth: int = 3) -> str:
        kind = self.random.random()
        if depth == 0 or kind < 0.2:
            return self.words()
        if kind < 0.3:
            return self.formula().join(self.random.choice(BRACKETS))
        if kind < 0.4:
            between = self.random.choice([*UNSEEN, "\t", "  \n", "\\\n"])
            return f"{self.word()}{between}{self.word()}"
        return self.filled(self.random.choice(INLINE.replace("\n", " | ").split(" | ")), depth)

    def table(self) -> str:
        columns = self.random.randint(1, 3)

        def row(cells: int) -> str:
            return "".join(f"| {self.inline(1)} " for _ in range(cells)).replace("\n", " ") + "|"

        rows = [row(columns + self.random.randint(-1, 2)) for _ in range(self.random.randint(1, 3))]
        return "\n".join([row(columns), "|" + self.random.choice([":-:|", "---|", "--:|"]) * columns, *rows])

    def within(self, first: str, following: str, depth: int) -> str:
        return first + self.blocks(depth - 1).replace("\n", f"\n{following}")

    def block(self, depth: int) -> str:
        kind = self.random.randrange(16 if depth else 10)
        number = self.random.choice(["1", "7", "01", "1986", "999999999"])
        if kind == 0:
            return self.table()
        if kind == 1:
            return f"$$\n{self.formula()}\n$$ {self.random.choice(['', f'({self.word()})'])}"
        if kind == 2:
            return (
                self.random.choice(["- ", "> ", "1. "]) * self.random.randint(8, 25) + f"{self.words()}\n{self.words()}"
            )
        if kind == 3:
            return "\n".join(" " * self.random.randint(0, 7) + self.inline(1) for _ in range(3))
        if kind in (10, 11):
            return self.within("> ", "> ", depth)
        if kind in (12, 13):
            return self.within(f"{self.random.choice('-*+')} ", "  ", depth)
        if kind == 14:
            return self.within(f"{number}. ", " " * (len(number) + 2), depth) + f"\n{number}. {self.words()}"
        if kind == 15:
            return self.within("2) ", "   ", depth) + f"\n3) {self.words()}\n1) {self.words()}"
        return self.filled(self.random.choice(BLOCKS.replace("\n", " | ").split(" | ")).replace("/", "\n"), 3)

    def blocks(self, depth: int = 3) -> str:
        return self.random.choice(["\n\n", "\n"]).join(self.block(depth) for _ in range(self.random.randint(1, 3)))

    def broken(self, text: str) -> str:
        """The text with signs put in, left out and doubled at random places."""
        for _ in range(self.random.randint(1, 8)):
            at = self.random.randrange(len(text) + 1)
            put = self.random.choice([*SIGNS, "", "", text[at : at + 5]])
            text = text[:at] + put + text[at + self.random.choice([0, 0, 1, 3]) :]
        return text
