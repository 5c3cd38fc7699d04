"""Prompts of the miniature world in the format of the prompt bank."""

from collections.abc import Iterator

from app.prompts.admission import OWNER_CAP
from app.prompts.schemas import PromptIn
from app.prompts.tables import PromptSource
from training.contract.records import Split
from training.miniature.world import tasks

COLLECTION = "miniature"
FOR_PEOPLE = 0.05  # share of a round's items: enough to try the work, too few to affect training


def prompts(seed: int, *, train: int, validation: int) -> Iterator[PromptIn]:
    """Yield distinct prompts of both splits, alternating families; an owner has one split and stays under its cap."""
    for split, count in ((Split.TRAIN, train), (Split.VALIDATION, validation)):
        for number, task in enumerate(tasks(seed, count, only=split) if count else []):
            yield PromptIn(
                prompt=task.prompt,
                source=PromptSource.LABELER_PLAIN,
                use_case=task.use_case,
                owner=f"miniature {seed} {split} {number // OWNER_CAP + 1}",
                split=split,
                collection=COLLECTION,
            )
