"""
Names and tokens that follow from what they name, so that two replicas choose the same one.

Every digest here is the front of a SHA-256 over a canonical JSON list, in which no two different
lists of fields have the same text (`("a", "bc")` is not `("ab", "c")`).

Sixteen hex digits are 64 bits. Among 100,000 keys two share a digest with a probability of 3 in ten
thousand million; somebody who tries on purpose needs some 4 thousand million attempts. So a digest
finds an object quickly and proves nothing: whoever meets a name that exists compares what it stands
for (policy, target and episode of a run; the content of a frozen Runbook; the target on a Lease).
"""

import hashlib
import json
import re
from typing import Final

from remediator.domain.json import JSON
from remediator.domain.objects import ObjectRef

DIGEST_LENGTH: Final = 16
POLICY_NAME_LIMIT: Final = 40
LABEL_LIMIT: Final = 63
EPISODE_LIMIT: Final = 99_999

_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_HASH_LENGTH: Final = 8
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def key_hash(policy_namespace: str, policy_name: str, target: ObjectRef) -> str:
    """
    What all episodes of one policy on one target share: sixteen hex digits.

    UIDs are left out on purpose: an alert has none, and a re-created policy or target stays the same key.
    """
    return _digest("episode", policy_namespace, policy_name, target.group, target.kind, target.namespace, target.name)


def run_name(policy_namespace: str, policy_name: str, target: ObjectRef, episode: int) -> str:
    """
    The name of the run of one episode: `crashlooping-4f2a81c09be2d713-1`.

    At most 63 characters. An AlertPolicy's name has at most 40; a longer one is cut, and the digest
    keeps the names apart.

    Raises:
        ValueError: if the episode is not between 1 and 99,999.
    """
    if not 1 <= episode <= EPISODE_LIMIT:
        raise ValueError(f"an episode's number is between 1 and {EPISODE_LIMIT}, this is {episode}")
    front = policy_name[:POLICY_NAME_LIMIT].rstrip("-.")
    return f"{front}-{key_hash(policy_namespace, policy_name, target)}-{episode}"


def token(run_uid: str, remedy: str, step: str, item: int | None = None, attempt: int = 0) -> str:
    """
    The mark by which one use of a step is recognised on the object it changed: sixteen hex digits.

    It follows from the run's UID, never from its name: names are used again after a deletion, and
    the mark of a former run must not count as this one's. Marks are compared on one object, which
    carries a handful; two of a million marks ever made are equal with a probability of 3 in a
    hundred million.
    """
    return _digest("token", run_uid, remedy, step, "" if item is None else str(item), str(attempt))


def frozen_runbook_name(content: JSON) -> str:
    """The ConfigMap that holds this content of a Runbook: the same for everybody who ran it."""
    return f"runbook-{_digest('runbook', _canonical(content))}"


def lease_name(target: ObjectRef) -> str:
    """
    The Lease in the operator's namespace that is the lock on the target.

    Two targets that shared one would only wait for each other; what stands on the Lease beside the
    lock names its target.
    """
    return f"target-{_digest('lease', target.group, target.kind, target.namespace, target.name)}"


def label_value(text: str) -> str:
    """
    The text as a label value: itself if it is one, else made safe and told apart by a digest.

    The result has at most 63 characters and may be used in a selector, as the same text always gives
    the same value.
    """
    if _LABEL_VALUE.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:_LABEL_HASH_LENGTH]
    safe = re.sub(r"[^A-Za-z0-9_.-]", "-", text[: LABEL_LIMIT - _LABEL_HASH_LENGTH - 1]).strip("-_.")
    return f"{safe}-{digest}" if safe else digest


def is_object_name(text: str) -> bool:
    """Whether the API server could hold an object of this name: a DNS-1123 subdomain of at most 253 characters."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def _digest(*fields: str) -> str:
    return hashlib.sha256(_canonical(list(fields)).encode()).hexdigest()[:DIGEST_LENGTH]


def _canonical(value: JSON) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
