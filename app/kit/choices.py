"""Multiple choice in forms, with "all" as a separate checkbox, so that an empty choice never means everything.

`templates/forms.html` renders the lists; static/choices.js unticks "all" when something is chosen, and vice versa.
"""

from collections.abc import Collection, Iterable
from typing import Protocol

from app.errors import BadInput
from app.kit.i18n import gettext as _

ALL = "all"  # the field that names the lists in which "all" is ticked


class Form(Protocol):
    """A posted form, in which a field may have several values."""

    def getlist(self, key: str, /) -> list:
        """Return the values of a field, in order."""


def ticked(form: Form, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the ticked values of each list, and under ALL the names of the lists in which "all" is ticked."""
    return {name: [str(value) for value in form.getlist(name)] for name in (*names, ALL)}


def some_or_all(given: dict[str, Collection[str]], name: str, label: str) -> list[str] | None:
    """Return the ticked values of a list, or None for all; raise BadInput if both or neither are given."""
    some = list(given[name])
    if some and name in given[ALL]:
        raise BadInput(_("%(list)s: choose some or all, not both.") % {"list": label}, field=name)
    if not some and name not in given[ALL]:
        raise BadInput(
            _("%(list)s: nothing is chosen. Choose what you want, or check “all”.") % {"list": label}, field=name
        )
    return some or None


def number_or_all(given: dict, name: str, label: str) -> str | None:
    """Return the number in a field, or None for all; raise BadInput as `some_or_all` does."""
    number = some_or_all({**given, name: [given[name]] if given[name] else []}, name, label)
    return number[0] if number else None
