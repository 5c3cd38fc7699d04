"""The formats in which tools write prompts and dialogues, parsed into messages."""

from collections.abc import Mapping

from app.errors import BadInput
from app.kit.given import Given
from app.kit.i18n import gettext as _
from app.kit.text import is_blank, require_text
from app.prompts.messages import canonical
from training.contract.records import Message

DIALOGUES = ("messages", "conversations")  # OpenAI's, and ShareGPT's


def dialogue_field(values: Given) -> str | None:
    """Return the field in which a row has a whole dialogue, or None."""
    return next((name for name in DIALOGUES if values.get(name) is not None), None)


def prompts_of(values: Given) -> list[tuple[Message, ...]]:
    """Return a row's prompts: from a dialogue, `instruction` with `input` (or `instances`), or `prompt`.

    Rows for base models often have an instruction and a prompt made from it ("...Output:"); the instruction counts.
    """
    if name := dialogue_field(values):
        return [canonical(values.structured(name), name)]
    if values.get("instruction") is not None:
        instruction = require_text(values["instruction"], "instruction")
        instances = values.structured("instances")
        if instances is None:
            return [_instructed(instruction, values.get("input"), "input")]
        if not isinstance(instances, list) or not all(isinstance(one, Mapping) for one in instances) or not instances:
            raise BadInput(_("instances must be a list of {input, output}."), field="instances")
        return [_instructed(instruction, one.get("input"), f"instances.{n}.input") for n, one in enumerate(instances)]
    prompt = values.text_or_messages("prompt")
    if isinstance(prompt, list):
        return [canonical(prompt, "prompt")]
    if prompt is not None:
        return [(Message(role="user", text=require_text(prompt, "prompt")),)]
    raise BadInput(
        _("No prompt: a row needs prompt, messages, or instruction (with input). It has: %(keys)s.")
        % {"keys": values.named() or _("nothing")},
        field="prompt",
    )


def _instructed(instruction: str, given: object, field: str) -> tuple[Message, ...]:
    if given is None or (isinstance(given, str) and is_blank(given)):
        return (Message(role="user", text=instruction),)
    # Always one blank line between the two, however the instruction ends.
    return (Message(role="user", text=f"{instruction.rstrip()}\n\n{require_text(given, field)}"),)
