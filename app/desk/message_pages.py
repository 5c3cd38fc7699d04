"""Where the buttons of a conversation lead; what they change in the draft is schemas.ConversationContent.with_form."""

from urllib.parse import quote

from fastapi import Response

from app.accounts.tables import Account
from app.conversations import suggesting
from app.errors import PlumblineError
from app.kit.i18n import gettext as _
from app.web.responses import flash, redirect


def to_message(labeler: Account, id: str, do: str, text: str) -> Response:
    """To the message being written or, after at:<number>, to an earlier one; `suggest` asks for a suggestion first."""
    at = f"?at={quote(do.removeprefix('at:'))}" if do.startswith("at:") else ""
    response = redirect(f"/assignments/{id}{at}")
    if do == "back" and text.strip():
        flash(
            response, _("Something stands in the editor: add it as a message or clear it, then take the last one back.")
        )
    elif do == "add" and not text.strip():
        flash(response, _("Write the message first, or take a suggestion."))
    elif do == "suggest":
        try:
            suggesting.suggest(labeler, id)
        except PlumblineError as error:
            if error.status == 404:
                raise
            flash(response, error.message)
    return response
