"""
What must not be stored, logged or sent, taken out of text and of Kubernetes objects.

Three kinds of signs give a secret away: its own form (a PEM block, a JWT, the prefix of a cloud key),
the name before it (`password=`, `Authorization:`), and its place in an object (`data` of a Secret, the
value of an environment variable). Nothing is guessed from randomness, so digests, UUIDs and commit
hashes stay readable. A secret that carries none of these signs stays too: who may read evidence must
still be limited.

What is base64 of a text is looked at as that text, and base64 of base64 once more.

Redacting twice gives the same as once. Time grows linearly with the text, whatever it holds: the
patterns are RE2's, and no search looks further than a window ahead.
"""

import base64
import binascii
import enum
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import re2

from remediator.domain.json import JSON

MARKER: Final = "[redacted]"
DEEPEST: Final = 64
"""Objects nested more deeply are replaced as a whole."""
PATTERN_LIMIT: Final = 1_000

_MARKER: Final = MARKER.encode()
_WINDOW_BYTES: Final = 128 * 1024
_OVERLAP_BYTES: Final = 16 * 1024
_MOST_PASSES: Final = 8
_SHORT: Final = 512
_REMEMBERED: Final = 4_096
"""So many short texts are remembered as they are after redaction: keys, names and sentences come again and again."""

_LONGEST_PEM_BYTES: Final = 64 * 1024
_DEEPEST_ENCODING: Final = 2
_BETWEEN: Final = b"\n\x00\n"
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"

_PHRASE: Final = r"pass(?:word|wd|phrase|wort|code)|pwd|[_-]pass"
_STRONG: Final = (
    rf"(?:{_PHRASE}"
    r"|(?:api|access|secret|private|signing|encryption|auth|account|master|consumer|ssh|license|shared|storage"
    r"|service|app|client|deploy|webhook|hmac|aes|rsa|session|subscription|function|host)[_-]?key(?:[_-]?id|[_-]?data)?"
    r"|(?:client|app|consumer|shared|webhook|aws|api|signing|cookie|session|jwt|oauth2?|hmac|bot)[_-]?secret"
    r"|(?:auth|access|refresh|id|session|api|bearer|bot|csrf|xsrf|oauth2?|personal|private|deploy|security|service"
    r"|vault|github|gitlab|slack|npm|bootstrap|join|identity)[_-]?token"
    r"|(?:rediscli|basic|registry|npm)[_-]?auth"
    r"|dockerconfigjson|dockercfg|connection[_-]?string|x-api-key|x-amz-signature|x-amz-credential|x-goog-signature)"
)
_WEAK: Final = r"(?:secret|token|credentials?|jwt|otp)"
"""Words that prose uses too: `secret: not found` is no secret."""
_ENDING: Final = r"(?:[_-]?(?:base|hash|value|prod|dev|test|old|new|text|string|base64|b64|encoded|enc|[0-9]{1,3}))?"
_HEADERS: Final = r"(?:(?:proxy-)?authorization|(?:set-)?cookie)"

_QUOTED: Final = (
    r"(?:"
    r'\\"((?:[^"\\\r\n]|\\\\(?:\\["\\]|[^"\\\r\n]))*)'  # inside of a JSON text inside of a JSON string
    r'|\\{2,}"([^"\\\r\n]*(?:\\+[^"\\\r\n]+)*)'  # deeper still
    r'|"((?:[^"\\\r\n]|\\[^\r\n])*)'
    r"|'((?:[^'\r\n]|'')*)"
    r"|`([^`\r\n]*)"
    r")"
)
_BARE: Final = r"([^\s\"'`;&<\\][^\s\"'`;&]*)"
_IS: Final = r"[ \t]{0,8}(?:=>|:=|=|:)[ \t]{0,8}"
_ASSIGNED: Final = r"[ \t]{0,8}(?:=>|:=|=)[ \t]{0,8}"
_AFTER_QUOTED_NAME: Final = r"\\*[\"']?\]?"


class _Sign(enum.Enum):
    """How sure the sign is, and so what its value must look like."""

    CERTAIN = enum.auto()
    NAMED = enum.auto()
    PROSE = enum.auto()
    BASIC = enum.auto()
    COOKIE = enum.auto()


@dataclass(frozen=True, slots=True)
class _Rule:
    """A pattern whose first group that took part, or else the whole, is the secret."""

    pattern: str
    sign: _Sign = _Sign.CERTAIN


_OWN_FORM: Final = (
    r"\beyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)*",  # JWT: `eyJ` is `{"` in base64
    r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",  # AWS
    r"\b(?:AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_.-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}|1//0[A-Za-z0-9_-]{20,})",  # GCP
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
    r"\bgl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat|ffct)-[A-Za-z0-9_.-]{20,}",  # GitLab
    r"\b(?:xox[abeposr](?:\.xox[bp])?-|xapp-)[A-Za-z0-9-]{10,}",  # Slack
    r"(?:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/[0-9]+/"
    r"|webhook\.office\.com/webhookb2/)([A-Za-z0-9_@/.-]{8,})",
    r"\b[0-9]{8,10}:[A-Za-z0-9_-]{35}\b",  # Telegram
    r"\b(?:[srp]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/]{20,}=*)",  # Stripe
    r"\bsk-(?:(?:ant|proj|svcacct|admin|or)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,})",  # OpenAI, Anthropic
    r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}|dckr_pat_[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,})",
    r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    r"\b(?:hv[sbr]\.[A-Za-z0-9_-]{20,}|do[opr]_v1_[0-9a-f]{40,}|dapi[0-9a-f]{32}|SK[0-9a-f]{32}\b)",
    r"\b(?:glsa_[A-Za-z0-9_]{32,}|glc_[A-Za-z0-9+/]{32,}=*|NRAK-[A-Z0-9]{27}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32})",
    r"\b(?:ATATT3[A-Za-z0-9_=-]{50,}|AGE-SECRET-KEY-1[A-Z0-9]{50,}|lin_api_[A-Za-z0-9]{30,})",
    r"\b[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}",  # Azure
    r"\$(?:2[abxy]|5|6|y|argon2(?:id|i|d))\$[^\s:\"'\\]{20,}",  # hashes of passwords
)

_RULES: Final = (
    # headers
    _Rule(
        rf"(?i)authorization{_AFTER_QUOTED_NAME}[ \t]*[:=][ \t]*\[?\\*[\"']?[ \t]*"
        r"((?:bearer|basic|digest|negotiate|ntlm|aws4-hmac-sha256|token|apikey|hawk|oauth|signature|ssws|sharedkey"
        r"(?:lite)?|splunk|key)(?:[ \t]|%20)[^\"'\\\r\n]+)"
    ),
    _Rule(rf"(?i)authorization{_AFTER_QUOTED_NAME}[ \t]*[:=][ \t]*\[?\\*[\"']?{_BARE}", _Sign.PROSE),
    _Rule(rf"(?i)\b(?:set-)?cookie{_AFTER_QUOTED_NAME}[ \t]*[:=][ \t]*\[?\\*[\"']?([^\"'\\\r\n\]]+)", _Sign.COOKIE),
    _Rule(r"(?i)\bbearer(?:[ \t]+|%20)([A-Za-z0-9_.~+/-]{8,}=*)", _Sign.PROSE),
    _Rule(r"(?i)\bbasic(?:[ \t]+|%20)([A-Za-z0-9+/]{6,}={0,2})", _Sign.BASIC),
    # addresses
    _Rule(
        r"(?i)\b(?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|amqps?|rediss?|mssql|sqlserver|clickhouse|ldaps?"
        r"|smtps?|kafka|nats|mqtts?|cockroachdb|oracle)(?:\+[a-z0-9]+)?://[^\s:/@\"'<>\\]*:([^\s\"'<>\\]+)@",
        _Sign.NAMED,
    ),
    _Rule(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@\"'<>\\?#]*:([^\s/\"'<>\\]+)@", _Sign.NAMED),
    _Rule(r"(?i)\b(?:https?|git|ssh|ftp)://([^\s:/@\"'<>\\?#]{16,})@", _Sign.NAMED),
    _Rule(r"\b[A-Za-z0-9_.-]+:([^\s@\"'/]+)@(?:tcp|udp|unix)6?\(", _Sign.NAMED),  # MySQL's DSN in Go
    _Rule(r"\bjdbc:oracle:[a-z0-9]+:[^\s:/@\"'<>\\]+/([^\s\"'<>\\@]+)@", _Sign.NAMED),
    _Rule(r"(?i)[?&;](?:sig|signature)=([^\s&\"'<>]+)"),
    # whole lines
    _Rule(
        r"(?m)^[ \t]*(?:(?:export|ENV|set|-e|--env)[ \t]+)?[A-Z0-9_]*"
        r"(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|REDISCLI_AUTH"
        r"|(?:API|ACCESS|PRIVATE|SECRET|SIGNING|ENCRYPTION|AUTH)_?KEY)"
        rf"(?i:{_ENDING})=([^\s\"'`][^\r\n]*)",
        _Sign.NAMED,
    ),
    _Rule(
        rf"(?im)^[ \t]*(?:-[ \t]+)?[\w.-]*{_STRONG}{_ENDING}:[ \t]+([^\s\"'`|>{{}}\[\]&*!<][^\r\n]*)",
        _Sign.NAMED,
    ),
    # names and values
    _Rule(rf"(?i)(?:{_STRONG}|{_WEAK}){_ENDING}{_AFTER_QUOTED_NAME}{_IS}{_QUOTED}", _Sign.NAMED),
    _Rule(r"(?i)\\*[\"']auth\\*[\"'][ \t]*:[ \t]*\\*[\"']([A-Za-z0-9+/=_-]{8,})", _Sign.NAMED),
    _Rule(
        rf"(?i)(?:{_STRONG}|{_WEAK})s{_AFTER_QUOTED_NAME}{_IS}\[[ \t\r\n]*\\*[\"']([^\[\]{{}}]*[^\[\]{{}}\\])\\*[\"']\s*\]",
        _Sign.NAMED,
    ),
    _Rule(rf"(?i){_STRONG}{_ENDING}\\*\"[ \t]*:[ \t]*(-?[0-9][^\s,}}\]]*)", _Sign.NAMED),
    _Rule(rf"(?i){_STRONG}{_ENDING}{_IS}{_BARE}", _Sign.NAMED),
    _Rule(rf"(?i){_WEAK}{_ENDING}{_ASSIGNED}{_BARE}", _Sign.NAMED),
    _Rule(rf"(?i){_WEAK}{_ENDING}:[ \t]{{0,8}}{_BARE}", _Sign.PROSE),
    _Rule(rf"(?i)(?:^|\s)--?[a-z0-9-]*(?:{_STRONG}|{_WEAK})[ \t]+(?:{_QUOTED}|([^\s\"'`-][^\s\"'`]*))", _Sign.NAMED),
    _Rule(r"(?:\s-u|--user)[ \t=]+[\"']?[A-Za-z0-9_.@-]+:([^\s\"']+)", _Sign.NAMED),  # curl
    _Rule(r"\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^\r\n|;&]{0,200}?\s-p([^\s\"'-][^\s\"']*)", _Sign.NAMED),
    _Rule(r"\bredis-cli\b[^\r\n|;&]{0,200}?\s-a\s+[\"']?([^\s\"'-][^\s\"']*)", _Sign.NAMED),
    _Rule(r"\bsshpass\s+-p\s*[\"']?([^\s\"']+)", _Sign.NAMED),
    _Rule(r"(?i)\"AUTH\"(?:[ \t]+\"[^\"\r\n]{1,64}\")?[ \t]+\"([^\"\r\n]+)\"", _Sign.NAMED),  # Redis
    _Rule(rf"(?i)<[\w.:-]*(?:{_STRONG}|{_WEAK}){_ENDING}>([^<\s][^<]*)<", _Sign.NAMED),
)

_NAME_OR_SIGN: Final = r"(?i)pass|pwd|secret|token|key|auth|cred|cookie|bearer|basic|jwt|otp|sig|docker|connection|://|@|mysql|mariadb|redis-cli|-----|--user|\s-u\s"
"""Without any of these no rule below `_OWN_FORM` applies: most strings of an object need no closer look."""


class Redactor:
    """
    Takes secrets out.

    `extra_patterns` are added to the built-in ones, in RE2's syntax. Their group named `secret`, or
    else all that they match, is replaced. A match that needs more than 16 KiB of text to be
    recognised may be missed.

    Raises:
        ValueError: for a pattern that is no regular expression of RE2, or that matches the empty text.
    """

    def __init__(self, extra_patterns: Iterable[str] = ()) -> None:
        self._extra = tuple(_extra(pattern) for pattern in extra_patterns)
        self._of_short = lru_cache(maxsize=_REMEMBERED)(self._redacted)

    def redact(self, text: str) -> str:
        """The text with every secret that can be recognised replaced by `[redacted]`."""
        return self._of_short(text) if len(text) <= _SHORT else self._redacted(text)

    def _redacted(self, text: str) -> str:
        data = text.encode("utf-8", "replace")
        # A replacement can complete another pattern, so go on until nothing moves.
        for _ in range(_MOST_PASSES):
            before, data = data, self._pass(data)
            if data == before:
                break
        return data.decode("utf-8", "replace")

    def redact_json(self, value: JSON) -> JSON:
        """
        A copy of the value with secrets replaced by what they are and by where they stand.

        The values of a Secret go, whatever they are; environment variables and other pairs of name
        and value go by their name; the last-applied annotation, which repeats the whole object, is
        left out.
        """
        return self._value(value, 0)

    def _pass(self, data: bytes, depth: int = 0) -> bytes:
        data = _replaced(data, _spans(_own_form, data, _Sign.CERTAIN))
        if _name_or_sign.search(data) is not None:
            data = _replaced(data, _pem_spans(data))
            data = _replaced(data, _manifest_spans(data))
            data = _replaced(data, _block_spans(data))
            for regex, sign in _rules:
                data = _replaced(data, _spans(regex, data, sign))
        for regex in self._extra:
            data = _replaced(data, _spans(regex, data, _Sign.CERTAIN))
        return _replaced(data, self._encoded_spans(data, depth)) if depth < _DEEPEST_ENCODING else data

    def _encoded_spans(self, data: bytes, depth: int) -> Iterator[tuple[int, int]]:
        """Base64 of text that holds a secret. All texts are looked at together: many short ones are as long as one."""
        found = [
            (span, text)
            for span in (match.span() for match in _encoded.finditer(data))
            if (text := _decoded(data[slice(*span)])) is not None and self._may_hold_a_secret(text)
        ]
        if not found:
            return
        after = self._pass(_BETWEEN.join(text for _, text in found), depth + 1).split(_BETWEEN)
        # a secret may have swallowed what stood between two of them; then nobody can tell which
        unclear = len(after) != len(found)
        for i, (span, text) in enumerate(found):
            if unclear or after[i] != text:
                yield span

    def _may_hold_a_secret(self, text: bytes) -> bool:
        signs = (_name_or_sign, _own_form, _encoded, *self._extra)
        return any(regex.search(text) is not None for regex in signs)

    def _value(self, value: JSON, depth: int, *, of_secret: bool = False) -> JSON:
        if depth > DEEPEST:
            return MARKER
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return self._object(value, depth, of_secret=of_secret)
        if isinstance(value, (list, tuple)):
            return self._list(value, depth, of_secret=of_secret)
        return value

    def _object(self, value: Mapping[str, JSON], depth: int, *, of_secret: bool) -> JSON:
        kind = value.get("kind")
        is_secret = kind == "Secret" or (of_secret and kind is None)
        name, its_value = value.get("name", value.get("key")), value.get("value")
        is_secret_pair = isinstance(name, str) and isinstance(its_value, str) and _names_a_secret(name, its_value)
        result: dict[str, JSON] = {}
        for key, item in value.items():
            if key == _LAST_APPLIED:
                continue
            if is_secret and key in ("data", "stringData"):
                result[key] = dict.fromkeys(item, MARKER) if isinstance(item, Mapping) else MARKER
            elif is_secret_pair and key == "value":
                result[key] = MARKER
            else:
                result[self.redact(key)] = self._member(key, item, depth, of_secret=kind == "SecretList")
        return result

    def _member(self, key: str, item: JSON, depth: int, *, of_secret: bool) -> JSON:
        if isinstance(item, str) and _names_a_secret(key, item):
            return MARKER
        if isinstance(item, (int, float)) and not isinstance(item, bool) and _is_match(_password_name, key):
            return MARKER
        if isinstance(item, (list, tuple)) and all(isinstance(each, str) for each in item):
            singular = key.removesuffix("s")
            if any(_is_match(regex, name) for regex in (_secret_name, _header_name) for name in (key, singular)):
                return [MARKER for _ in item]
        return self._value(item, depth + 1, of_secret=of_secret)

    def _list(self, items: Iterable[JSON], depth: int, *, of_secret: bool) -> JSON:
        result: list[JSON] = []
        flag = False
        for item in items:
            if flag and isinstance(item, str) and not item.startswith("-"):
                result.append(MARKER)
            else:
                result.append(self._value(item, depth + 1, of_secret=of_secret))
            flag = isinstance(item, str) and _is_match(_secret_flag, item)
        return result


def redact(text: str) -> str:
    """`Redactor.redact` without patterns of anybody's own."""
    return _DEFAULT.redact(text)


def redact_json(value: JSON) -> JSON:
    """`Redactor.redact_json` without patterns of anybody's own."""
    return _DEFAULT.redact_json(value)


def _is_secret(value: bytes, sign: _Sign, before: bytes) -> bool:
    if value == _MARKER or not value:
        return False
    if sign is _Sign.CERTAIN:
        return True
    if sign is _Sign.BASIC:
        return _is_user_and_password(value)
    if sign is _Sign.COOKIE:
        return b"=" in value
    if _is_match(_harmless, value) or (before.lower().endswith(b"pwd=") and value.startswith(b"/")):
        return False
    if sign is _Sign.PROSE:
        return len(value) >= 20 or (len(value) >= 6 and any(byte in b"0123456789" for byte in value))
    return True


def _is_user_and_password(value: bytes) -> bool:
    """Whether the base64 after `Basic` is `user:password`; a word of prose is not."""
    whole = value.rstrip(b"=")
    whole += b"=" * (-len(whole) % 4)
    try:
        return b":" in base64.b64decode(whole, validate=True)
    except binascii.Error:
        return False


def _names_a_secret(name: str, value: str) -> bool:
    if _is_match(_header_name, name):
        return value != MARKER and bool(value)
    return _is_match(_secret_name, name) and _is_secret(value.encode("utf-8", "replace"), _Sign.NAMED, b"")


_Spans = Iterable[tuple[int, int]]


def _spans(regex: Any, data: bytes, sign: _Sign) -> Iterator[tuple[int, int]]:
    """
    Where the pattern finds secrets, looking one window ahead at a time.

    RE2 searches in linear time, but a pattern may have to read to the end of the text to learn that
    its longer branch fails, and that once for every match; the window bounds that.
    """
    position, size = 0, len(data)
    while position < size:
        end = _boundary(data, position + _WINDOW_BYTES)
        found = regex.search(data, position, end)
        if found is None:
            if end == size:
                return
            position = _boundary(data, end - _OVERLAP_BYTES)
            continue
        while found.end() == end < size:  # it may go on behind the window
            end = _boundary(data, end + max(_WINDOW_BYTES, end - found.start()))
            found = regex.search(data, found.start(), end) or found
        begin, finish = _secret_of(regex, found)
        value = data[begin:finish]
        if _is_secret(value, sign, data[max(found.start(), begin - 8) : begin]):
            if found.end() == finish and sign in (_Sign.NAMED, _Sign.PROSE):
                value = value.rstrip(b",)}")  # punctuation around it, more often than its end
            if value not in (b"", _MARKER):
                yield begin, begin + len(value)
        position = max(found.end(), _boundary(data, position + 1, forward=True))


def _secret_of(regex: Any, found: Any) -> tuple[int, int]:
    named = regex.groupindex.get(b"secret") or regex.groupindex.get("secret")
    for group in [named] if named else range(1, regex.groups + 1):
        begin, end = found.span(group)
        if begin >= 0:
            return int(begin), int(end)
    begin, end = found.span()
    return int(begin), int(end)


def _boundary(data: bytes, position: int, *, forward: bool = False) -> int:
    """The position itself, or the next one before (after) it, that does not split a character."""
    position = min(position, len(data))
    while 0 < position < len(data) and data[position] & 0xC0 == 0x80:
        position += 1 if forward else -1
    return position


def _pem_spans(data: bytes) -> Iterator[tuple[int, int]]:
    """PEM blocks, also where the beginning or the end was cut off."""
    begins = [found.span() for found in _pem_begin.finditer(data)]
    ends = [found.span() for found in _pem_end.finditer(data)]
    end_starts = [start for start, _ in ends]
    done = 0
    for i, (start, header_end) in enumerate(begins):
        if start < done:
            continue
        following = begins[i + 1][0] if i + 1 < len(begins) else len(data)
        at = bisect_left(end_starts, header_end)
        if at < len(ends) and ends[at][0] < following and ends[at][0] - header_end <= _LONGEST_PEM_BYTES:
            finish = ends[at][1]
        else:
            body = _pem_body.match(data, header_end, _boundary(data, min(following, header_end + _LONGEST_PEM_BYTES)))
            finish = max(header_end, body.end() if body is not None else header_end)
        yield from _orphans(data, ends, end_starts, done, start)
        yield start, finish
        done = finish
    yield from _orphans(data, ends, end_starts, done, len(data))


def _orphans(
    data: bytes, ends: list[tuple[int, int]], end_starts: list[int], after: int, before: int
) -> Iterator[tuple[int, int]]:
    """Ends of blocks whose beginning is missing, with the lines of base64 above them."""
    for start, finish in ends[bisect_left(end_starts, after) : bisect_left(end_starts, before)]:
        above = data[max(after, start - _LONGEST_PEM_BYTES) : start]
        body = _pem_lines_above.search(above)
        yield start - (len(above) - body.start() if body is not None else 0), finish
        after = finish


def _manifest_spans(data: bytes) -> Iterator[tuple[int, int]]:
    """The values of Secrets that were printed as JSON or YAML."""
    begin = 0
    for separator in [*_document_break.finditer(data), None]:
        end = len(data) if separator is None else separator.start()
        if _secret_kind.search(data, begin, end) is not None:
            yield from _json_data_spans(data, begin, end)
            yield from _yaml_data_spans(data, begin, end)
        begin = end if separator is None else separator.end()


def _json_data_spans(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int]]:
    for region in _json_data.finditer(data, begin, end):
        for found in _json_member.finditer(data, region.start(1), region.end(1)):
            if found.group(1) not in (b"", _MARKER):
                yield found.span(1)


def _yaml_data_spans(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int]]:
    indent: int | None = None  # of `data:`, while inside of it
    for line in _line.finditer(data, begin, end):
        text = line.group()
        content = text.lstrip(b" \t-")
        depth = len(text) - len(content)
        if not content:
            continue
        if indent is not None and depth > indent:
            member = _yaml_member.match(data, line.start(), line.end())
            start, finish = member.span(1) if member is not None else (line.start() + depth, line.end())
            value = data[start:finish]
            if value not in (b"", b"|", b">", b"|-", b">-", b"|+", b">+", _MARKER):
                yield start, finish
        else:
            indent = depth if content.rstrip() in (b"data:", b"stringData:") else None


def _block_spans(data: bytes) -> Iterator[tuple[int, int]]:
    """The lines of YAML's block scalars behind a name that gives a secret away."""
    done = 0
    for head in _block_head.finditer(data):
        if head.start() < done:
            continue
        begin = data.rfind(b"\n", 0, head.start()) + 1
        indent = len(data[begin : head.end()]) - len(data[begin : head.end()].lstrip(b" \t-"))
        done = head.end()
        for line in _line.finditer(data, head.end()):
            content = line.group().lstrip(b" \t")
            if content and len(line.group()) - len(content) <= indent:
                break
            done = line.end()
            if content.strip() not in (b"", _MARKER):
                yield line.end() - len(content), line.end()


def _decoded(value: bytes) -> bytes | None:
    """The text that this is base64 of, as far as it goes; None where it is none."""
    whole = value.rstrip(b"=").translate(_URL_SAFE)
    try:
        raw = base64.b64decode(whole[: len(whole) // 4 * 4] + _rest_of(whole), validate=True)
    except binascii.Error:
        return None
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as wrong:
        if wrong.start < len(raw) - 3:  # the end may have been cut off
            return None
        raw = raw[: wrong.start]
    return raw if raw and _not_text.search(raw) is None else None


def _rest_of(whole: bytes) -> bytes:
    rest = whole[len(whole) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def _replaced(data: bytes, spans: _Spans) -> bytes:
    pieces: list[bytes] = []
    done = 0
    for begin, end in sorted(spans):
        if begin < done:
            continue
        pieces += (data[done:begin], _MARKER)
        done = end
    return b"".join([*pieces, data[done:]]) if pieces else data


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False  # RE2 would write to stderr
    return re2.compile(pattern, options)


def _extra(pattern: str) -> Any:
    if len(pattern) > PATTERN_LIMIT:
        raise ValueError(f"a pattern has at most {PATTERN_LIMIT} characters, this one has {len(pattern)}")
    try:
        regex = _compiled(pattern)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error, re2.error) else str(error)
        raise ValueError(f"{pattern!r} is not a regular expression of RE2: {reason}") from None
    if regex.search(b"") is not None:
        raise ValueError(f"{pattern!r} matches the empty text, and so everywhere: write what a secret begins with")
    return regex


def _is_match(regex: Any, text: str | bytes) -> bool:
    return regex.search(text if isinstance(text, bytes) else text.encode("utf-8", "replace")) is not None


_own_form: Final = _compiled("|".join(_OWN_FORM))
_name_or_sign: Final = _compiled(_NAME_OR_SIGN)
_rules: Final[tuple[tuple[Any, _Sign], ...]] = tuple((_compiled(rule.pattern), rule.sign) for rule in _RULES)
_password_name: Final = _compiled(rf"(?i)(?:{_PHRASE}){_ENDING}$")
_secret_name: Final = _compiled(rf"(?i)(?:{_STRONG}|{_WEAK}){_ENDING}$")
_secret_flag: Final = _compiled(rf"(?i)^--?[a-z0-9-]*(?:{_STRONG}|{_WEAK})$")
_header_name: Final = _compiled(rf"(?i)^{_HEADERS}$")
_harmless: Final = _compiled(
    r"(?i)^(?:null|nil|none|true|false|undefined|unset|empty|\*+|x{3,}|<.*|\$[({]\{?[a-z0-9_. -]+\}?[)}]|\$[a-z_][a-z0-9_]*"
    r"|\{\{.*|(?-i:/?(?:[a-z0-9_.-]+/)+[a-z0-9_.-]*))$"
)
"""Absence, placeholders, references to variables, and lower-case paths: names of files and objects."""
_pem_begin: Final = _compiled(r"-----BEGIN[ A-Z0-9]{1,64}-----")
_pem_end: Final = _compiled(r"-----END[ A-Z0-9]{1,64}-----")
_pem_body: Final = _compiled(r"(?:[A-Za-z0-9+/=\s]|\\[rnt\\]|(?:Proc-Type|DEK-Info|Comment|Version):[^\r\n]*)*")
_pem_lines_above: Final = _compiled(
    r"(?:[A-Za-z0-9+/=]{16,}(?:[ \t]*\r?\n[ \t]*|\\[rn]|\\r\\n))*[A-Za-z0-9+/=]*(?:\s|\\[rn])*$"
)
_document_break: Final = _compiled(r"(?m)^---[ \t]*$")
_secret_kind: Final = _compiled(r"\bkind\\*[\"']?[ \t]*:[ \t]*\\*[\"']?Secret(?:List)?\b")
_json_data: Final = _compiled(r"\"(?:data|stringData)\\*\"\s*:\s*\{([^{}]*)\}?")
_json_member: Final = _compiled(r":\s*\\*\"((?:[^\"\\]|\\[^\"])*)")
_block_head: Final = _compiled(rf"(?i)(?:{_STRONG}|{_WEAK}){_ENDING}[\"']?:[ \t]*[|>][+-]?[0-9]?[+-]?[ \t]*\r?\n")
_encoded: Final = _compiled(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_not_text: Final = _compiled(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_line: Final = _compiled(r"[^\r\n]+")
_yaml_member: Final = _compiled(r"[ \t]*[\"']?[A-Za-z0-9_.-]+[\"']?:[ \t]*([^\r\n]*)")

_DEFAULT: Final = Redactor()
