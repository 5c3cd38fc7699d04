"""Exceptions that carry a status; web/error_pages.py turns them into a page or problem details."""

from app.kit.i18n import N_


class PlumblineError(Exception):
    """An error that a person can fix; the message says what is wrong, where, and the next step."""

    status = 400
    title = N_("This could not be done")

    def __init__(self, message: str, *, field: str | None = None):
        super().__init__(message)
        self.message = message
        self.field = field


class BadInput(PlumblineError):
    """A value that a rule refuses; `field` names it."""

    status = 422
    title = N_("Please check what you entered")


class NotSignedIn(PlumblineError):
    """No session, or one that has expired."""

    status = 401
    title = N_("Please sign in")


class Forbidden(PlumblineError):
    """Signed in, but the action needs another role or scope."""

    status = 403
    title = N_("Not allowed")


class NotFound(PlumblineError):
    """The object does not exist, or is not visible to this account."""

    status = 404
    title = N_("Not found")


class Conflict(PlumblineError):
    """The state has changed or does not allow this; `current` is the current state, for a 409 that shows both."""

    status = 409
    title = N_("This has changed in the meantime")

    def __init__(self, message: str, *, current: dict[str, object] | None = None, field: str | None = None):
        super().__init__(message, field=field)
        self.current = current


class TooMany(PlumblineError):
    """Rate limit exceeded; `retry_after_seconds` says when to try again."""

    status = 429
    title = N_("Too many attempts")

    def __init__(self, message: str, *, retry_after_seconds: int):
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
