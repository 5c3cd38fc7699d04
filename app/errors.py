"""Plain exceptions that carry a status; web/error_pages.py turns them into a page or problem details."""

from app.kit.i18n import N_


class PlumblineError(Exception):
    """Something a person can mend; the message says what was wrong, where, and the way out."""

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
    """Signed in, but this act needs another role or scope."""

    status = 403
    title = N_("Not allowed")


class NotFound(PlumblineError):
    """It does not exist, or not for this person."""

    status = 404
    title = N_("Not found")


class Conflict(PlumblineError):
    """Someone or something was faster; `current` is what stands now, for a 409 that shows both."""

    status = 409
    title = N_("This has changed in the meantime")

    def __init__(self, message: str, *, current: object = None, field: str | None = None):
        super().__init__(message, field=field)
        self.current = current


class TooMany(PlumblineError):
    """A rate limit; `retry_after_seconds` says when to try again."""

    status = 429
    title = N_("Too many attempts")

    def __init__(self, message: str, *, retry_after_seconds: int):
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
