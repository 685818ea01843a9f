"""What went wrong, in one sentence that says what to do."""

import re
from typing import Final

from remediator.domain.errors import Forbidden, NotFound, RemediatorError, Unavailable

REQUEST: Final = re.compile(r"^(GET|LIST|WATCH|POST|PATCH|PUT|DELETE) /\S*: ")
REFUSED: Final = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]*)"'
    r'(?: in API group "(?P<group>[^"]*)")?(?: in the namespace "(?P<namespace>[^"]*)")?'
)
NO_KIND: Final = ("could not find the requested resource", "404 page not found")
"""What the API server answers where it serves the group without the kind, and where it knows no such group."""


def is_without_kind(error: NotFound) -> bool:
    """Whether it is the kind that is not there, rather than one object of it."""
    return any(words in str(error) for words in NO_KIND)


def sentence(error: RemediatorError) -> str:
    """The error as the plugin says it."""
    said = REQUEST.sub("", str(error))
    if isinstance(error, Forbidden):
        return _forbidden(said)
    if "does not accept the operator's credentials" in said:
        return "the API server does not accept your credentials: log in again, then try `kubectl auth whoami`"
    if isinstance(error, NotFound) and is_without_kind(error):
        return (
            "this cluster has no Remediator: its CRDs are not installed (`kubectl api-resources` lists those that are)"
        )
    if isinstance(error, Unavailable) and ("cannot be reached" in said or "in time" in said or "within" in said):
        return f"{said}; see whether `kubectl version` gets an answer"
    return said


def _forbidden(said: str) -> str:
    found = REFUSED.search(said)
    if found is None:
        return said
    user, verb, resource, group, namespace = found.group("user", "verb", "resource", "group", "namespace")
    what = f"{resource}.{group}" if group else resource
    if namespace:
        return (
            f"{user} may not {verb} {what} in namespace {namespace}: "
            f"ask for the role view there, or name another namespace by -n"
        )
    return f"{user} may not {verb} {what} in all namespaces: name one by -n, or ask for the role view"
