"""What the writing page shows besides the text: its length, and the form about the prompt."""

from app.assignments.task import TaskRound
from app.database import reading
from app.demonstrations import lengths
from app.demonstrations.schemas import DemonstrationContent
from app.guidelines import rules as guidelines
from app.guidelines.queries import newest_form
from app.guidelines.tables import FormKind
from training.contract.records import UseCase


def beside(content: DemonstrationContent, round: TaskRound) -> dict[str, object]:
    """Return the length in tokens, and the questions about the prompt if the round asks them, with their version."""
    with reading() as session:
        tokenizer = lengths.tokenizer(session)
        form = newest_form(session, FormKind.PROMPT) if round.plan.get("about_prompts", True) else None
        asked = guidelines.questions(form) if form else ()
    return {
        "length": lengths.measure(content.text, tokenizer),
        "about": asked,
        "form_version": form.version if form else None,
        "use_cases": list(UseCase),
    }
