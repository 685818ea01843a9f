"""
Alertmanager's matchers: `alertname="KubePodCrashLooping"`, `severity=~"critical|warning"`.

The syntax is the one of Alertmanager's configuration files, in the mode that Alertmanager ships
with: what its older parser accepts means what that parser says; what only the newer one accepts
(names in UTF-8) is read by the newer one's rules. Three things are stricter, because a slip there
would match alerts that nobody meant: a brace must have its partner, an empty value must be written
`""`, and no matcher at all is an error instead of a match of everything.

A regular expression must match the whole value. A label that is missing is the empty string.

Source: https://prometheus.io/docs/alerting/latest/configuration/#matcher
"""

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import re2

TEXT_LIMIT: Final = 4_096
_REGEX_MEMORY_BYTES: Final = 1024 * 1024

_WHITESPACE: Final = "\t\n\f\r "  # what Go's \s matches
_CLASSIC_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_UNQUOTED: Final = re.compile(r"[^\s{}!=~,\\\"'`]+")
_OPERATOR: Final = re.compile(r"=~|!=|!~|=")
_GO_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))", re.DOTALL
)
_GO_CHARACTER: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_HELP: Final = 'write NAME="value" with one of the operators = != =~ !~, such as severity=~"critical|warning"'


class Operator(enum.StrEnum):
    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    MATCHES_NOT = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """
    One condition on one label.

    Raises:
        ValueError: without a name, or if a regular expression is none in RE2's syntax.
    """

    name: str
    operator: Operator
    value: str
    _regex: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError(f"a matcher needs the name of a label: {_HELP}")
        is_regex = self.operator in (Operator.MATCHES, Operator.MATCHES_NOT)
        object.__setattr__(self, "_regex", _compiled(self.value) if is_regex else None)

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.name, "")
        if self.operator is Operator.EQUAL:
            return value == self.value
        if self.operator is Operator.NOT_EQUAL:
            return value != self.value
        found = self._regex.fullmatch(value.encode("utf-8", "replace")) is not None
        return found is (self.operator is Operator.MATCHES)

    def __str__(self) -> str:
        """The matcher as Alertmanager prints it; `parse_matcher` reads it back."""
        name = self.name if _CLASSIC_NAME.fullmatch(self.name) else _quoted(self.name)
        return f"{name}{self.operator}{_quoted(self.value)}"


def parse_matcher(text: str) -> Matcher:
    """
    Read exactly one matcher, with or without braces.

    Raises:
        ValueError: with a sentence that says what to write.
    """
    matchers = parse_matchers(text)
    if len(matchers) != 1:
        raise ValueError(
            f"{_shown(text)} holds {len(matchers)} matchers where one is wanted: "
            "write one, and quote the value if the comma belongs to it"
        )
    return matchers[0]


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """
    Read one matcher or several, separated by commas, with or without braces.

    Raises:
        ValueError: with a sentence that says what to write.
    """
    if len(text) > TEXT_LIMIT:
        raise ValueError(f"a matcher has at most {TEXT_LIMIT} characters, this one has {len(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{_shown(text)} is not valid Unicode: {_HELP}") from None
    pieces = _split_at_commas(_without_braces(text))
    if not pieces[-1].strip():
        pieces.pop()  # one comma at the end is allowed
    if not pieces:
        raise ValueError(f"{_shown(text)} holds no matcher: {_HELP}")
    return tuple(_read(piece.strip(_WHITESPACE)) for piece in pieces)


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher holds; without matchers it is True."""
    return all(matcher.matches(labels) for matcher in matchers)


def _without_braces(text: str) -> str:
    stripped = text.strip()
    opened, closed = stripped.startswith("{"), stripped.endswith("}")
    if opened != closed:
        raise ValueError(
            f"{_shown(text)} has one brace without the other: write both or none, "
            "and quote the value if the brace belongs to it"
        )
    return stripped[1:-1] if opened else stripped


def _split_at_commas(text: str) -> list[str]:
    pieces: list[str] = []
    begin, quoted, escaped = 0, False, False
    for i, character in enumerate(text):
        if character == "," and not quoted:
            pieces.append(text[begin:i])
            begin = i + 1
        elif character == '"' and not escaped:
            quoted = not quoted
        escaped = character == "\\" and not escaped
    return [*pieces, text[begin:]]


def _read(text: str) -> Matcher:
    name = _CLASSIC_NAME.match(text)
    if name is not None:
        rest = text[name.end() :].lstrip(_WHITESPACE)
        operator = _OPERATOR.match(rest)
        if operator is not None:
            value = rest[operator.end() :].lstrip(_WHITESPACE)
            return Matcher(name[0], Operator(operator[0]), _classic_value(value, text))
    return _read_utf8(text)


def _classic_value(raw: str, text: str) -> str:
    """The value by OpenMetrics' rules: three escapes, and any other backslash stands for itself."""
    if not raw:
        raise ValueError(f'{_shown(text)} has no value: write "" for a label that is empty or missing')
    quoted = _QUOTED.fullmatch(raw)
    body = quoted[1] if quoted is not None else raw
    if quoted is None and '"' in re.sub(r"\\.", "", raw, flags=re.DOTALL):
        raise ValueError(f'{_shown(text)} has a quote that is not closed or not escaped: write \\" inside of quotes')
    meaning = {"n": "\n", '"': '"', "\\": "\\"}
    return re.sub(r"\\(.)", lambda found: meaning.get(found[1], found[0]), body, flags=re.DOTALL)


def _read_utf8(text: str) -> Matcher:
    name, rest = _token(text, text)
    operator = _OPERATOR.match(rest)
    if not name or operator is None:
        raise ValueError(f"{_shown(text)} is not a matcher: {_HELP}")
    value, after = _token(rest[operator.end() :], text)
    if after:
        raise ValueError(f"{_shown(text)} goes on after its value with {_shown(after)}: quote the value")
    return Matcher(name, Operator(operator[0]), value)


def _token(rest: str, text: str) -> tuple[str, str]:
    rest = rest.lstrip()
    quoted = _QUOTED.match(rest)
    if quoted is not None:
        return _unquoted(quoted[1], text), rest[quoted.end() :].lstrip()
    plain = _UNQUOTED.match(rest)
    if plain is None:
        raise ValueError(f"{_shown(text)} is not a matcher: {_HELP}")
    return plain[0], rest[plain.end() :].lstrip()


def _unquoted(body: str, text: str) -> str:
    """The text by the rules of Go's string literals."""

    def character(found: "re.Match[str]") -> str:
        named, byte, short, long, octal, _ = found.groups()
        if named is not None:
            return _GO_CHARACTER.get(named, named)
        number = int(octal, 8) if octal else int(byte or short or long or "-1", 16)
        is_character = 0 <= number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF
        if not is_character or (number > 0x7F and (byte or octal)):
            raise ValueError(f"{_shown(text)} has the escape {found[0]}, which says nothing here: write \\\\ for a \\")
        return chr(number)

    return _GO_ESCAPE.sub(character, body)


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False  # RE2 would write to stderr
    options.max_mem = _REGEX_MEMORY_BYTES
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error, re2.error) else str(error)
        raise ValueError(f"{_shown(pattern)} is not a regular expression of RE2: {reason}") from None


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"") + '"'


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:100] + "…")
