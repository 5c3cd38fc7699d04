"""Re-authentication: the current password is required for actions that a stolen session must not perform."""

from app.accounts import limits
from app.accounts.passwords import verify
from app.accounts.tables import Account
from app.errors import BadInput
from app.kit.i18n import gettext as _


def check_current(address: str, account: Account, current: str) -> None:
    """Raise BadInput unless `current` is the account's password; raise TooMany after too many attempts."""
    if not current:
        raise BadInput(_("Enter your own password, so that nobody else can do this on your device."), field="current")
    browser = "signed in"  # failed sign-ins by others do not count here
    limits.count_attempt(account.username, address, account=account, browser=browser)
    if not verify(current, account.password_hash)[0]:
        raise BadInput(_("The current password is wrong."), field="current")
    limits.forget_attempts(account.username, address, account=account, browser=browser)
