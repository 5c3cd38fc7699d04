"""Keys of a config as a person types them into a form."""

import json

from app.errors import BadInput
from app.kit.i18n import gettext as _


def parse_keys(text: str) -> dict:
    """What "key = value" lines set: JSON where a value is JSON, else the text itself; raises BadInput."""
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
