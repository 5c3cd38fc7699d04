"""Simulated labelers sent to work from the page: as careful in the last round as in the first."""

from datetime import UTC, datetime

from app.completions.rules import add
from app.database import transaction
from app.guidelines.rules import current_form, current_guideline
from app.guidelines.tables import FormKind
from app.policies.rules import get_or_create
from app.policies.tables import PolicyKind
from app.rounds.tables import Item, ItemCompletion, ItemKind, Round, RoundState
from app.simulation.agreement import calibrate
from app.simulation.labelers import crew
from app.simulation.tasks import LABELERS, SEED, steady_crew
from tests.loop import add_prompt
from training.miniature.world import demonstration, tasks


def compared(number: int, texts: list[str]) -> dict[str, list[str]]:
    """An open training round of comparisons of a good completion with these texts; returns texts by prompt."""
    asked = {task.prompt: [demonstration(task.prompt, 1), *texts] for task in tasks(number, 20)}
    with transaction() as session:
        round = Round(
            number=number,
            name=f"Round {number}",
            state=RoundState.OPEN,
            opened_at=datetime(2026, 1, number, tzinfo=UTC),
            guideline_id=current_guideline(session, "training").id,
            form_id=current_form(session, FormKind.COMPLETION).id,
        )
        policy = get_or_create(session, f"policy {number}", PolicyKind.IMPORTED)
        session.add(round)
        session.flush()
        for position, task in enumerate(tasks(number, 20)):
            prompt = add_prompt(session, task)
            item = Item(round_id=round.id, prompt_id=prompt.id, kind=ItemKind.COMPARISON, position=position, overlap=1)
            session.add(item)
            session.flush()
            for place, text in enumerate(asked[task.prompt]):
                completion = add(session, prompt, policy, text)
                session.add(ItemCompletion(item_id=item.id, completion_id=completion.id, position=place))
    return asked


def noise() -> float:
    """The noise of the labelers, which is the same for all."""
    (scale,) = {one.noise for one in steady_crew()}
    return scale


def test_the_noise_stays_as_it_was_found_on_the_first_comparisons(database):
    assert noise() == 0  # nothing is compared yet
    first = calibrate(crew(SEED, LABELERS), compared(1, ["one two three.", "What?"]))
    assert noise() == first > 0
    later = calibrate(crew(SEED, LABELERS), compared(2, ["one.", "two three four.", "five, six."]))
    assert noise() == first != later
