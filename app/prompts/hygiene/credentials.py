"""Passwords, keys and tokens in folded text."""

import re
from collections.abc import Iterator

from app.prompts.hygiene.context import NOT_AFTER_WORD, mentions, word_set
from app.prompts.hygiene.kinds import Hit, PersonalData

# Keys with their issuer's prefix, which random letters and digits follow.
_MARKED = re.compile(
    NOT_AFTER_WORD
    + r"(?:(?:AKIA|ASIA)[A-Z0-9]{16}"
    + r"|gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{22,255}|gl(?:pat|dt|rt|ptt)-[\w-]{20,64}"
    + r"|sk-[A-Za-z0-9_-]{20,200}|gsk_[A-Za-z0-9]{20,100}|xai-[A-Za-z0-9]{20,200}|hf_[A-Za-z0-9]{30,64}"
    + r"|r8_[A-Za-z0-9]{30,64}"
    + r"|[spr]k_(?:live|test)_[A-Za-z0-9]{16,255}|whsec_[A-Za-z0-9+/=]{24,100}"
    + r"|xox[abeoprs]-[\w-]{10,255}|xapp-[\w-]{20,255}"
    + r"|AIza[\w-]{35}|ya29\.[\w-]{20,500}|GOCSPX-[\w-]{20,64}"
    + r"|npm_[A-Za-z0-9]{30,64}|pypi-[\w-]{50,500}|dckr_pat_[\w-]{20,64}|rubygems_[a-f0-9]{40,64}"
    + r"|SG\.[\w-]{16,32}\.[\w-]{32,64}|key-[a-f0-9]{32}|[a-f0-9]{32}-us[0-9]{1,2}|(?:AC|SK)[a-f0-9]{32}"
    + r"|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|do[opr]_v1_[a-f0-9]{64}|dapi[a-f0-9]{32}|hvs\.[\w-]{20,200}"
    + r"|[0-9]{8,10}:AA[\w-]{32,34}|[MNO][A-Za-z0-9]{23,27}\.[\w-]{6}\.[\w-]{27,40}|AGE-SECRET-KEY-1[A-Z0-9]{50,64}"
    + r"|lin_api_[A-Za-z0-9]{30,64}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|sq0(?:atp|csp)-[\w-]{22,43}"
    + r"|eyJ[\w-]{8,1000}\.eyJ[\w-]{4,4000}\.[\w-]{10,1000})"
)
# Keys printed in documentation: AWS's end in EXAMPLE; Stripe's test key and the token on jwt.io are always the same.
_PUBLISHED = re.compile("EXAMPLE|[Xx]{6}|4eC39HqLyjWDarjtT1zdp7dc|SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c")
_LONG = re.compile(r"[\w.:-]{16,}")  # every prefixed key has such a run of characters, and little else does
_SIGN = re.compile("[.:-]")
_WEBHOOK = re.compile(
    r"https://(?:hooks\.slack\.com/(?:services|workflows)/[\w/-]{20,120}"
    r"|(?:discord|discordapp)\.com/api/webhooks/[0-9]{15,22}/[\w-]{20,100}|[\w-]{1,63}\.webhook\.office\.com/[\w@/-]{20,200})"
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_END_OF_KEY = re.compile("-----END[A-Z0-9 ]{0,50}-----")
_REST_OF_KEY = re.compile(r"[A-Za-z0-9+/=\s]{0,4}[A-Za-z0-9+/=\n\r]{40,8000}")
_LONGEST_KEY = 16_000  # characters between BEGIN and END
_URL = re.compile(
    rf"{NOT_AFTER_WORD}[a-zA-Z][a-zA-Z0-9+.-]{{1,24}}://[^\s/@:]{{0,64}}:([^\s/@]{{1,128}})@[^\s\"'<>()`,;]{{1,256}}"
)
_HEADER = re.compile(r"(?:Basic|Bearer|Token) ([A-Za-z0-9+/_.~=-]{16,2000})")
_CURL = re.compile(r"(?:curl|http|wget)\b[^\n]{0,200}? (?:-u|--user)[ =]['\"]?[^\s:'\"]{1,64}:([^\s'\"]{3,64})")
_FLAG = re.compile(
    r"(?:mysql|mysqldump|mysqladmin|mariadb|redis-cli|sshpass|mongosh?|psql|smbclient|ldapsearch|docker login)\b"
    r"[^\n]{0,80}? -[paw] ?['\"]?([^\s'\"]{4,64})"
)
_NET_USER = re.compile(r"net user [^\s]{1,64} ([^\s/]{4,64})")

# --- Names of secrets with their values: password: hunter2 ---

_PASSWORDS = (
    r"pass(?:word|wd|phrase|code)|pwd|passw|passwort|kennwort|contraseña|contrasena|mot de passe|mdp|senha|"
    r"palavra-passe|parola|şifre|sifre|hasło|haslo|wachtwoord|lösenord|adgangskode|passord|salasana|heslo|jelszó|parolă|"
    r"лозинка|пароль|密码|密碼|パスワード|비밀번호|(?:wi-?fi|wpa2?|wep|wlan) (?:key|code)|סיסמה|كلمة المرور|पासवर्ड|"
    r"รหัสผ่าน|mật khẩu|kata sandi"
)
_TOKENS = (
    r"(?:api|access|secret|private|encryption|account|auth|signing|shared|service|master|license|subscription)"
    r"[ _-]?(?:key|token|secret)s?|apikey|secret[ _-]?access[ _-]?key|client[ _-]?secret|bearer[ _-]?token|"
    r"(?:refresh|session|bot|jwt|csrf|id|oauth)[ _-]?token|token|secret"
)
_SHORT = r"pin(?: ?code| number)?|pass|pw|psk"
_OWN_PIN = re.compile("(?:user|card|sim|bank|login|door|atm)_?$", re.IGNORECASE)
_OWNED = re.compile(
    r"\b(?:my|his|her|their|card|bank|phone|sim|atm|door|alarm|account|wallet|debit|credit)\b", re.IGNORECASE
)
_NAMED = re.compile(
    rf"(?:(?P<password>{_PASSWORDS})|(?P<token>{_TOKENS})|(?P<short>{_SHORT}))(?![a-z])[\"'`]?"
    r"(?: (?:wi-?fi|wlan|root|admin|login))?"
    r"(?: (?:for|to|of|on|del|de|für|vom|von|zum|du|della|do|da|voor) [\w' -]{1,30}?(?=:| is| ist| es| est| è| é))?"
    r"(?P<sign> {0,3}(?:[:=]{1,2}>?|->|=>|\u2192|>| is:?| are| was| ist:?| lautet:?| es:?| est:?| è:?| é:?"
    r"| jest| är)\s{0,3}| - | )"
    r"(?:\"(?P<quoted>[^\"\n]{3,120})\"|'(?P<single>[^'\n]{3,120})'|`(?P<code>[^`\n]{3,120})`"
    r"|(?P<bare>[^\s\"'`,;<>(){}\[\]，。；？！、]{3,200}))",
    re.IGNORECASE,
)
_STEMS = (
    "pass", "pwd", "pw", "psk", "pin", "key", "token", "secret", "kennwort", "contrase", "mot de", "mdp", "senha",
    "palavra", "parol", "şifre", "sifre", "hasło", "haslo", "wacht", "lösen", "adgang", "salasana", "heslo", "jelsz",
    "лозинка", "пароль", "密", "パス", "비밀", "wi-fi", "wifi", "wep", "סיסמה", "كلمة", "पास", "รหัส", "mật", "kata",
)  # fmt: skip
# Values in a secret's place that are not secrets.
_NO_SECRETS = word_set(
    "password passwort passwd passw pass pwd secret token key string str text none null nil true false required "
    "optional changeme change_me change-me example placeholder undefined hidden redacted input value username user "
    "admin prompt here yourpassword mypassword your_password s3cret_here xxx todo empty unknown invalid wrong incorrect"
)
_NOT_WRITTEN_OUT = re.compile(
    r"required|optional|min[:=]|[$%&<{\[(*•.…/\\]|os\.|env\b|process\.|self\.|x{3,}|your|my[_-]|https?:", re.IGNORECASE
)


def secrets(text: str) -> Iterator[Hit]:
    """Yield the passwords, keys and tokens in a folded text; for a named one (password: hunter2), only the value."""
    for run in _LONG.finditer(text):
        yield from _marked(text, run)
    if "://" in text:
        for match in _WEBHOOK.finditer(text):
            if not _PUBLISHED.search(match[0]):
                yield Hit(PersonalData.SECRET, *match.span())
        for match in _URL.finditer(text):
            if _is_written_out(match[1]):
                yield Hit(PersonalData.SECRET, match.start(), match.start() + len(match[0].rstrip(".:!?")))
    yield from _private_keys(text)
    for pattern in (_HEADER, _CURL, _FLAG, _NET_USER):
        for match in pattern.finditer(text):
            good = _at_random(match[1]) if pattern is _HEADER else _like_a_password(match[1], quoted=False, said=True)
            if good and _is_written_out(match[1]):
                yield Hit(PersonalData.SECRET, *match.span(1))
    if mentions(text, _STEMS):
        for match in _NAMED.finditer(text):
            yield from _named(text, match)


def _private_keys(text: str) -> Iterator[Hit]:
    """Yield the private keys in a text, including ones cut off before their end; a first line alone does not count."""
    place = 0
    while key := _PRIVATE_KEY.search(text, place):
        end = text.find("-----END", key.end(), key.end() + _LONGEST_KEY)
        last = _END_OF_KEY.match(text, end) if end >= 0 else _REST_OF_KEY.match(text, key.end())
        place = last.end() if last else key.end()
        if last:
            yield Hit(PersonalData.SECRET, key.start(), place)


def _marked(text: str, run: re.Match[str]) -> Iterator[Hit]:
    """Yield the prefixed keys that begin in a run of characters, at its start or after one of the signs . : -"""
    begins = [run.start(), *(run.start() + sign.end() for sign in _SIGN.finditer(run[0]))]
    for match in filter(None, (_MARKED.match(text, begin) for begin in begins)):
        if _PUBLISHED.search(match[0]):
            continue
        if re.search("[0-9]", match[0]) and (not match[0].startswith("sk-") or _at_random(match[0][3:])):
            yield Hit(PersonalData.SECRET, *match.span())


def _named(text: str, match: re.Match[str]) -> Iterator[Hit]:
    before, name = text[match.start() - 1 : match.start()], text[match.start() : match.start("sign")]
    new_word = before.islower() and name[0].isupper()  # dbPassword, unlike bypass
    setting = name.isupper() and match["sign"].startswith("=")  # PGPASSWORD=
    if before.isascii() and before.isalpha() and not new_word and not setting:
        return
    group = next(name for name in ("quoted", "single", "code", "bare") if match[name] is not None)
    start, value = match.start(group), match[group]
    if group == "bare":
        value = value.rstrip(".:!?*")
        if text[match.end() : match.end() + 1] in ("(", "[", "{"):  # a call or an index
            return
        if match["token"]:
            value = value.partition("&")[0]  # drop the next field of a query string
    said = bool(match["sign"].strip())
    if not _is_written_out(value):
        return
    if match["password"]:
        phrase = " " not in value or "phrase" in match["password"].lower()
        good = phrase and _like_a_password(value, quoted=group != "bare", said=said)
    elif match["token"]:
        good = (said or group != "bare") and _at_random(value)
    elif match["short"].lower().startswith("pin"):
        good = said and value.isdigit() and 4 <= len(value) <= 8 and not _is_of_a_place_or_board(text, match, value)
    else:
        shown = said or match["short"].lower() in ("pw", "psk")
        good = bool(shown and len(value) >= 5 and re.search("[0-9]", value) and re.search("[^0-9.%/-]", value))
    if good:
        yield Hit(PersonalData.SECRET, start, start + len(value))


def _is_of_a_place_or_board(text: str, match: re.Match[str], value: str) -> bool:
    """Return whether a PIN is an Indian postal code (PIN code: 400001) or a board's pin (LED_PIN = 1234)."""
    before = text[max(0, match.start() - 40) : match.start()]
    if before[-1:].isalpha() or before.endswith("_"):
        return not _OWN_PIN.search(before[-8:])
    postal = len(value) == 6 and value[0] in "123456789" and re.match("pin ?code", match[0], re.IGNORECASE)
    return bool(postal) and not _OWNED.search(before + text[match.start() : match.start("sign")])


def _is_written_out(value: str) -> bool:
    """Return whether this is a literal value, not a variable, a call or a placeholder."""
    return not (
        _NOT_WRITTEN_OUT.match(value)
        or _PUBLISHED.search(value)
        or value.lower() in _NO_SECRETS
        or re.fullmatch("[A-Z]+_[A-Z_]+|(.)\\1*", value)
    )


def _like_a_password(value: str, quoted: bool, said: bool) -> bool:
    letters, digits = re.search(r"[^\W\d_]", value), re.search("[0-9]", value)
    signs = re.search(r"[^\w\s.]", value)
    if not said and not (len(value) >= 6 and letters and digits):
        return False
    if quoted and said and len(value) >= 6:
        return True
    if " " in value or len(value) < 4:
        return False
    if letters:
        return bool(digits) or (bool(signs) and not re.fullmatch(r"[^\W\d_]+(?:[-'/][^\W\d_]+)?", value))
    return said and value.isdigit() and len(value) >= 5


def _at_random(value: str) -> bool:
    """Return whether letters and digits are mixed as in a random key, unlike in words joined by dashes."""
    longest_word = max((len(word) for word in re.findall("[a-z]+|[A-Z]+", value)), default=0)
    return bool(re.search("[0-9]", value)) and len(value) >= 8 and (longest_word < len(value) * 0.6 or len(value) >= 32)
