"""
What a pod asks of the cluster, counted as the API server's quota counts it.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/,
https://kubernetes.io/docs/concepts/policy/limit-range/
"""

from collections.abc import Mapping
from typing import Final

from remediator.domain.json import Object, dig_list, dig_object, dig_text
from remediator.domain.quantities import Quantity, parse_quantity

Amounts = dict[str, Quantity]
"""Quantities by a quota's name for them: `requests.cpu`, `limits.memory`, `pods`."""

ZERO: Final = Quantity(0)
_SHORT: Final[Mapping[str, str]] = {
    "cpu": "requests.cpu",
    "memory": "requests.memory",
    "ephemeral-storage": "requests.ephemeral-storage",
    "count/pods": "pods",
}
"""What a quota may also be written as."""


def quota_name(name: str) -> str:
    """The full name of what a quota counts."""
    return _SHORT.get(name, name)


def asked_by_container(container: Object, defaults: Amounts) -> Amounts:
    """
    The requests and limits of a container, with what a LimitRange adds where it says nothing.

    A request that is not given is the limit that is, before any LimitRange has its say.

    Raises ValueError for what is no quantity.
    """
    limits = _amounts(dig_object(container, "resources", "limits"))
    requests = {**limits, **_amounts(dig_object(container, "resources", "requests"))}
    return {**defaults, **_named("requests", requests), **_named("limits", limits)}


def _amounts(given: Object) -> Amounts:
    return {name: parse_quantity(amount) for name, amount in given.items() if isinstance(amount, str | int | float)}


def _named(side: str, amounts: Amounts) -> Amounts:
    return {f"{side}.{name}": amount for name, amount in amounts.items()}


def asked_by_pod(template: Object, defaults: Amounts) -> Amounts:
    """
    What one pod of the template counts for: all containers together, or the largest of those that run before.

    A container that is started before and goes on beside the others counts with them.
    """
    spec = dig_object(template, "spec")
    before = dig_list(spec, "initContainers")
    beside = [one for one in before if dig_text(one, "restartPolicy") == "Always"]
    total: Amounts = {}
    for container in [*dig_list(spec, "containers"), *beside]:
        total = plus(total, asked_by_container(container, defaults))
    for container in before:
        for name, amount in asked_by_container(container, defaults).items():
            total[name] = max(total.get(name, ZERO), amount)
    for name, amount in _amounts(dig_object(spec, "overhead")).items():
        total = plus(total, {key: amount for key in (f"requests.{name}", f"limits.{name}") if key in total})
    return {**total, "pods": parse_quantity(1)}


def defaults_of(limit_ranges: tuple[Object, ...]) -> Amounts:
    """What the LimitRanges of a namespace give to containers that say nothing."""
    found: Amounts = {}
    for item in container_limits(limit_ranges):
        for side, key in (("limits", "default"), ("requests", "defaultRequest")):
            found = {**_named(side, _amounts(dig_object(item, key))), **found}
    return found


def container_limits(limit_ranges: tuple[Object, ...]) -> list[Object]:
    """The parts of LimitRanges that are about containers."""
    items = [item for one in limit_ranges for item in dig_list(one, "spec", "limits")]
    return [item for item in items if dig_text(item, "type") == "Container"]


def plus(one: Amounts, other: Amounts) -> Amounts:
    """Both together, by name."""
    return {**one, **{name: one[name] + amount if name in one else amount for name, amount in other.items()}}


def smaller(one: Amounts, other: Amounts) -> Amounts:
    """Of what both ask for, the smaller amount each."""
    return {name: min(amount, other[name]) for name, amount in one.items() if name in other}


def times(amounts: Amounts, factor: int) -> Amounts:
    """So many of them."""
    return {name: Quantity(amount.nano * factor, amount.notation) for name, amount in amounts.items()}


def above(after: Amounts, before: Amounts) -> Amounts:
    """What is asked for afterwards beyond what was before; nothing where it is no more."""
    return {name: amount - before.get(name, ZERO) for name, amount in after.items() if amount > before.get(name, ZERO)}
