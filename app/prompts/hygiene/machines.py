"""IP and MAC addresses in folded text."""

import ipaddress
import re
from collections.abc import Iterator

from app.prompts.hygiene.context import WORD, near, vocabulary, word_set
from app.prompts.hygiene.kinds import Hit, PersonalData

_BYTE = "[0-9]{1,3}"
_DOT = r"(?:\.|\[\.\]|\(\.\))"  # reports write 192[.]0[.]2[.]1 to prevent clicks
_FOUR = f"{_BYTE}{_DOT}{_BYTE}{_DOT}{_BYTE}{_DOT}{_BYTE}"
_IPV4 = re.compile(rf"(?<![{WORD}.])(?<![A-Za-z_]-){_FOUR}(?![{WORD}]|\.[0-9]|-(?!{_FOUR})[0-9])")
_IPV6 = re.compile(rf"(?<![{WORD}:.])[0-9A-Fa-f]{{1,4}}:[0-9A-Fa-f:]{{2,35}}(?![{WORD}:])")
_AN_ADDRESS = vocabulary(
    "ip ips ipv address addresses adresse dirección indirizzo host hosts server servers ssh ping from dns gateway "
    "subnet traceroute nslookup whois addr peer client proxy vpn firewall ban block allow deny listen "
    "connect scan scanning scans attack attacks abuse",
    "://,@",
)
_VERSIONS = word_set(
    "v ver version versions release build firmware chapter section sections clause article kapitel abschnitt chapitre "
    "figure table update upgrade driver chrome excel edge safari opr java php kernel"
)
_SECOND_VERSION = re.compile(r"[0-9.]{5,15} (?:to|and|or|->|vs) $")
_VERSION_END = re.compile(r"([A-Za-z]+)[ :/.=]{0,3}v?$|\u00a7 ?$")
_SMALL = 32  # version and section numbers are rarely larger

_PAIR = "[0-9A-Fa-f]{2}"
_MAC = re.compile(
    rf"(?<![{WORD}:.])(?<![{WORD}]-)(?:{_PAIR}([:-]){_PAIR}\1{_PAIR}\1{_PAIR}\1{_PAIR}\1{_PAIR}"
    rf"|[0-9A-Fa-f]{{4}}\.[0-9A-Fa-f]{{4}}\.[0-9A-Fa-f]{{4}}|[0-9A-Fa-f]{{12}})(?![{WORD}:]|[.-][0-9A-Fa-f])"
)
_SAYS_MAC = vocabulary("mac macs hwaddr bssid")
_A_MAC = vocabulary("mac hwaddr ether ethernet eth wlan lan bssid bluetooth wifi nic device interface")


def ip_addresses(text: str) -> Iterator[Hit]:
    """Yield the public IP addresses in a folded text.

    Private, loopback, documentation, multicast and reserved ranges identify nobody and are left out.
    """
    if text.count(".") > 2:
        for match in _IPV4.finditer(text):
            if _is_public(re.sub("[^0-9.]", "", match[0])) and _is_no_version(text, *match.span()):
                yield Hit(PersonalData.IP_ADDRESS, *match.span())
    if text.count(":") > 1:
        for match in _IPV6.finditer(text):
            # Only 2000::/3 is allocated; most other text that parses as an address is code (ab::cd).
            given_out = match[0][0] in "23" and match[0][4:5] == ":"
            if given_out and len(re.findall("[0-9A-Fa-f]+", match[0])) > 2 and _is_public(match[0]):
                yield Hit(PersonalData.IP_ADDRESS, *match.span())


def _is_public(written: str) -> bool:
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _is_no_version(text: str, start: int, end: int) -> bool:
    before = _SECOND_VERSION.sub("", text[max(0, start - 32) : start])
    said = _VERSION_END.search(before[-20:])
    if said and (said[1] is None or said[1].lower() in _VERSIONS or said[1].lower().endswith("version")):
        return False
    large = any(int(number) >= _SMALL for number in re.findall("[0-9]+", text[start:end]))
    return large or near(_AN_ADDRESS, text, start, end, before=30, after=24)


def mac_addresses(text: str) -> Iterator[Hit]:
    """Yield the MAC addresses in a folded text; one without separators or letters needs a word for it nearby."""
    for match in _MAC.finditer(text):
        digits = re.sub("[^0-9a-f]", "", match[0].lower())
        if int(digits[1], 16) % 2 or len(set(digits)) < 3:
            continue  # a multicast address (odd first byte) or a placeholder
        plain = len(match[0]) == len(digits)
        if (plain and near(_SAYS_MAC, text, *match.span(), before=16)) or (
            not plain and (not digits.isdigit() or near(_A_MAC, text, *match.span(), before=24))
        ):
            yield Hit(PersonalData.MAC_ADDRESS, *match.span())
