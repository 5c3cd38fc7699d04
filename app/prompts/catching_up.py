"""Examination of prompts that an earlier version stored without it."""

import logging
from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.database import reading, transaction
from app.prompts import queries
from app.prompts.examination import Examined, examine, store_findings, store_likeness
from app.prompts.messages import stored
from app.prompts.similar import Kept, Similar
from app.prompts.tables import Prompt
from training.contract.records import Message

log = logging.getLogger(__name__)
BATCH = 200  # prompts per transaction


def examine_stored() -> int:
    """Examine all unexamined prompts in batches; returns how many. A later call continues where this one stopped."""
    count = 0
    while True:
        with reading() as session:
            prompts = queries.unexamined(session, BATCH)
        if not prompts:
            return count
        found = {prompt.id: examine(messages(prompt), prompt.source) for prompt in prompts}
        with transaction() as session:
            count += _store(session, queries.unexamined(session, BATCH), found)
        if count % 10_000 < BATCH:
            log.info("%d prompts that an earlier version stored are examined", count)


def messages(prompt: Prompt) -> tuple[Message, ...]:
    """Return the messages of a stored prompt."""
    return stored(prompt.messages)


def _store(session: Session, prompts: Sequence[Prompt], found: dict[int, Examined]) -> int:
    prompts = [prompt for prompt in prompts if prompt.id in found]  # another process may have examined the rest
    similar = Similar(session)
    similar.look_up([], [found[prompt.id].bands for prompt in prompts])
    bands, near = [], []
    for prompt in prompts:
        examined, text = found[prompt.id], messages(prompt)
        near += [(prompt.id, other) for other in similar.near_ids(text, examined.bands)]
        kept = Kept(prompt.split, text, prompt.id, prompt.public_id)
        bands += [(band, prompt.id) for band in similar.enter(prompt.id, kept, None, examined.bands)]
        prompt.language = examined.language
    store_findings(session, ((prompt.id, found[prompt.id]) for prompt in prompts))
    store_likeness(session, bands, near)
    return len(prompts)
