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
import sys
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

import tenacity

from remediator.adapters.leash import Leash, bound
from remediator.adapters.outgoing import Checked, NameUnknown, Objection, SystemLookup
from remediator.domain.bounded import shorten
from remediator.domain.errors import Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.hosts import objection_to_configured
from remediator.domain.json import Object, dig_object, dig_text
from remediator.domain.objects import ObjectRef
from remediator.domain.redaction import redact
from remediator.ports import Clock, Cluster

SECRET_NAME: Final = "remediator-receivers"  # noqa: S105 - a name, not its content
REMEMBER_SECONDS: Final = 30.0
SEND_SECONDS: Final = 15.0
ATTEMPTS: Final = 2
PAUSE_SECONDS: Final = 1.0
THREADS: Final = 4
DELIVERED_REMEMBERED: Final = 1_000
MAX_URLS: Final = 10
MAX_SUBJECT_BYTES: Final = 256
MAX_BODY_BYTES: Final = 16 * 1024
ANSWER_SECONDS: Final = 5.0

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

NAMES_A_HOST: Final = frozenset(
    (
        "form",
        "forms",
        "goalerts",
        "gotifys",
        "https",
        "json",
        "jsons",
        "mailto",
        "mailtos",
        "matrixs",
        "mmost",
        "mmosts",
        "rocket",
        "rockets",
        "workflow",
        "workflows",
    )
)
"""Schemes with a host in the place of the host."""

REPEAT_PARAMETER: Final = {
    "pagerduty": "dedup",
    "opsgenie": "alias",
    **dict.fromkeys(("json", "jsons", "form", "forms"), "+Idempotency-Key"),
}
"""How a service is told that a message may be a repeat; others find the key at the end of the body."""


class AppriseNotifier:
    """`ports.Notifier`; `cluster` is the operator's own identity, which reads the one Secret by name."""

    def __init__(
        self,
        cluster: Cluster,
        operator_namespace: str,
        clock: Clock,
        *,
        checked: Checked | None = None,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._operator_namespace = operator_namespace
        self._clock = clock
        self._checked = checked or Checked(SystemLookup(), clock)
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
        subject, body = shorten(redact(subject), MAX_SUBJECT_BYTES), shorten(redact(body), MAX_BODY_BYTES)
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
        objection = await self._objection(place)
        await self._must_be_allowed(url, objection, receiver)
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Unavailable),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_fixed(PAUSE_SECONDS),
            sleep=self._clock.sleep,
            reraise=True,
        )
        await attempts(self._attempt, with_key(url, key), objection, receiver, subject, f"{body}\n\nref: {key}")
        self._delivered[mark] = None
        while len(self._delivered) > DELIVERED_REMEMBERED:
            self._delivered.popitem(last=False)

    async def _attempt(self, url: str, objection: Objection, receiver: str, subject: str, body: str) -> None:
        loop = asyncio.get_running_loop()
        leash = Leash(objection)
        try:
            async with asyncio.timeout(self._send_seconds):
                sent = await loop.run_in_executor(self._pool, _notified, url, leash, receiver, subject, body)
        except TimeoutError as wrong:
            raise Unavailable(f"receiver {receiver} did not answer within {self._send_seconds:g}s") from wrong
        finally:
            leash.cut()  # its thread is needed for the next message
        if leash.refused:
            raise Rejected(f"receiver {receiver}: its address may not be called")
        if not sent:
            raise Unavailable(f"receiver {receiver}: the service did not take the message")

    async def _objection(self, place: str) -> Objection:
        """Where the receivers of this namespace must not lead; the operator's own are the platform's word."""
        return objection_to_configured if place == self._operator_namespace else await self._checked.objection()

    async def _must_be_allowed(self, url: str, objection: Objection, receiver: str) -> None:
        """What can be told before Apprise is asked; where it really connects to is looked at once more."""
        scheme = urlsplit(url).scheme.lower()
        if scheme != "https" and scheme not in SERVICES:
            raise Rejected(f"receiver {receiver}: {scheme or 'no'}:// is not among the services that may be used")
        for host in hosts_of(url):
            try:
                addresses = await self._checked.addresses(host)
            except (NameUnknown, Unavailable):
                continue  # whether it may be called is seen when it is
            if any(objection(address) for address in addresses):
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
    """
    The hosts that the URL names; e-mail has the server in a parameter.

    Of services whose URLs hold a token there, none: it would be asked of a name server.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() not in NAMES_A_HOST:
        return
    if parts.hostname:
        yield parts.hostname
    for name, value in parse_qsl(parts.query):
        if name.lower() in ("smtp", "host"):
            yield value.partition(":")[0]


def _notified(url: str, leash: Leash, receiver: str, subject: str, body: str) -> bool:
    """Runs in a thread of ours: Apprise is synchronous, and resolves and connects by itself."""
    with leash.held():
        return _sent(url, receiver, subject, body)


def _sent(url: str, receiver: str, subject: str, body: str) -> bool:
    # 16 MB and a tenth of a second that a process without receivers never needs
    import apprise

    # without a timeout of Apprise's own it sends in this thread, and leaves none behind
    asset = apprise.AppriseAsset(app_id="Remediator", secure_logging=True, http_redirects=False, service_timeout=0)
    try:
        service: Any = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    except TypeError:
        service = None
    if service is None:
        raise Rejected(f"receiver {receiver}: Apprise does not know the service, or its address is incomplete")
    if not _schemes(service) & SERVICES:
        raise Rejected(f"receiver {receiver}: the service is not among those that may be used")
    if _reads_files(service, apprise.AppriseAttachment):
        raise Rejected(f"receiver {receiver}: templates and keys are files of this machine, and are not read")
    # an address may ask for all of these itself
    service.redirects = False
    service.retry = 0
    service.socket_connect_timeout = service.socket_read_timeout = ANSWER_SECONDS
    for part in type(service).__mro__:
        bound(sys.modules[part.__module__])
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    return bool(sender.notify(title=subject, body=body, body_format=apprise.NotifyFormat.TEXT))


def _reads_files(service: Any, attachments: type) -> bool:
    template = getattr(service, "template", None)
    return (isinstance(template, attachments) and bool(template)) or any(
        getattr(service, name, None) for name in ("pgp_key", "pgp_privkey", "use_wkd")
    )


def _schemes(service: Any) -> set[str]:
    """What the plugin calls itself: an https:// address was turned into one."""
    found: set[str] = set()
    for name in ("protocol", "secure_protocol"):
        value = getattr(service, name, None)
        found.update((value,) if isinstance(value, str) else value or ())
    return found
