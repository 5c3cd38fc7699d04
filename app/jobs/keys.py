"""Config keys as typed into a form."""

import json

from app.errors import BadInput
from app.kit.i18n import gettext as _


def parse_keys(text: str) -> dict:
    """Parse "key = value" lines: values that are valid JSON as JSON, others as text. Raise BadInput."""
    keys = {}
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals or not key.strip():
            raise BadInput(
                _("Line %(number)d, “%(line)s”: write it as key = value.") % {"number": number, "line": line.strip()},
                field="set",
            )
        try:
            keys[key.strip()] = json.loads(value)
        except json.JSONDecodeError:
            keys[key.strip()] = value.strip()
    return keys
