"""A little world for snapshots: everything that people, imports and admins can have done, through the product's rules.

Which prompts say the same, who owns them, and who answers what is drawn from a seed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account, AccountKind
from app.assignments import rules as assignments
from app.assignments.tables import LETTERS, Assignment
from app.comparisons.formats import ComparisonFormat
from app.comparisons.imports import import_comparisons
from app.comparisons.schemas import ComparisonContent, CompletionAnswer
from app.comparisons.tables import ComparedCompletion, Comparison, ComparisonSource
from app.completions import rules as completions
from app.conversations.schemas import ConversationContent, first_role
from app.conversations.tables import Role
from app.database import transaction
from app.demonstrations.schemas import DemonstrationContent
from app.desk.submit import submit
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.prompt_writing import rules as writing
from app.prompt_writing import submitting
from app.prompt_writing.schemas import FewShotExample, WritingCallIn, WritingContent
from app.prompts import findings
from app.prompts import rules as prompts
from app.prompts.findings import Action
from app.prompts.imports import PromptDefaults
from app.prompts.tables import Finding, Prompt, PromptSource
from app.rounds import rules as rounds
from app.rounds.schemas import PromptFilter, RoundPlan
from app.rounds.tables import Item, ItemKind, RoundPurpose
from training.contract.records import Pool, Split

SAID = (
    "Name the longest river of South America and the countries it crosses.",
    "Explain to a child why the moon changes its shape every month.",
    "Write a short poem about an old lighthouse in a winter storm.",
    "List three reasons why bread dough needs time to rise.",
    "Compare wooden and steel bridges for a small mountain village.",
    "Translate the greeting of a Japanese innkeeper into plain English.",
    "Summarize how a honey bee tells the others where flowers are.",
    "Suggest a name for a bakery beside a railway station.",
    "Describe the taste of seawater without using the word salt.",
    "Correct the grammar of a letter about a broken heating.",
)
PERSONAL = "Answer the mail of {name}.{n}@corp-mail.org about the delayed parcel number {n}."
GREETINGS = ("Hello there, can you help me?", "What should I cook tonight?")  # with which many conversations begin
NAMES = ("ana", "ben", "hal", "mia", "tom")
TOPICS = {"A bot that helps people to choose a bicycle.": Split.TRAIN, "A bot for a museum of clocks.": Split.TEST}


def variants(text: str, random: Random) -> Iterator[str]:
    """Yield the text, and texts that say the same in other letters or nearly so."""
    yield text
    yield text.upper()
    yield "  " + text.replace(" ", "  ", 2).lower()
    yield "Please " + text[0].lower() + text[1:]
    words = text.split()
    place = random.randrange(2, len(words))
    yield " ".join([*words[:place], words[place][::-1], *words[place + 1 :]])


class World:
    """Fills a database; what is done with it is said by its tables alone."""

    def __init__(self, people, folder: Path, seed: int):
        self.random = Random(seed)
        self.folder = folder
        self.boss = people.admin("boss")
        # mia, a program, is held out at first and moves to the train pool later, tom the other way; ben tries the demo.
        self.labelers = {
            "ana": people.labeler("ana"),
            "ben": people.labeler("ben", kind=AccountKind.DEMO),
            "hal": people.labeler("hal", pool=Pool.HELD_OUT),
            "mia": people.labeler("mia", pool=Pool.HELD_OUT, kind=AccountKind.SIMULATED),
            "tom": people.labeler("tom"),
        }
        self.number = 0
        self.starters: list[str] = []  # prompts that open conversations
        with transaction() as session:
            asked = self._prompts(session)
        self._few_shot()
        self._round(asked, RoundPurpose.TRAINING)
        self._move("mia", Pool.TRAIN)
        self._move("tom", Pool.HELD_OUT)
        self._round(asked, RoundPurpose.TRAINING)
        self._round(asked[::2], RoundPurpose.EVALUATION)
        self._import(asked)
        with transaction() as session:
            self._judge(session, asked)
            self._decide(session)
            for public_id in sorted({*self.random.sample(asked, 2), self.starters[0]}):
                prompts.withdraw(session, prompts.prompt(session, public_id), self.boss)

    def _words(self, labeler: str) -> str:
        """A text that nobody else wrote, and that says whose it is."""
        self.number += 1
        return f"words of {labeler} in {self.labelers[labeler].pool}, number {self.number}"

    def _move(self, labeler: str, pool: Pool) -> None:
        with transaction() as session:
            account = session.get_one(Account, self.labelers[labeler].id)
            self.labelers[labeler] = accounts.change_account(session, account, by=self.boss, pool=pool)

    def _prompts(self, session: Session) -> list[str]:
        """Prompts that say the same, of owners in all splits; returns the public ids of those that rounds ask."""
        asked = []
        for text in SAID:
            said = list(variants(text, self.random))
            for one in self.random.sample(said, self.random.randint(1, 4)):
                split = self.random.choice([Split.TRAIN, Split.TRAIN, Split.VALIDATION, Split.TEST])
                asked.append(self._prompt(session, one, f"owner of {split} {self.random.randrange(3)}", split))
        for n, name in enumerate(("jane", "joe", "mary", "max", "sue", "ann")):
            asked.append(self._prompt(session, PERSONAL.format(name=name, n=n + 70), f"owner of {name}", Split.TRAIN))
        for text, split in TOPICS.items():
            prompts.add(
                session, messages=[{"role": "user", "text": text}], source=PromptSource.USE_CASE, split=split,
                collection="b",
            )  # fmt: skip
        # Dialogues, some of which begin as a prompt of another split does, or as another dialogue.
        for opening in (*self.random.sample(SAID, 3), "How long does a letter to Peru take?"):
            split = self.random.choice([Split.TRAIN, Split.TRAIN, Split.TEST])
            turns = [("user", opening.upper()), ("assistant", "Well."), ("user", "And then?"), ("assistant", "That.")]
            for more in (turns[:3], [*turns, ("user", "Why?")]):
                said = [{"role": role, "text": words} for role, words in more]
                made = prompts.add(
                    session, messages=said, source=PromptSource.CUSTOMER, owner=f"talk of {opening[:9]} {len(more)}",
                    split=split, collection="b",
                )  # fmt: skip
                asked.append(made.public_id)
                split = self.random.choice(list(Split))
        # What conversations under the topics begin with stands in the bank too, of another split.
        self._prompt(session, GREETINGS[0].upper(), "owner of a greeting", self.random.choice(list(Split)))
        return asked

    def _prompt(self, session: Session, text: str, owner: str, split: Split) -> str:
        made = prompts.add(
            session, messages=[{"role": "user", "text": text}], source=PromptSource.CUSTOMER, owner=owner, split=split,
            collection=self.random.choice("ab"),
        )  # fmt: skip
        return made.public_id

    def _few_shot(self) -> None:
        with transaction() as session:
            wanted = WritingCallIn(kind=PromptSource.LABELER_FEW_SHOT, wanted=9, collection="written")
            call = writing.call(session, wanted, self.boss).public_id
        for name in ("ana", "hal"):
            with transaction() as session:
                labeler = session.merge(self.labelers[name])
                piece = writing.begin(session, writing.find_call(session, call), labeler)
                pairs = [
                    FewShotExample(input=f"{colour} of {name}", completion=self._words(name))
                    for colour in ("red", "blue")
                ]
                content = WritingContent(instruction=f"Instruction: {self._words(name)}.", pairs=pairs)
                submitting.hand_in(session, piece, labeler, content, version=piece.version)

    # --- Rounds ---

    def _round(self, asked: list[str], purpose: RoundPurpose) -> None:
        chosen = self.random.sample(asked, len(asked) * 2 // 3)
        evaluates = purpose is RoundPurpose.EVALUATION
        self.starters += [] if evaluates else chosen[:4]
        with transaction() as session:
            for public_id in chosen:
                self._complete(session, prompts.prompt(session, public_id))
            plan = RoundPlan(
                demonstrations=None if evaluates else PromptFilter(prompts=chosen),
                comparisons=PromptFilter(prompts=chosen),
                conversations=None
                if evaluates
                else {"starters": PromptFilter(prompts=chosen[:4]), "topics": list(TOPICS), "alternatives": None},
                completions=3,
            )
            made = rounds.create(session, name=purpose, plan=plan, purpose=purpose)
            rounds.resample_items(session, made)
            assignments.open_round(session, made)
            items = list(session.scalars(select(Item.id).where(Item.round_id == made.id).order_by(Item.position)))
        answers = {
            (item, labeler) for item in items for labeler in self.random.sample(NAMES, self.random.choice([1, 2]))
        }
        # One answer of each labeler is begun before the round closes and submitted afterwards.
        late = {name: item for item, name in self.random.sample(sorted(answers), len(answers))}
        with transaction() as session:
            for item, labeler in sorted(answers - {(item, labeler) for labeler, item in late.items()}):
                self._begin(session, item, labeler)
                self._submit(session, item, labeler)
            for labeler, item in late.items():
                self._begin(session, item, labeler)
        with transaction() as session:
            assignments.close_round(session, session.merge(made))
            for labeler, item in late.items():
                self._submit(session, item, labeler)

    def _complete(self, session: Session, prompt: Prompt) -> None:
        for number in range(3):
            policy = policies.get_or_create(session, f"policy {number % 2}", PolicyKind.IMPORTED)
            completions.add(session, prompt, policy, f"Completion {number} of {prompt.id % 7}.")

    def _begin(self, session: Session, item: int, labeler: str) -> None:
        assignments.give(session, session.get_one(Item, item), session.merge(self.labelers[labeler]))

    def _submit(self, session: Session, item: int, labeler: str) -> None:
        account = session.merge(self.labelers[labeler])
        own = select(Assignment).where(Assignment.item_id == item, Assignment.slot == account.id)
        begun = session.scalars(own).one()
        kind = begun.item.kind
        if kind is ItemKind.DEMONSTRATION:
            submit(session, begun, account, DemonstrationContent(text=self._words(labeler)))
        elif kind is ItemKind.CONVERSATION:
            submit(session, begun, account, self._talk(begun.item, labeler))
        else:
            shown = LETTERS[: len(assignments.shown_completions(begun.item, account))]
            submit(session, begun, account, self._ranking(shown))

    def _talk(self, item: Item, labeler: str) -> ConversationContent:
        turns, role = [], first_role(item.prompt)
        for number in range(self.random.choice([1, 3, 3]) + (role is Role.USER)):
            text = self._words(labeler)
            if role is Role.USER and number == 0 and self.random.random() < 0.7:
                text = self.random.choice([*GREETINGS, *SAID[:2]])  # begins as another conversation, or as a prompt
            turns.append({"role": role, "text": text})
            role = Role.USER if role is Role.ASSISTANT else Role.ASSISTANT
        return ConversationContent.model_validate({"messages": turns})

    def _ranking(self, letters: str) -> ComparisonContent:
        answers = {
            letter: CompletionAnswer(
                tier=self.random.randint(1, 2),
                rating=self.random.choice([None, 1, 3, 4, 5, 7]),
                flags={"hallucination": True} if self.random.random() < 0.2 else {},
            )
            for letter in letters
        }
        if self.random.random() < 0.3:
            answers[letters[-1]] = CompletionAnswer(unacceptable=True, rating=1)
        return ComparisonContent(completions=answers)

    # --- What comes from elsewhere, and what admins decide ---

    def _import(self, asked: list[str]) -> None:
        """Pairs by nobody, by a name, and of both pools; some twice, some about prompts that are stored already."""
        with transaction() as session:
            stored = [prompts.prompt(session, public_id).messages for public_id in asked]
            stored = [said[0]["text"] for said in stored if len(said) == 1]
        rows = [
            {"prompt": text, "chosen": f"good {number}", "rejected": f"bad {number}", "pool": pool, "labeler": name}
            for number, text in enumerate([*self.random.sample(stored, 5), *GREETINGS, *TOPICS, SAID[3].title()])
            for pool in self.random.sample(list(Pool), self.random.randint(1, 2))
            for name in self.random.sample(["", "", "zoe"], 2)
        ]
        path = self.folder / "pairs.jsonl"
        path.write_text(
            "".join(json.dumps({name: value for name, value in row.items() if value}) + "\n" for row in rows)
        )
        report = import_comparisons(path, format=ComparisonFormat.PAIRS, defaults=PromptDefaults("shop"))
        assert report.added == len(rows), report

    def _judge(self, session: Session, asked: list[str]) -> None:
        prompt = prompts.prompt(session, asked[0])
        judged = Comparison(source=ComparisonSource.AI_JUDGE, prompt_id=prompt.id, collection="shop", pool=Pool.TRAIN)
        session.add(judged)
        session.flush()
        policy = policies.get_or_create(session, "policy 0", PolicyKind.IMPORTED)
        for place in range(2):
            completion = completions.add(session, prompt, policy, f"judged {place}")
            session.add(
                ComparedCompletion(
                    comparison_id=judged.id, completion_id=completion.id, shown_position=place, tier=place + 1
                )
            )

    def _decide(self, session: Session) -> None:
        """Half of what was found waits; the rest is masked or allowed."""
        for finding in session.scalars(select(Finding).order_by(Finding.id)).all()[::2]:
            action = self.random.choice([Action.MASK, Action.ALLOW])
            findings.decide(session, findings.find(session, finding.public_id), action, self.boss)
