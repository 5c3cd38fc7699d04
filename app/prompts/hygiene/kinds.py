"""The kinds of personal data, and their places in a text."""

from enum import StrEnum
from typing import NamedTuple

from app.kit.i18n import gettext as _


class PersonalData(StrEnum):
    """Kinds of personal data. Of two overlapping findings of equal length, the kind listed first is kept."""

    SECRET = "secret"
    BANK_ACCOUNT = "bank_account"
    CARD = "card"
    NATIONAL_ID = "national_id"
    EMAIL = "email"
    IP_ADDRESS = "ip_address"
    MAC_ADDRESS = "mac_address"
    PHONE = "phone"
    NAME = "name"  # names and places are found only by presidio
    PLACE = "place"

    def label(self) -> str:
        """Return the kind's name in the reader's language."""
        return {
            PersonalData.SECRET: _("Password or key"),
            PersonalData.BANK_ACCOUNT: _("Bank account"),
            PersonalData.CARD: _("Payment card"),
            PersonalData.NATIONAL_ID: _("Identity number"),
            PersonalData.EMAIL: _("E-mail address"),
            PersonalData.IP_ADDRESS: _("IP address"),
            PersonalData.MAC_ADDRESS: _("MAC address"),
            PersonalData.PHONE: _("Phone number"),
            PersonalData.NAME: _("Name of a person"),
            PersonalData.PLACE: _("Place or address"),
        }[self]


# Masked texts are stored, so the placeholders are the same in every language.
PLACEHOLDERS: dict[PersonalData, str] = {
    PersonalData.SECRET: "[secret]",
    PersonalData.BANK_ACCOUNT: "[bank account]",
    PersonalData.CARD: "[card number]",
    PersonalData.NATIONAL_ID: "[identity number]",
    PersonalData.EMAIL: "[e-mail]",
    PersonalData.IP_ADDRESS: "[IP address]",
    PersonalData.MAC_ADDRESS: "[MAC address]",
    PersonalData.PHONE: "[phone number]",
    PersonalData.NAME: "[name]",
    PersonalData.PLACE: "[place]",
}


class Hit(NamedTuple):
    """A piece of personal data: text[start:end] is of this kind."""

    kind: PersonalData
    start: int
    end: int
