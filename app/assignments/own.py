"""Items that contain a labeler's own text: nobody ranks what they wrote, or took from a suggestion."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments.tables import OwnItem, OwnText
from app.completions.tables import Completion
from app.database import insert_into
from app.prompts.tables import Prompt
from app.rounds.tables import Item, ItemCompletion


def note(session: Session, labeler: Account, texts: Iterable[tuple[str, str]]) -> None:
    """Record texts that a labeler wrote or took, as (hash of the prompt, hash of the text), and the items with them."""
    rows = [{"prompt_sha256": prompt, "text_sha256": text, "labeler_id": labeler.id} for prompt, text in texts]
    if rows:
        session.execute(insert_into(session, OwnText).on_conflict_do_nothing(), rows)
        prompts = {row["prompt_sha256"] for row in rows}
        find(session, (OwnText.labeler_id == labeler.id) & Prompt.text_sha256.in_(prompts))


def find(session: Session, where: ColumnElement[bool]) -> None:
    """Record whose own texts are in the items that match a condition (on items, prompts, or texts)."""
    found = (
        select(Item.id, OwnText.labeler_id)
        .join(Prompt, Prompt.id == Item.prompt_id)
        .join(ItemCompletion, ItemCompletion.item_id == Item.id)
        .join(Completion, Completion.id == ItemCompletion.completion_id)
        .join(
            OwnText,
            (OwnText.prompt_sha256 == Prompt.text_sha256) & (OwnText.text_sha256 == Completion.text_sha256),
        )
        .where(where)
        .distinct()
    )
    made = insert_into(session, OwnItem).from_select(["item_id", "labeler_id"], found)
    session.execute(made.on_conflict_do_nothing())
