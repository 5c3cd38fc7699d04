"""Choices of some or of all in a form: "all" is a box of its own, so that nothing chosen never means everything.

`templates/forms.html` draws them; static/choices.js unticks "all" where something is chosen, and the other way round.
"""

from collections.abc import Collection, Iterable
from typing import Protocol

from app.errors import BadInput
from app.kit.i18n import gettext as _

ALL = "all"  # the field that names each list of which all is meant


class Form(Protocol):
    """A posted form, in which a name may have several values."""

    def getlist(self, key: str, /) -> list:
        """Return the values of a name, in order."""


def ticked(form: Form, names: Iterable[str]) -> dict[str, list[str]]:
    """What is ticked in each of these lists, and under ALL the names of those of which all is."""
    return {name: [str(value) for value in form.getlist(name)] for name in (*names, ALL)}


def some_or_all(given: dict[str, Collection[str]], name: str, label: str) -> list[str] | None:
    """What is ticked in a list, None where all is; raises BadInput where both are or nothing is."""
    some = list(given[name])
    if some and name in given[ALL]:
        raise BadInput(_("%(list)s: choose some or all, not both.") % {"list": label}, field=name)
    if not some and name not in given[ALL]:
        raise BadInput(
            _("%(list)s: nothing is chosen. Choose what you want, or check “all”.") % {"list": label}, field=name
        )
    return some or None


def number_or_all(given: dict, name: str, label: str) -> str | None:
    """The number that a field holds, None where all is ticked; raises BadInput as `some_or_all`."""
    number = some_or_all({**given, name: [given[name]] if given[name] else []}, name, label)
    return number[0] if number else None
