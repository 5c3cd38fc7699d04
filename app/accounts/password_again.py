"""Asking somebody who is signed in for their password again, before an act that a stolen session must not do."""

from app.accounts import limits
from app.accounts.passwords import verify
from app.accounts.tables import Account
from app.errors import BadInput
from app.kit.i18n import gettext as _


def check_current(address: str, account: Account, current: str) -> None:
    """Raise BadInput unless `current`, typed at `address`, is the account's password; guessing is slowed."""
    if not current:
        raise BadInput(_("Enter your own password, so that nobody else can do this on your device."), field="current")
    counted = {"account": account, "browser": "signed in"}  # what others guess at the sign-in does not count here
    limits.count_attempt(account.username, address, **counted)
    if not verify(current, account.password_hash)[0]:
        raise BadInput(_("The current password is wrong."), field="current")
    limits.forget_attempts(account.username, address, **counted)
