"""
The reference page about replies: what can be said to a run, which verb it takes, and how to say it with kubectl alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from remediator.domain.objects import REPLY
from remediator.domain.replies import ReplyType
from remediator.generate.reference import HEADER

RUN: Final = {"name": "crashlooping-4f2a81c09be2d713-1", "uid": "0b5e4f0e-52a5-4c3c-9a63-8f1f7f6b8f11"}


@dataclass(frozen=True, slots=True)
class Said:
    """One type of Reply."""

    role: str
    verb: str
    """The plugin's."""
    does: str
    spec: Mapping[str, Any]


WORDS: Final[Mapping[ReplyType, Said]] = {
    ReplyType.APPROVE: Said(
        "remediator-approve",
        "approve",
        "Agrees to the plan whose hash it gives, or to the step that asks for itself. It counts for nothing else.",
        {"planHash": "9c1e5b0c7d2f4a689c1e5b0c7d2f4a68", "groups": ["sre"], "reason": "looks right"},
    ),
    ReplyType.DENY: Said(
        "remediator-approve",
        "deny",
        "Refuses the plan whose hash it gives; it outweighs all approvals, and the run ends as `Denied`.",
        {"planHash": "9c1e5b0c7d2f4a689c1e5b0c7d2f4a68", "reason": "release in progress"},
    ),
    ReplyType.ACKNOWLEDGE: Said(
        "remediator-respond", "ack", "Says that somebody looks after the run, which goes on as it would have.", {}
    ),
    ReplyType.ANSWER: Said(
        "remediator-respond",
        "answer",
        "Answers an `ask`, or says that a `manual` is done; the first answer that is one counts.",
        {"step": "drained", "answer": "done"},
    ),
    ReplyType.UNDO: Said(
        "remediator-stop",
        "undo",
        "Has what the run has changed taken back; an open run then ends as `Undone`.",
        {"reason": "it got worse"},
    ),
    ReplyType.STOP: Said(
        "remediator-stop",
        "stop",
        "Ends the run as `Stopped` before its next change. What it has changed is kept, and the record says so.",
        {"reason": "I do it by hand"},
    ),
}


def example(word: ReplyType) -> dict[str, Any]:
    """A Reply of this type."""
    return {
        "apiVersion": REPLY.api_version,
        "kind": REPLY.kind,
        "metadata": {"generateName": f"{word.verb}-", "namespace": "shop"},
        "spec": {"runRef": dict(RUN), "type": str(word), "user": "alice@example.com", **WORDS[word].spec},
    }


def replies_page() -> str:
    """How people speak to runs."""
    lines = [
        HEADER,
        "# Speaking to a run\n",
        "A Reply is a person's word to a run. `kubectl remediate` writes one after it has shown what is asked; plain kubectl",
        "does as well:\n",
        "```yaml",
        yaml.safe_dump(example(ReplyType.APPROVE), sort_keys=False).rstrip(),
        "```\n",
        "`kubectl create -f` it in the namespace of the run. What it is about stands on the run:\n",
        "```",
        "kubectl get runbookrun NAME -n NAMESPACE -o jsonpath='{.metadata.uid} {.status.attempts[-1:].approvals}'",
        "kubectl auth whoami",
        "```\n",
        "The first gives the UID, the hash of the plan and the groups that are asked; the second, `user` and `groups` as the",
        "API server knows them. Who may say what is plain RBAC: the verb on `runbookruns`, for all of them or by name.\n",
        "| Type | Verb | ClusterRole | Plugin | What it does |",
        "|---|---|---|---|---|",
        *(
            f"| {word} | `{word.verb}` | {said.role} | `kubectl remediate {said.verb}` | {said.does} |"
            for word, said in WORDS.items()
        ),
        "",
        "Nothing that is said gets lost: it stands in `kubectl get replies`, and on the run under `status.replies` as taken, or",
        "as ignored with the reason. An approval is ignored if it is for another plan, another run of the same name or another",
        "step; if it was said before the question was asked, or after it had expired; if it names none of the groups that are",
        "asked; if its author has asked for the run; and if its author has approved before. What was approved must also begin",
        "before the deadline, and after it was approved everything is looked at again.\n",
    ]
    return "\n".join(lines).rstrip() + "\n"
