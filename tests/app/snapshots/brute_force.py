"""What a snapshot is to hold, worked out slowly from the tables alone; it shares no code with what freezes them."""

import hmac
import json
from collections import Counter, defaultdict
from itertools import combinations

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.config import settings
from app.prompts.messages import folded_sha256, text_sha256
from training.contract.records import Message

STRICTNESS = ("train", "validation", "test")
Text = tuple[tuple[str, str], ...]  # (role, text) of each message
BAD = {
    "fails_task", "inappropriate_for_customer_assistant", "hallucination", "encourages_harm",
    "denigrates_protected_class", "harmful_advice",
}  # fmt: skip


def said(messages: list[dict]) -> Text:
    """A list of messages as it is compared."""
    return tuple((message["role"], message["text"]) for message in messages)


def fold(messages: Text) -> Text:
    """The same without case and spacing; the texts of these tests are plain English."""
    return tuple((role, " ".join(words.lower().split())) for role, words in messages)


def key(kind: str, name: str) -> str:
    """A pseudonym."""
    return hmac.digest(settings().key, f"{kind}\n{name}".encode(), "sha256").hex()[:16]


class Tables:
    """The whole database as plain rows."""

    def __init__(self, session: Session):
        def rows(query: str) -> list[dict]:
            return [dict(row) for row in session.execute(text(query)).mappings()]

        self.prompts = {row["id"]: row for row in rows("SELECT * FROM prompts")}
        for row in self.prompts.values():
            row["said"] = said(_json(row["messages"]))
        self.near = [(row["prompt_id"], row["near_id"]) for row in rows("SELECT * FROM near_prompts")]
        self.open = {row["prompt_id"] for row in rows("SELECT * FROM findings WHERE state = 'open'")}
        self.collections = defaultdict(set)
        for row in rows("SELECT * FROM prompt_collections"):
            self.collections[row["prompt_id"]].add(row["name"])
        accounts = rows("SELECT * FROM accounts")
        self.names = {row["id"]: row["username"] for row in accounts}
        self.kinds = {row["id"]: row["kind"] for row in accounts}
        self.rounds = {row["id"]: row for row in rows("SELECT * FROM rounds")}
        self.items = {row["id"]: row for row in rows("SELECT * FROM items")}
        self.completions = {row["id"]: row for row in rows("SELECT * FROM completions")}
        self.policies = {row["id"]: row["name"] for row in rows("SELECT * FROM policies")}
        self.demonstrations = rows("SELECT * FROM demonstrations")
        self.comparisons = rows("SELECT * FROM comparisons")
        self.compared = defaultdict(list)
        for row in rows("SELECT * FROM compared_completions ORDER BY comparison_id, shown_position"):
            self.compared[row["comparison_id"]].append(row)
        self.conversations = rows("SELECT * FROM conversations")
        self.messages = defaultdict(list)
        for row in rows("SELECT * FROM conversation_messages ORDER BY conversation_id, position"):
            self.messages[row["conversation_id"]].append((row["role"], row["text"]))
        for row in self.demonstrations:
            row["prompt_id"] = self.completions[row["completion_id"]]["prompt_id"]
        for row in self.conversations:
            row["prompt_id"] = self.items[row["item_id"]]["prompt_id"]
        self.classes = self._classes()

    def turns(self, conversation: dict) -> list[tuple[Text, str]]:
        """(everything before it, its text) of each message of the assistant."""
        starter = self.prompts[conversation["prompt_id"]]
        before = () if starter["source"] == "use_case" else starter["said"]
        found = []
        for role, words in self.messages[conversation["id"]]:
            if role == "assistant":
                found.append((before, words))
            before = (*before, (role, words))
        return found

    def _classes(self) -> dict[Text, tuple[str, str]]:
        """Split and key of every folded text: the strictest of all that can be reached from it, and the least hash."""
        own, linked = defaultdict(set), defaultdict(set)
        alive = {id: fold(row["said"]) for id, row in self.prompts.items() if row["withdrawn_at"] is None}
        for id, folded in alive.items():
            own[folded].add(self.prompts[id]["split"])
        groups = [{alive[one], alive[other]} for one, other in self.near if one in alive and other in alive]
        for row in self.conversations:
            starter = self.prompts[row["prompt_id"]]
            if row["surplus"] or starter["withdrawn_at"] is not None:
                continue
            group = {fold(before) for before, _answer in self.turns(row)}
            for folded in group:
                own[folded].add(starter["split"])
            groups.append(group if starter["source"] == "use_case" else group | {fold(starter["said"])})
        groups += [
            {folded, folded[:length]}
            for folded in alive.values()
            for length in range(1, len(folded))
            if folded[length - 1][0] == "user" and folded[:length] in own
        ]
        for group in groups:
            for one, other in combinations(group, 2):
                linked[one].add(other)
                linked[other].add(one)
        found = {}
        for folded in own:
            reached, todo = {folded}, [folded]
            while todo:
                more = linked[todo.pop()] - reached
                reached |= more
                todo += more
            split = max((split for one in reached for split in own[one]), key=STRICTNESS.index)
            found[folded] = split, key("text", min(map(_folded_hash, reached)))
        return found

    # --- Records ---

    def labeler(self, row: dict) -> str:
        """The pseudonym of who answered, "" for nobody."""
        if row["labeler_id"] is not None:
            return key("account", self.names[row["labeler_id"]])
        name = row.get("imported_labeler", "")
        return key("imported labeler", f"{row['collection']}\n{name}") if name else ""

    def answered_by(self, row: dict) -> str:
        """Whose answer it is."""
        return row["source"] if row["labeler_id"] is None else self.kinds[row["labeler_id"]]

    def record(self, said: Text, prompt_key: str, prompt: dict, split: str, row: dict | None = None, **more) -> dict:
        """A line about a prompt; `row` is the answer, if it is one."""
        made = {
            "prompt_key": prompt_key,
            "text_key": self.classes[fold(said)][1],
            "prompt": [{"role": role, "text": words} for role, words in said],
        }
        made |= {"split": split, "use_case": prompt["use_case"]}
        if row:
            made |= {"labeler": self.labeler(row), "pool": row["pool"], "answered_by": self.answered_by(row), **more}
        return made

    def lines(self, kind: str, row: dict, prompt: dict, split: str) -> list[dict]:
        """The lines that a row becomes."""
        if kind == "conversations":
            return [
                self.record(before, key("prompt", _hash(before)), prompt, split, row, completion=answer)
                for before, answer in self.turns(row)
            ]
        prompt_key = key("prompt", prompt["text_sha256"])
        if kind == "prompts":
            return [self.record(prompt["said"], prompt_key, prompt, split)]
        if kind == "demonstrations":
            completion = self.completions[row["completion_id"]]["text"]
            return [self.record(prompt["said"], prompt_key, prompt, split, row, completion=completion)]
        ranked = []
        for one in self.compared[row["id"]]:
            completion = self.completions[one["completion_id"]]
            ranked.append(
                {
                    "text": completion["text"],
                    "policy": self.policies[completion["policy_id"]],
                    "tier": one["tier"],
                    "rating": one["rating"],
                    "flags": _json(one["flags"]),
                    "shown_position": one["shown_position"],
                    **({"unacceptable": True} if one["unacceptable"] else {}),
                }
            )
        number = self.rounds[self.items[row["item_id"]]["round_id"]]["number"] if row["item_id"] else None
        more = {"completions": ranked, "round": number}
        if row["probability"] is not None:
            more["probability"] = row["probability"]
        return [self.record(prompt["said"], prompt_key, prompt, split, row, **more)]

    # --- Snapshots ---

    def meant(self, kind: str, row: dict, filter: dict, rounds: set[int]) -> bool:
        """Whether the filter's rounds, collections or prompts name this row."""
        names = set(filter.get("collections", ()))
        if kind == "prompts":
            return row["public_id"] in filter["prompts"] if "prompts" in filter else (
                not names or bool(names & self.collections[row["id"]])
            )  # fmt: skip
        if row["item_id"] is not None:
            return self.rounds[self.items[row["item_id"]]["round_id"]]["number"] in rounds
        return row["collection"] in names if kind == "comparisons" else bool(names & self.collections[row["prompt_id"]])

    def snapshot(self, purpose: str, filter: dict) -> "Expected":
        """What the snapshot is to hold."""
        rounds = filter.get("rounds")
        if rounds is None:
            closed = [one for one in self.rounds.values() if one["state"] == "closed" and one["purpose"] == "training"]
            rounds = [one["number"] for one in closed]
        files = {
            "sft": {"demonstrations": ("demonstrations", "conversations")},
            "rm": {"comparisons": ("comparisons",), "demonstrations": ("demonstrations", "conversations")},
            "ppo": {"prompts": ("prompts",)},
        }[purpose]
        expected = Expected()
        for file, kinds in files.items():
            lines = expected.files[file] = []
            for kind in kinds:
                table = self.prompts.values() if kind == "prompts" else getattr(self, kind)
                for row in table:
                    if self.meant(kind, row, filter, set(rounds)):
                        lines += self._take(expected, kind, row, filter)
            expected.counts[file] = len(lines)
            expected.uses[file] = dict(Counter(map(use, lines)))
        return expected

    def _take(self, expected: "Expected", kind: str, row: dict, filter: dict) -> list[dict]:
        prompt = self.prompts[row["id"] if kind == "prompts" else row["prompt_id"]]
        own = prompt["split"]
        if reason := self._reason(kind, row, prompt, filter.get("also", ())):
            expected.left_out[f"{kind}_{reason}"] += 1
            return []
        text = fold(prompt["said"])
        if kind == "conversations":
            text = fold(self.turns(row)[0][0])
        split, _key = self.classes[text]
        if row.get("pool") == "held-out":
            own, split = ("validation" if one == "train" else one for one in (own, split))
        if filter.get("splits") and split not in filter["splits"]:
            expected.left_out[f"{kind}_of_other_splits"] += 1
            return []
        lines = self.lines(kind, row, prompt, split)
        expected.counts[f"{kind}_{split}"] += 1
        expected.counts[f"{kind}_in_a_stricter_split"] += split != own
        expected.counts[f"{kind}_held_out"] += row.get("pool") == "held-out"
        if kind != "prompts" and (by := self.answered_by(row)) != "person":
            expected.counts[f"{kind}_{by}"] += 1
        if kind == "conversations":
            expected.counts["conversation_messages"] += len(lines)
        for one in lines[0]["completions"] if kind == "comparisons" else ():
            bad = one.get("unacceptable") or any(answer for name, answer in one["flags"].items() if name in BAD)
            good = (one["rating"] or 0) >= 5 and not bad
            bad = bad or one["rating"] in (1, 2, 3)
            expected.counts["kto_good" if good else "kto_bad" if bad else "kto_left_out"] += 1
        return lines

    def _reason(self, kind: str, row: dict, prompt: dict, also: list[str]) -> str:
        if kind == "comparisons" and row["source"] == "ai_judge":
            return "by_ai_judges"
        if kind != "prompts" and row["surplus"]:
            return "surplus"
        if kind == "prompts" and row["source"] == "use_case":
            return "describing_uses"
        if prompt["withdrawn_at"] is not None:
            return "withdrawn" if kind == "prompts" else "of_withdrawn_prompts"
        if kind != "prompts" and (by := self.answered_by(row)) in ("simulated", "demo") and by not in also:
            return {"simulated": "by_simulated_labelers", "demo": "by_demo_accounts"}[by]
        with_open = {fold(one["said"]) for id, one in self.prompts.items()
                     if id in self.open and one["withdrawn_at"] is None}  # fmt: skip
        repeated = {fold(before) for before, _answer in self.turns(row)} if kind == "conversations" else set()
        return "with_open_personal_data" if prompt["id"] in self.open or repeated & with_open else ""


class Expected:
    """Lines of each file in no order, and what the manifest says of them."""

    def __init__(self):
        self.files: dict[str, list[dict]] = {}
        self.counts: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.uses: dict[str, dict[str, int]] = {}


def use(line: dict) -> str:
    """What a line is for."""
    return "held_out" if line.get("pool") == "held-out" else line["split"]


def _hash(messages: Text) -> str:
    return text_sha256([Message(role=role, text=words) for role, words in messages])


def _folded_hash(messages: Text) -> str:
    return folded_sha256([Message(role=role, text=words) for role, words in messages])


def _json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value
