"""Folders and addresses that signed-in users may name: the data folder, and what the operator allows in addition."""

import socket
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from app.config import settings
from app.errors import BadInput
from app.kit.i18n import gettext as _


def check_folder(path: str | Path, field: str) -> None:
    """Raise BadInput unless the path, links resolved, lies in PLUMBLINE_FOLDERS or in a folder of the data folder."""
    place, data = Path(path).absolute().resolve(), settings().data_dir.resolve()
    allowed = [data, *(folder.resolve() for folder in settings().allowed_folders)]
    ours = place == data or (place.parent == data and not place.is_dir())  # the secret and the database
    if ours or not any(place.is_relative_to(folder) for folder in allowed):
        raise BadInput(
            _(
                "%(path)s is outside the allowed folders (%(known)s). Move it there, ask the operator to add its "
                "folder to PLUMBLINE_FOLDERS, or use the command line."
            )
            % {"path": path, "known": ", ".join(map(str, allowed))},
            field=field,
        )


def check_address(url: str, field: str) -> None:
    """Raise BadInput unless PLUMBLINE_ENDPOINT_HOSTS names the host; if that is empty, refuse only reserved addresses.

    Reserved addresses include those of cloud metadata.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    allowed = settings().allowed_endpoint_hosts
    if allowed and host not in allowed:
        raise BadInput(
            _("%(host)s is not one of the allowed hosts (%(known)s); the operator can add it to %(where)s.")
            % {"host": host, "known": ", ".join(allowed), "where": "PLUMBLINE_ENDPOINT_HOSTS"},
            field=field,
        )
    if not allowed and any(_is_reserved(address) for address in _addresses(host)):
        raise BadInput(
            _("%(host)s is a link-local or reserved address, as for cloud metadata; give the server's own address.")
            % {"host": host},
            field=field,
        )


def _addresses(host: str) -> set[str]:
    """Return the addresses that a host name resolves to; empty if it is unknown, which a later request will report."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def _is_reserved(address: str) -> bool:
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    metadata = found == ip_address("fd00:ec2::254")
    return metadata or found.is_link_local or found.is_multicast or found.is_unspecified


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    host = host.strip("[]").lower()
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
