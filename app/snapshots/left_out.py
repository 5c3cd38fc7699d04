"""Why a row that a filter selects is left out of a snapshot: the keys of Manifest.left_out, and their texts."""

from collections.abc import Mapping
from enum import StrEnum

from app.errors import BadInput
from app.kit import i18n
from app.kit.i18n import N_
from app.kit.i18n import gettext as _
from training.contract.records import Purpose


class Kind(StrEnum):
    """Kind of the rows in a snapshot."""

    DEMONSTRATIONS = "demonstrations"
    CONVERSATIONS = "conversations"
    COMPARISONS = "comparisons"
    PROMPTS = "prompts"


# The kinds without which a snapshot is empty, and the kinds that it holds besides.
KINDS: dict[Purpose, tuple[tuple[Kind, ...], tuple[Kind, ...]]] = {
    Purpose.SFT: ((Kind.DEMONSTRATIONS, Kind.CONVERSATIONS), ()),
    Purpose.RM: ((Kind.COMPARISONS,), (Kind.DEMONSTRATIONS, Kind.CONVERSATIONS)),
    Purpose.PPO: ((Kind.PROMPTS,), ()),
}


class Reason(StrEnum):
    """Why a row is left out; if several reasons apply, the first counts."""

    BY_AI_JUDGES = "by_ai_judges"
    SURPLUS = "surplus"
    DESCRIBING_USES = "describing_uses"
    WITHDRAWN = "withdrawn"
    OF_WITHDRAWN_PROMPTS = "of_withdrawn_prompts"
    BY_SIMULATED_LABELERS = "by_simulated_labelers"
    BY_DEMO_ACCOUNTS = "by_demo_accounts"
    OPEN_PERSONAL_DATA = "with_open_personal_data"
    OTHER_SPLITS = "of_other_splits"


WORDS = {
    "demonstrations_surplus": N_("demonstrations submitted after their slot was filled or their round closed"),
    "demonstrations_of_withdrawn_prompts": N_("demonstrations of withdrawn prompts"),
    "demonstrations_by_simulated_labelers": N_("demonstrations by simulated labelers"),
    "demonstrations_by_demo_accounts": N_("demonstrations by demo accounts"),
    "demonstrations_with_open_personal_data": N_("demonstrations of prompts with open personal data findings"),
    "demonstrations_of_other_splits": N_("demonstrations in splits that were not chosen"),
    "conversations_surplus": N_("conversations submitted after their slot was filled or their round closed"),
    "conversations_of_withdrawn_prompts": N_("conversations about withdrawn prompts"),
    "conversations_by_simulated_labelers": N_("conversations by simulated labelers"),
    "conversations_by_demo_accounts": N_("conversations by demo accounts"),
    "conversations_with_open_personal_data": N_("conversations about prompts with open personal data findings"),
    "conversations_of_other_splits": N_("conversations in splits that were not chosen"),
    "comparisons_by_ai_judges": N_("comparisons by AI judges"),
    "comparisons_surplus": N_("comparisons submitted after their slot was filled or their round closed"),
    "comparisons_of_withdrawn_prompts": N_("comparisons of withdrawn prompts"),
    "comparisons_by_simulated_labelers": N_("comparisons by simulated labelers"),
    "comparisons_by_demo_accounts": N_("comparisons by demo accounts"),
    "comparisons_with_open_personal_data": N_("comparisons of prompts with open personal data findings"),
    "comparisons_of_other_splits": N_("comparisons in splits that were not chosen"),
    "prompts_describing_uses": N_("use-case descriptions, which are not prompts for a policy"),
    "prompts_withdrawn": N_("withdrawn prompts"),
    "prompts_with_open_personal_data": N_("prompts with open personal data findings"),
    "prompts_of_other_splits": N_("prompts in splits that were not chosen"),
}


def key(kind: Kind, reason: Reason) -> str:
    """Return the key of Manifest.left_out for rows of this kind."""
    return f"{kind}_{reason}"


def worded(left_out: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return (what is left out and why, in the reader's language; how many), in a fixed order."""
    return [(i18n.gettext(words), left_out[name]) for name, words in WORDS.items() if name in left_out]


def listed(left_out: Mapping[str, int]) -> str:
    """Return what is left out, and how many, in the reader's language: "withdrawn prompts (3), ..."."""
    return ", ".join(f"{words} ({count})" for words, count in worded(left_out))


def refuse_if_empty(purpose: Purpose, held: Mapping[Kind, int], left_out: Mapping[str, int]) -> None:
    """Raise BadInput if nothing is left that the purpose needs."""
    needed, _others = KINDS[purpose]
    if any(held[kind] for kind in needed):
        return
    empty = {
        Purpose.SFT: _("The snapshot would hold 0 demonstrations and 0 conversations."),
        Purpose.RM: _("The snapshot would hold 0 comparisons."),
        Purpose.PPO: _("The snapshot would hold 0 prompts."),
    }[purpose]
    why = {name: count for name, count in left_out.items() if name.startswith(tuple(needed))}
    because = _("Left out: %(what)s.") % {"what": listed(why)} if why else ""
    raise BadInput(" ".join(filter(None, (empty, because, way_out(why)))), field="filter")


def way_out(left_out: Mapping[str, int]) -> str:
    """Return the advice to show when nothing is left to freeze."""
    if any(name.endswith((Reason.BY_SIMULATED_LABELERS, Reason.BY_DEMO_ACCOUNTS)) for name in left_out):
        return _(
            "Under “Whose answers”, check which other answers to include (“also” over REST, --also on the command "
            "line)."
        )
    return _("Choose other rounds, collections, prompts or splits.")
