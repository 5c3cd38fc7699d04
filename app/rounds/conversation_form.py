"""The conversations part of a round's form, and a plan's conversations in words."""

import re
from collections.abc import Mapping

from app.kit.choices import number_or_all, some_or_all
from app.kit.i18n import gettext as _

EMPTY = {
    "ask_conversations": "",
    "conversations": "",
    "topics": "",
    "suggests": "",
    "alternatives": "4",
}
LISTS = ("alternative_policies",)


def given(form: Mapping) -> dict:
    """Return the fields of a posted form."""
    return {name: str(form.get(name, "")).replace("\r\n", "\n").strip() for name in EMPTY}


def planned(given: dict, chosen: dict) -> dict:
    """Return the plan's part about conversations, empty if none are asked for; `chosen` is the filter of all prompts.

    Raise BadInput if no policy is ticked to write the alternatives.
    """
    topics = [topic.strip() for topic in re.split(r"\n\s*\n", given["topics"]) if topic.strip()]
    if not given["ask_conversations"] and not topics:
        return {}
    writers = some_or_all(given, "alternative_policies", _("Who writes the alternatives"))
    plan = {
        "starters": {**chosen, "count": number_or_all(given, "conversations", _("Prompts that open a conversation"))}
        if given["ask_conversations"]
        else None,
        "topics": topics,
        "suggests": given["suggests"],
        "alternatives": given["alternatives"] or None,
        "policies": [{"policy": name} for name in writers or []],
    }
    return {"conversations": plan}


def messages() -> dict[str, str]:
    """Return the error messages for the fields of the form."""
    return {
        "alternatives": _("A message can have 4 to 9 alternatives; leave the field empty for none."),
        "topics": _("A description can have at most 4,000 characters."),
        "conversations": _("The number of prompts must be from 1 to 1,000,000."),
    }


def in_words(plan: dict) -> list[tuple[str, str]]:
    """Return a plan's conversations as (label, value) lines."""
    said = []
    if starters := plan.get("starters"):
        most = _("at most %(n)d") % {"n": starters["count"]} if starters.get("count") else _("all")
        filters = [", ".join(values) for values in starters.values() if isinstance(values, list)]
        said.append((_("Prompts that open a conversation"), "; ".join([*filters, most])))
    if topics := plan.get("topics"):
        said.append((_("Use-case descriptions to start from"), str(len(topics))))
    said.append((_("Messages are suggested by"), plan.get("suggests") or _("the newest available policy")))
    k = plan.get("alternatives", 4)
    writers = ", ".join(share["policy"] for share in plan.get("policies", [])) or _("the policy that suggests messages")
    alternatives = _("%(k)d from %(policies)s") % {"k": k, "policies": writers} if k else _("none")
    return [*said, (_("Alternatives to one message"), alternatives)]
