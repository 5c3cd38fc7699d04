"""Reading a pair: HH's two transcripts, or prompt, chosen and rejected in the shapes of TRL and UltraFeedback."""

import re
from collections.abc import Mapping, Sequence

from app.comparisons.rankings import Ranked, Ranking, labeler_of, place_by_text, probability_of
from app.errors import BadInput
from app.kit.given import Given, Problem, Row
from app.kit.i18n import gettext as _
from app.kit.text import is_blank, normal_form, require_text
from app.prompts.imports import PromptDefaults, drafts_of
from app.prompts.messages import message
from app.prompts.shapes import prompts_of
from training.contract.records import Message

ROLES = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"\n\n(Human|Assistant):")
VERDICT_FIELDS = ("label", "winner", "preference")  # where other tools mark a tie


def read_pair(
    row: Row, defaults: PromptDefaults, policy: str, *, transcripts: bool
) -> tuple[Ranking | None, list[Problem]]:
    """Return the ranking of a row with `chosen` and `rejected`, or what is wrong with its prompt.

    Raise BadInput for all other problems. Both sides belong to one `policy`: a name must not reveal which was chosen.
    """
    values = row.values
    for side in ("chosen", "rejected"):
        if values.get(side) is None:
            raise BadInput(
                _("No %(side)s: a row needs chosen and rejected. The row has: %(keys)s.")
                % {"side": side, "keys": values.named()},
                field=side,
            )
    fell_back = False
    if transcripts:
        messages, chosen, rejected, fell_back = _transcripts(values)
    else:
        messages, chosen, rejected = _sides(values)
    asked = values.replaced({"messages": messages, "conversations": None, "instruction": None, "prompt": None})
    drafts, problems = drafts_of(Row(row.line, asked), defaults)
    if problems:
        return None, problems
    tied = _is_tie(values)
    sides = sorted((Ranked(chosen, policy, 1), Ranked(rejected, policy, 1 if tied else 2)), key=place_by_text)
    labeler, pool = labeler_of(values)
    return Ranking(row.line, drafts[0], tuple(sides), labeler, pool, probability_of(values), fell_back), []


def _is_tie(values: Given) -> bool:
    given = values.get("tie")
    if given in (0, 1):  # also 1.0: a table with gaps writes true so
        return given == 1
    if given not in (None, "", True, False) and str(given).lower() not in ("true", "false", "yes", "no", "0", "1"):
        raise BadInput(_("tie is “%(given)s”; it must be true or false.") % {"given": str(given)[:40]}, field="tie")
    if given is True or str(given).lower() in ("true", "yes", "1"):
        return True
    said = [name for name in VERDICT_FIELDS if str(values.peek(name)).lower().startswith("tie")]
    return any(values[name] for name in said)


# --- prompt, chosen, rejected ---


def _sides(values: Given) -> tuple[Sequence[Message], str, str]:
    """Return (messages of the prompt, chosen, rejected); a side is a text, or a list that an assistant message ends."""
    (before, chosen), (other, rejected) = (_side(values, name) for name in ("chosen", "rejected"))
    if _form(before) != _form(other):
        raise BadInput(
            _("chosen and rejected must have the same messages up to the last one, which is the assistant's."),
            field="chosen",
        )
    prompt = values.peek("prompt")
    if not before and isinstance(prompt, str) and (turns := _transcript_prompt(prompt)):
        values.get("prompt")
        return turns, _continued(prompt, chosen, "chosen"), _continued(prompt, rejected, "rejected")
    own = _own_prompt(values)
    if not before and own is None and TURN.match(chosen) and TURN.match(rejected):
        raise BadInput(_("chosen and rejected are HH dialogues; import them with the format hh."), field="chosen")
    if not before:
        return own or _one_prompt(values), chosen, rejected
    return (_joined(own, before) if own else before), chosen, rejected


def _continued(prompt: str, text: str, side: str) -> str:
    """Return a side's text after the prompt's last marker; the side may repeat the prompt."""
    text = text.removeprefix(prompt.rstrip())
    if TURN.match(text):
        raise BadInput(
            _("%(field)s is a whole dialogue that does not begin with the row's prompt; remove the prompt, or give "
              "only the last message.") % {"field": side}, field=side
        )  # fmt: skip
    return _after_mark(text)


def _side(values: Given, name: str) -> tuple[list[Message], str]:
    """Return (the messages before the last one, the last one's text) of a side."""
    given = values.text_or_messages(name)
    if not isinstance(given, list):
        return [], require_text(given, name, may_be_empty=True)
    if not given:
        raise BadInput(_("%(field)s is an empty list.") % {"field": name}, field=name)
    said = [message(one, f"{name}.{n}", may_be_empty=n == len(given) - 1) for n, one in enumerate(given)]
    if said[-1].role != "assistant":
        raise BadInput(_("%(field)s must end with an assistant message.") % {"field": name}, field=name)
    return said[:-1], said[-1].text


def _own_prompt(values: Given) -> Sequence[Message] | None:
    """Return the prompt next to chosen and rejected, or None; `messages` there repeat a side, as in UltraFeedback."""
    if all(values.get(name) is None for name in ("prompt", "instruction")):
        return None
    return _one_prompt(values.replaced({"messages": None, "conversations": None}))


def _one_prompt(values: Given) -> tuple[Message, ...]:
    made = prompts_of(values)
    if len(made) > 1:
        raise BadInput(_("The row has several instances; a pair needs exactly one."), field="instances")
    return made[0]


def _joined(own: Sequence[Message], before: Sequence[Message]) -> list[Message]:
    """Return the dialogue before the completions. It begins with the row's own prompt, which is not repeated."""
    systems = {normal_form(one.text): one for one in own if one.role == "system"}
    repeated = {normal_form(one.text) for one in before if one.role == "system"}
    said = [one for one in before if one.role != "system"]
    asked = [one for one in own if one.role != "system"]
    if (systems and repeated and not systems.keys() & repeated) or _form(said)[: len(asked)] != _form(asked):
        raise BadInput(
            _("chosen and rejected are dialogues that do not begin with the row's prompt; remove the prompt, or "
              "give only the last messages."), field="prompt"
        )  # fmt: skip
    return [*(one for form, one in systems.items() if form not in repeated), *before]


def _form(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(one.role, normal_form(one.text).strip()) for one in messages]


# --- Transcripts ---


def _transcripts(values: Mapping[str, object]) -> tuple[Sequence[Message], str, str, bool]:
    """Return (messages that both transcripts share, rest of chosen, rest of rejected, whether they diverge early).

    The rest starts at the assistant's turn after the last human turn that both share: nearly always the last
    turn of each; where the transcripts diverge earlier, it is the longest common prefix at turn boundaries.
    """
    chosen, rejected = (require_text(values.get(side), side) for side in ("chosen", "rejected"))
    sides = [_turns(chosen, "chosen"), _turns(rejected, "rejected")]
    shared = 0
    while shared < min(map(len, sides)) and sides[0][shared][:2] == sides[1][shared][:2]:
        shared += 1
    # The last turn of a dialogue is its completion, and a prompt ends with the human's turn.
    shared = min(shared, len(sides[0]) - 1, len(sides[1]) - 1)
    while shared and not (
        sides[0][shared - 1][0] == "Human" and sides[0][shared][0] == sides[1][shared][0] == "Assistant"
    ):
        shared -= 1
    if not shared:
        raise BadInput(_("The two dialogues share no human turn that the assistant answers in both."), field="rejected")
    fell_back = any(len(side) > shared + 1 for side in sides)
    starts = [side[shared][2] for side in sides]
    rest = _after_mark(chosen[starts[0] :]), _after_mark(rejected[starts[1] :])
    return _messages(sides[0][:shared]), *rest, fell_back


def _turns(dialogue: str, field: str) -> list[tuple[str, str, int]]:
    """Return (speaker, text, where the text starts) of each turn."""
    marks = list(TURN.finditer(dialogue))
    if len(marks) < 2 or marks[0].group(1) != "Human" or dialogue[: marks[0].start()].strip():
        raise BadInput(
            _(r"%(field)s is not a dialogue: it must read “\n\nHuman: ...\n\nAssistant: ...”.") % {"field": field},
            field=field,
        )
    ends = [mark.start() for mark in marks[1:]] + [len(dialogue)]
    return [(mark.group(1), dialogue[mark.end() : end], mark.end()) for mark, end in zip(marks, ends, strict=True)]


def _messages(turns: Sequence[tuple[str, str, int]]) -> list[Message]:
    """Return turns as messages; consecutive turns of one speaker become one message."""
    made: list[Message] = []
    for speaker, said, _start in turns:
        text = _after_mark(said)
        if is_blank(text):
            raise BadInput(_("The dialogue has an empty turn before its last one; remove the row."), field="chosen")
        if made and made[-1].role == ROLES[speaker]:
            made[-1] = Message(role=made[-1].role, text=f"{made[-1].text}\n\n{text}")
        else:
            made.append(Message(role=ROLES[speaker], text=text))
    return made


def _after_mark(text: str) -> str:
    """Remove the blank that belongs to the marker "Assistant:" from the text after it."""
    return text.removeprefix(" ")


def _transcript_prompt(prompt: str) -> list[Message] | None:
    """Return the messages of a prompt that is a transcript up to the assistant's marker (TRL's HH), or None."""
    if not re.match(r"\n\nHuman:", prompt) or not prompt.rstrip().endswith("\n\nAssistant:"):
        return None
    turns = _turns(prompt.rstrip(), "prompt")
    return _messages(turns[:-1])
