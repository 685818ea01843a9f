"""
Where an outgoing call may go: by the name that was written, and by the address that it leads to.

A name is compared after it was brought into one form, and an address after everything that hides
another one in it (IPv4 in IPv6, 6to4, NAT64, Teredo) was taken off. Both are needed: whoever owns
an allowed name decides where it leads.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from remediator.domain.errors import Forbidden

MAX_URL: Final = 2_048
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Address = IPv4Address | IPv6Address

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC: Final = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
"""A name that ends so is an address to every resolver, in decimal, octal or hexadecimal spelling."""

_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle Cloud
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google Cloud
    )
)
"""Metadata services outside of the link-local ranges, in which most of them are."""
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")
_SITE_LOCAL: Final = IPv6Network("fec0::/10")
_EMBEDDED_LAST: Final = tuple(
    IPv6Network(text) for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
"""Mapped, translated, NAT64 and its local form: the last 32 bits are an IPv4 address."""
_COMPATIBLE: Final = IPv6Network("::/96")
_ISATAP: Final = (0x00005EFE, 0x02005EFE)


@dataclass(frozen=True, slots=True)
class Place:
    """
    A host and a port; `host` is ASCII in lower case without a dot at its end, or an address in its usual form.

    `scheme` is empty where no URL was written.
    """

    host: str
    port: int
    scheme: str = ""

    @property
    def netloc(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.host if DEFAULT_PORTS.get(self.scheme) == self.port else self.netloc


def place_of(url: str) -> Place:
    """
    Where the URL leads.

    Raises:
        Forbidden: for what is no plain http or https URL, and for spellings that two programs could
            read differently.
    """
    if len(url) > MAX_URL:
        raise Forbidden(f"a URL has at most {MAX_URL} characters, this one has {len(url)}")
    if "\\" in url or any(ord(character) <= 0x20 or ord(character) == 0x7F for character in url):
        raise Forbidden("a URL holds no blanks, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as wrong:
        raise Forbidden("it is no URL: its host or its port cannot be read") from wrong
    if parts.scheme not in DEFAULT_PORTS:
        raise Forbidden(f"only http and https URLs are asked, not {parts.scheme[:20] or 'one without a scheme'}")
    if "@" in parts.netloc:
        raise Forbidden("a URL holds no user and no password; they would be stored and shown")
    return place_at(_host_of(parts), DEFAULT_PORTS[parts.scheme] if port is None else port, parts.scheme)


def place_at(host: str, port: int, scheme: str = "") -> Place:
    """
    The host and the port, in the one form in which they are compared.

    Raises:
        Forbidden: where the host is no name of a host and no address in its usual form.
    """
    if not 1 <= port <= 65_535:
        raise Forbidden(f"{port} is no port")
    return Place(normal_host(host), port, scheme)


def normal_host(host: str) -> str:
    """
    The host in the one form in which it is compared.

    Raises:
        Forbidden: where it is no name of a host and no address in its usual form.
    """
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if ":" in host:
        return _normal_ipv6(host)
    try:
        name = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError as wrong:
        raise Forbidden("the host cannot be written as an international domain name") from wrong
    name = name.lower().removesuffix(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise Forbidden("the host is no name of a host")
    if _NUMERIC.fullmatch(name.rpartition(".")[2]):
        try:
            return str(IPv4Address(name))
        except ValueError as wrong:
            raise Forbidden("an address is written as four decimal numbers") from wrong
    return name


def is_host(text: str) -> bool:
    """Whether it can name a host."""
    try:
        normal_host(text)
    except Forbidden:
        return False
    return True


def is_address(host: str) -> bool:
    """Whether the host is an address, and nothing has to be looked up."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_permitted(where: Place, patterns: Iterable[str]) -> bool:
    """
    Whether one of the patterns names the place: `host`, `*.suffix`, `host:port` or `*.suffix:port`.

    A pattern without a port means every port. `*.example.com` means every name below example.com,
    not example.com itself, and no pattern with a `*` means an address. One that cannot be read
    permits nothing.
    """
    return any(_names(pattern, where) for pattern in patterns)


def objection_to_pattern(text: str) -> str:
    """Why the text cannot stand on an allow-list; empty where it can."""
    try:
        _pattern(text)
    except Forbidden as wrong:
        return f"{wrong}; write host, *.suffix, host:port or *.suffix:port"
    return ""


def objection_to_address(text: str) -> str:
    """
    Why nothing may ever be sent to this address; empty where it may.

    Private ranges may be: the cluster's own services are there. The addresses of the machine itself,
    of its link and of the cloud's metadata service may not.
    """
    return _objection(text, local=False)


def objection_to_configured(text: str) -> str:
    """As `objection_to_address`, for addresses that the platform itself configured: its own machine is fine."""
    return _objection(text, local=True)


def plain_address(text: str) -> str:
    """The address in the one form in which two are compared; text that is none stays as it is."""
    try:
        return str(unwrapped(ip_address(text)))
    except ValueError:
        return text


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if any(address in network for network in _EMBEDDED_LAST):
        return _last_bits(address)
    if address in _COMPATIBLE and int(address) > 0xFFFF:
        return _last_bits(address)
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return _last_bits(address)
    return address


def _objection(text: str, *, local: bool) -> str:
    try:
        address = unwrapped(ip_address(text))
    except ValueError:
        return f"{text[:60]} is no address"
    if address in _METADATA:
        return f"{text} is the address of a cloud's metadata service"
    if address.is_link_local or (isinstance(address, IPv6Address) and address in _SITE_LOCAL):
        return f"{text} is link-local, where metadata services are"
    if address.is_multicast or (isinstance(address, IPv4Address) and address.is_reserved):
        return f"{text} is no address of a single machine"
    if local:
        return ""
    if address.is_loopback or address.is_unspecified or (isinstance(address, IPv4Address) and address in _THIS_NETWORK):
        return f"{text} is an address of the operator's own machine"
    return ""


def _host_of(parts: SplitResult) -> str:
    # not `hostname`, which lowers the case before the name is looked at
    netloc = parts.netloc
    if netloc.startswith("["):
        address, _, rest = netloc.partition("]")
        if rest and not rest.startswith(":"):
            raise Forbidden("behind an address in brackets comes its port or nothing")
        return address + "]"
    return netloc.partition(":")[0]


def _normal_ipv6(host: str) -> str:
    if "%" in host:
        raise Forbidden("an address with a zone means this machine's own links")
    try:
        return str(IPv6Address(host))
    except ValueError as wrong:
        raise Forbidden("the host is no IPv6 address") from wrong


def _names(pattern: str, where: Place) -> bool:
    try:
        host, port = _pattern(pattern)
    except Forbidden:
        return False
    if port is not None and port != where.port:
        return False
    if host.startswith("*."):
        return where.host.endswith(host[1:]) and not is_address(where.host)
    return where.host == host


def _pattern(text: str) -> tuple[str, int | None]:
    host, port = text, None
    if found := re.fullmatch(r"(\[[^\]]*\]|[^:]*):([0-9]{1,5})", text):
        host, port = found[1], int(found[2])
        if not 1 <= port <= 65_535:
            raise Forbidden(f"{port} is no port")
    if host.startswith("*."):
        suffix = normal_host(host[2:])
        if is_address(suffix):
            raise Forbidden("an address has no names below it")
        return f"*.{suffix}", port
    return normal_host(host), port


def _last_bits(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)
