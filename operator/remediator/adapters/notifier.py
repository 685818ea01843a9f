"""
Messages through Apprise, to the URLs that stand in Secrets.

An Apprise URL is a secret: it is neither logged nor part of an error. Only services on an
allow-list are used, because Apprise's other schemes write to files, buses and the local syslog; and
a Secret of a tenant's namespace cannot make the operator call addresses of the node or the cloud's
metadata service.
"""

import asyncio
import base64
import binascii
import hashlib
import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

import tenacity

from remediator.domain.errors import Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.json import Object, dig_object, dig_text
from remediator.domain.objects import ObjectRef
from remediator.ports import Clock, Cluster

SECRET_NAME: Final = "remediator-receivers"  # noqa: S105 - a name, not its content
REMEMBER_SECONDS: Final = 30.0
SEND_SECONDS: Final = 15.0
ATTEMPTS: Final = 2
PAUSE_SECONDS: Final = 1.0
THREADS: Final = 4
DELIVERED_REMEMBERED: Final = 1_000
MAX_URLS: Final = 10

SERVICES: Final = frozenset(
    (
        "betterstack",
        "discord",
        "firehydrant",
        "form",
        "forms",
        "gchat",
        "goalerts",
        "gotifys",
        "ilert",
        "incidentio",
        "jira",
        "json",
        "jsons",
        "mailgun",
        "mailto",
        "mailtos",
        "matrixs",
        "mmost",
        "mmosts",
        "ntfys",
        "opsgenie",
        "pagerduty",
        "pagertree",
        "pushover",
        "pover",
        "rocket",
        "rockets",
        "sendgrid",
        "ses",
        "signl4",
        "slack",
        "sns",
        "spike",
        "splunk",
        "squadcast",
        "tgram",
        "twilio",
        "victorops",
        "webex",
        "workflow",
        "workflows",
        "wxteams",
        "xmatters",
        "zulip",
    )
)
"""Schemes of Apprise. A plain https:// address is taken where Apprise knows whose it is."""

REPEAT_PARAMETER: Final = {
    "pagerduty": "dedup",
    "opsgenie": "alias",
    **dict.fromkeys(("json", "jsons", "form", "forms"), "+Idempotency-Key"),
}
"""How a service is told that a message may be a repeat; others find the key at the end of the body."""


class AppriseNotifier:
    """`ports.Notifier`; `cluster` is the operator's own identity, which reads the one Secret by name."""

    def __init__(
        self, cluster: Cluster, operator_namespace: str, clock: Clock, *, send_seconds: float = SEND_SECONDS
    ) -> None:
        self._cluster = cluster
        self._operator_namespace = operator_namespace
        self._clock = clock
        self._send_seconds = send_seconds
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="notify")
        self._secrets: dict[str, tuple[float, dict[str, tuple[str, ...]]]] = {}
        self._delivered: OrderedDict[str, None] = OrderedDict()

    async def send(self, namespace: str, receiver: str, subject: str, body: str, *, key: str) -> None:
        place, urls = await self._receiver(namespace, receiver)
        if not urls:
            raise NotFound(
                f"no receiver {receiver} in Secret {SECRET_NAME} of namespace {namespace} or of the operator's"
            )
        results = await asyncio.gather(
            *(self._deliver(url, place, receiver, subject, body, key) for url in urls), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def known(self, namespace: str, receiver: str) -> bool:
        return bool((await self._receiver(namespace, receiver))[1])

    def close(self) -> None:
        """No further message is taken."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _receiver(self, namespace: str, receiver: str) -> tuple[str, tuple[str, ...]]:
        """The namespace whose Secret names the receiver, and its URLs."""
        for place in dict.fromkeys((namespace, self._operator_namespace)):
            urls = (await self._urls_in(place)).get(receiver, ())
            if urls:
                return place, urls
        return namespace, ()

    async def _urls_in(self, namespace: str) -> dict[str, tuple[str, ...]]:
        read_at, urls = self._secrets.get(namespace, (float("-inf"), {}))
        now = self._clock.boot_seconds()
        if now - read_at <= REMEMBER_SECONDS:
            return urls
        try:
            urls = _receivers(await self._cluster.read(ObjectRef("", "Secret", namespace, SECRET_NAME)))
        except NotFound:
            urls = {}
        except Forbidden:
            # an install that reads no tenant's Secrets has its receivers in its own namespace
            if namespace == self._operator_namespace:
                raise
            urls = {}
        self._secrets[namespace] = (now, urls)
        return urls

    async def _deliver(self, url: str, place: str, receiver: str, subject: str, body: str, key: str) -> None:
        """Sent to this one URL, unless this process has done so under the same key."""
        mark = hashlib.sha256(f"{key}\0{url}".encode()).hexdigest()
        if mark in self._delivered:
            return
        await self._must_be_allowed(url, place, receiver)
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Unavailable),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_fixed(PAUSE_SECONDS),
            sleep=self._clock.sleep,
            reraise=True,
        )
        await attempts(self._attempt, with_key(url, key), receiver, subject, f"{body}\n\nref: {key}")
        self._delivered[mark] = None
        while len(self._delivered) > DELIVERED_REMEMBERED:
            self._delivered.popitem(last=False)

    async def _attempt(self, url: str, receiver: str, subject: str, body: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._send_seconds):
                sent = await loop.run_in_executor(self._pool, _notified, url, receiver, subject, body)
        except TimeoutError as wrong:
            raise Unavailable(f"receiver {receiver} did not answer within {self._send_seconds:g}s") from wrong
        if not sent:
            raise Unavailable(f"receiver {receiver}: the service did not take the message")

    async def _must_be_allowed(self, url: str, place: str, receiver: str) -> None:
        scheme = urlsplit(url).scheme.lower()
        if scheme != "https" and scheme not in SERVICES:
            raise Rejected(f"receiver {receiver}: {scheme or 'no'}:// is not among the services that may be used")
        if place == self._operator_namespace:
            return  # whoever writes there may do more than this already
        for host in hosts_of(url):
            if await _is_private_to_the_node(host):
                raise Rejected(f"receiver {receiver}: its address is one of the node's own or of the cloud's metadata")


def _receivers(secret: Object) -> dict[str, tuple[str, ...]]:
    found = {}
    data = dig_object(secret, "data")
    for name in data:
        try:
            text = base64.b64decode(dig_text(data, name), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue  # no URL; `known` says so
        urls = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        found[name] = tuple(urls[:MAX_URLS])
    return found


def with_key(url: str, key: str) -> str:
    """The URL that also hands over the key, where the service has a place for it."""
    parameter = REPEAT_PARAMETER.get(urlsplit(url).scheme.lower())
    if parameter is None or f"{parameter}=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}{parameter}={quote(key, safe='')}"


def hosts_of(url: str) -> Iterable[str]:
    """Every host that the URL can make Apprise call; e-mail has the server in a parameter."""
    parts = urlsplit(url)
    if parts.hostname:
        yield parts.hostname
    for name, value in parse_qsl(parts.query):
        if name.lower() in ("smtp", "host"):
            yield value.partition(":")[0]


async def _is_private_to_the_node(host: str) -> bool:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False  # for most services the place of the host holds a token
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return any(
        address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
        for address in addresses
    )


def _notified(url: str, receiver: str, subject: str, body: str) -> bool:
    """Runs in a thread of ours: Apprise is synchronous."""
    # 16 MB and a tenth of a second that a process without receivers never needs
    import apprise

    asset = apprise.AppriseAsset(app_id="Remediator", secure_logging=True, http_redirects=False)
    try:
        service: Any = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    except TypeError:
        service = None
    if service is None:
        raise Rejected(f"receiver {receiver}: Apprise does not know the service, or its address is incomplete")
    if not _schemes(service) & SERVICES:
        raise Rejected(f"receiver {receiver}: the service is not among those that may be used")
    service.redirects = False  # an address may ask for them itself
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    return bool(sender.notify(title=subject, body=body, body_format=apprise.NotifyFormat.TEXT))


def _schemes(service: Any) -> set[str]:
    """What the plugin calls itself: an https:// address was turned into one."""
    found: set[str] = set()
    for name in ("protocol", "secure_protocol"):
        value = getattr(service, name, None)
        found.update((value,) if isinstance(value, str) else value or ())
    return found
