"""Checks of filters before freezing: every name exists and has data for the purpose, and something is left."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.errors import BadInput
from app.kit import i18n
from app.kit.i18n import N_
from app.kit.i18n import gettext as _
from app.prompts.tables import PromptSource
from app.rounds.tables import ONBOARDING, Round, RoundPurpose, RoundState
from app.snapshots import contents, queries
from app.snapshots.left_out import KINDS, listed, refuse_if_empty
from app.snapshots.schemas import Also, SnapshotFilter
from app.snapshots.splits import effective_splits
from training.contract.records import Purpose, Split

LISTED = 20  # names that an error message lists
UNKNOWN = {
    Purpose.SFT: N_("There is no collection “%(name)s” of few-shot pairs that labelers wrote."),
    Purpose.RM: N_("No comparisons were imported into a collection “%(name)s”."),
    Purpose.PPO: N_("There is no prompt collection “%(name)s”."),
}


def explicit(session: Session, purpose: Purpose, filter: SnapshotFilter | dict) -> SnapshotFilter:
    """Return the filter with its rounds made explicit; raise BadInput or Conflict if it cannot be frozen."""
    try:
        filter = SnapshotFilter.model_validate(filter).model_copy()
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", field="filter") from error
    if purpose is Purpose.PPO:
        if filter.rounds is not None or filter.train_on_evaluation:
            raise BadInput(
                _("A PPO snapshot holds prompts, not answers from rounds; leave “rounds” out."), field="rounds"
            )
        if filter.also:
            raise BadInput(_("A PPO snapshot holds prompts and no answers; leave “also” out."), field="also")
        if filter.prompts is not None and filter.collections:
            raise BadInput(_("Name either prompts or collections, not both: prompts named by id are frozen regardless "
                             "of their collections."), field="prompts")  # fmt: skip
        check_prompts(session, filter.prompts or ())
    else:
        if filter.prompts is not None:
            raise BadInput(_("Only a PPO snapshot can name prompts; choose rounds here."), field="prompts")
        rounds = _rounds(session, filter)
        filter.rounds = [round.number for round in rounds]
        if filter.train_on_evaluation and all(round.purpose is RoundPurpose.TRAINING for round in rounds):
            raise BadInput(
                _("None of the rounds is an evaluation round; name the one to train on, or leave "
                  "train_on_evaluation out."),
                field="train_on_evaluation",
            )  # fmt: skip
    contents.check_examined(session)
    check_collections(session, purpose, filter.collections, filter.also)
    splits = effective_splits(session) if filter.splits else None  # computing them takes a pass over all prompts
    refuse_if_empty(purpose, *contents.count_rows(session, purpose, filter, splits))
    return filter


def _rounds(session: Session, filter: SnapshotFilter) -> list[Round]:
    if filter.rounds is None:
        return queries.closed_training_rounds(session)
    found = queries.rounds_by_number(session, filter.rounds)
    for number in filter.rounds:
        if number not in found:
            known = [one.number for one in queries.nameable_rounds(session)[::-1]]
            raise BadInput(
                " ".join([_("There is no round %(number)s.") % {"number": number}, _there_are(known)]), field="rounds"
            )
        _check_round(found[number], filter)
    return [found[number] for number in sorted(found)]


def _check_round(round: Round, filter: SnapshotFilter) -> None:
    number = {"number": round.number}
    if round.purpose is RoundPurpose.DEMO:
        raise BadInput(
            _("Round %(number)s is a demo round; its answers are never trained on.") % number, field="rounds"
        )
    if round.purpose in ONBOARDING:
        raise BadInput(
            _("Round %(number)s is for practice or screening; its answers are never trained on.") % number,
            field="rounds",
        )
    if round.state is not RoundState.CLOSED:
        raise BadInput(
            _("Round %(number)s is not closed; close it before you freeze its answers.") % number,
            field="rounds",
        )
    may_train = not filter.splits or Split.TRAIN in filter.splits
    if round.purpose is RoundPurpose.EVALUATION and may_train and not filter.train_on_evaluation:
        raise BadInput(
            _("Round %(number)s is an evaluation round: its answers are for measuring, and here a model would train "
              "on them. Leave the round out, choose splits other than train, or allow it: check “Also train on "
              "evaluation rounds” (over REST “train_on_evaluation”: true; --train-on-evaluation on the command line).")
            % number,
            field="rounds",
        )  # fmt: skip


def check_collections(session: Session, purpose: Purpose, names: Iterable[str], also: Collection[Also] = ()) -> None:
    """Raise BadInput if one of these collections does not exist or holds nothing that can be frozen."""
    known = queries.collections(session, purpose)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise BadInput(
                " ".join(
                    [
                        i18n.gettext(UNKNOWN[purpose]) % {"name": name},
                        *([_("Did you mean “%(name)s”?") % {"name": near[0]}] if near else []),
                        _there_are(known),
                    ]
                ),
                field="collections",
            )
        held, left_out = _of_collection(session, purpose, name, also)
        if not held:
            raise BadInput(
                _("Nothing in the collection “%(name)s” can be frozen; left out: %(what)s. Leave this collection out.")
                % {"name": name, "what": listed(left_out)},
                field="collections",
            )


def usable_collections(session: Session, purpose: Purpose, also: Collection[Also]) -> list[str]:
    """Return the collections that hold something for the purpose."""
    return [name for name in queries.collections(session, purpose) if _of_collection(session, purpose, name, also)[0]]


def _of_collection(session: Session, purpose: Purpose, name: str, also: Collection[Also]) -> tuple[int, dict[str, int]]:
    """Return how many rows of a collection a snapshot could hold, and how many are left out by reason."""
    named = SnapshotFilter(rounds=[], collections=[name], also=list(also))
    held, left_out = contents.count_rows(session, purpose, named)
    return sum(held[kind] for kind in KINDS[purpose][0]), left_out


def check_prompts(session: Session, ids: Iterable[str]) -> None:
    """Raise BadInput if one of these prompts does not exist, is withdrawn, or is a use-case description."""
    ids = dict.fromkeys(ids)
    found = {prompt.public_id: prompt for prompt in queries.prompts_by_id(session, ids)}
    for wrong, words in (
        (
            [id for id in ids if id not in found],
            N_("There is no prompt with the id %(ids)s; the Prompts page shows the id of each prompt."),
        ),
        (
            [id for id in ids if id in found and found[id].source is PromptSource.USE_CASE],
            N_("Use-case descriptions are not prompts for a policy; leave out %(ids)s."),
        ),
        (
            [id for id in ids if id in found and found[id].withdrawn_at is not None],
            N_("Withdrawn prompts cannot be frozen; restore them on their pages, or leave out %(ids)s."),
        ),
    ):
        if wrong:
            more = ["…"] if len(wrong) > LISTED else []
            raise BadInput(i18n.gettext(words) % {"ids": ", ".join(wrong[:LISTED] + more)}, field="prompts")


def _there_are(known: list) -> str:
    if not known:
        return _("There are none yet.")
    more = ["…"] if len(known) > LISTED else []
    return _("Available: %(known)s.") % {"known": ", ".join([*map(str, known[:LISTED]), *more])}
