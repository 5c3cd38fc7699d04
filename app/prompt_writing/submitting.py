"""Submission of prompts that labelers wrote; each few-shot pair becomes a prompt with its demonstration."""

from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments import own
from app.completions import rules as completions
from app.database import utc_now
from app.demonstrations.tables import Demonstration
from app.errors import BadInput, Conflict
from app.guidelines import rules as guidelines
from app.kit.i18n import gettext as _
from app.kit.text import require_text
from app.policies import rules as policies
from app.prompt_writing import rules as writing
from app.prompt_writing.schemas import WritingContent
from app.prompt_writing.tables import Writing
from app.prompts import rules as prompts
from app.prompts.messages import few_shot
from app.prompts.tables import Prompt, PromptSource


class Alike(Conflict):
    """A similar prompt exists; submitting again with `alike` stores the writing."""


def hand_in(
    session: Session, piece: Writing, labeler: Account, content: WritingContent, *, version: int, alike: bool = False
) -> list[Prompt]:
    """Store and return the prompts of a writing; raise Alike for a near-duplicate unless `alike` is set."""
    if piece.submitted_at is not None and piece.content == content.model_dump(mode="json"):
        return list(writing.prompts_of(session, piece))  # a double click
    writing.save(session, piece, content, version)
    writing.check_wanted(session, piece.call)
    if piece.call.kind is PromptSource.LABELER_FEW_SHOT:
        made = _few_shot(session, piece, labeler, content)
    else:
        made = [_single(session, piece, labeler, content, alike=alike)]
    piece.submitted_at = utc_now()
    session.flush()
    return made


def _shared(piece: Writing, labeler: Account, content: WritingContent) -> dict:
    owner, split = writing.owner(labeler)
    return {
        "source": piece.call.kind,
        "use_case": content.use_case,
        "owner": owner,
        "split": split,
        "collection": piece.call.collection,
        "written_by": labeler,
        "writing_id": piece.id,
        "filters": True,
    }


def _single(session: Session, piece: Writing, labeler: Account, content: WritingContent, *, alike: bool) -> Prompt:
    if not content.text.strip():
        raise BadInput(_("The prompt is empty. Write it first."), field="text")
    text = require_text(content.text, "text").strip()
    other = None if alike else writing.alike(session, labeler, text)
    if other:
        raise Alike(
            _("You have already written nearly the same prompt: “%(text)s”") % {"text": other[:300]}, field="text"
        )
    if other == "":
        raise Alike(_("Another prompt begins with the same 200 characters."), field="text")
    shared = _shared(piece, labeler, content)
    return _own(piece, prompts.add(session, messages=[{"role": "user", "text": text}], keep_similar=True, **shared))


def _few_shot(session: Session, piece: Writing, labeler: Account, content: WritingContent) -> list[Prompt]:
    people = policies.people(session, labeler.pool)
    guideline = guidelines.current_guideline(session, guidelines.TRAINING)
    made = []
    pairs = [(pair.input, pair.completion) for pair in content.pairs if pair]
    for text, answer in few_shot(content.instruction, pairs):
        prompt = prompts.add(session, messages=[{"role": "user", "text": text}], **_shared(piece, labeler, content))
        made.append(_own(piece, prompt))
        completion = completions.add(session, prompt, people, answer)
        own.note(session, labeler, [(prompt.text_sha256, completion.text_sha256)])
        session.add(
            Demonstration(
                labeler_id=labeler.id,
                pool=labeler.pool,
                completion_id=completion.id,
                guideline_id=guideline.id,
                idempotency_key=f"{piece.public_id} {len(made)}",
            )
        )
    return made


def _own(piece: Writing, prompt: Prompt) -> Prompt:
    """Return the prompt; raise BadInput if the same text was stored before."""
    if prompt.writing_id != piece.id:
        raise BadInput(_("This exact prompt already exists; write a different one."), field="text")
    return prompt
