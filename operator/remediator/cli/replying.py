"""
`kubectl remediate approve`, `deny`, `ack`, `answer`, `undo`, `stop`: a person's word to a run.

What is asked is shown first, and the word is about exactly that: if the plan has changed before it is
sent, nothing is sent.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from remediator.cli.connect import Connected
from remediator.cli.finding import found
from remediator.cli.options import Common, common
from remediator.domain.errors import Conflict, Rejected
from remediator.domain.json import JSON, Object, dig_text
from remediator.domain.objects import REPLY

if TYPE_CHECKING:
    from remediator.domain.runs import ApprovalRecord, QuestionRecord, Run

_EXAMPLES: Final = """

\b
Examples:
{}

The same without this plugin is a Reply: `kubectl create -f`, see operator/reference/replies.md.
"""


@dataclass(frozen=True, slots=True)
class Word:
    """What a person says, as far as the command line tells it."""

    type: str
    reason: str = ""
    step: str = ""
    answer: str = ""
    groups: tuple[str, ...] = ()
    is_sure: bool = False


@dataclass(frozen=True, slots=True)
class Meant:
    """What of the run the word is about."""

    question: str
    """What the person is asked before it is sent; empty: nothing."""
    plan_hash: str = ""
    step: str = ""
    asked_groups: tuple[str, ...] = ()
    anybody: bool = True
    """Whether somebody counts who is in none of the groups."""


def _said(*forms: str, sure: bool = False, groups: bool = False) -> Callable[[Any], Any]:
    """The options of all these verbs."""

    def decorated(verb: Callable[..., None]) -> Any:
        verb = click.option("--reason", default="", metavar="TEXT", help="Why; it stands on the run.")(verb)
        if groups:
            verb = click.option(
                "--group",
                "group",
                multiple=True,
                metavar="NAME",
                help="A group of yours that shall count; default: those that are asked for. May be repeated.",
            )(verb)
        if sure:
            verb = click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")(
                verb
            )
        verb = common(*(forms or ("text", "name", "yaml", "json")))(verb)
        return click.argument("run")(verb)

    return decorated


def _help(what: str, *examples: str) -> str:
    return what + _EXAMPLES.format("\n".join(f"  kubectl remediate {example}" for example in examples))


@click.command(
    "approve",
    help=_help(
        "Approve the plan that a run asks about, or the step that asks for itself.\n\n"
        "The plan and what the API server says that it would change are shown first.",
        "approve d713-1 -n shop",
        'approve d713-1 -n shop --reason "looks right" --yes',
        "approve d713-1 -n shop --step scaleUp --group sre",
    ),
)
@_said(sure=True, groups=True)
@click.option("--step", default="", metavar="NAME", help="The step that is meant; default: whatever is asked about.")
def approve(common: Common, run: str, reason: str, yes: bool, group: tuple[str, ...], step: str) -> None:
    _speak(common, run, Word("Approve", reason, step, groups=group, is_sure=yes))


@click.command(
    "deny",
    help=_help(
        "Deny the plan that a run asks about. One denial outweighs all approvals, and the run ends as Denied.",
        'deny d713-1 -n shop --reason "release in progress"',
    ),
)
@_said(sure=True)
@click.option("--step", default="", metavar="NAME", help="The step that is meant; default: whatever is asked about.")
def deny(common: Common, run: str, reason: str, yes: bool, step: str) -> None:
    _speak(common, run, Word("Deny", reason, step, is_sure=yes))


@click.command(
    "ack",
    help=_help("Say that you look after a run. It goes on as it would have.", "ack d713-1 -n shop"),
)
@_said()
def ack(common: Common, run: str, reason: str) -> None:
    _speak(common, run, Word("Acknowledge", reason))


@click.command(
    "answer",
    help=_help(
        "Answer what a run asks, or say that something is done.\n\n"
        "Without ANSWER the question and its answers are shown.",
        "answer d713-1 -n shop",
        "answer d713-1 planned -n shop",
        "answer d713-1 done -n shop --step drainQueue",
    ),
)
@_said()
@click.argument("answer", default="")
@click.option("--step", default="", metavar="NAME", help="The question that is meant, where there are several.")
def answer(common: Common, run: str, reason: str, answer: str, step: str) -> None:
    _speak(common, run, Word("Answer", reason, step, answer))


@click.command(
    "undo",
    help=_help(
        "Have what a run has changed taken back. An open run then ends as Undone.",
        "undo d713-1 -n shop --reason 'worse'",
    ),
)
@_said(sure=True)
def undo(common: Common, run: str, reason: str, yes: bool) -> None:
    _speak(common, run, Word("Undo", reason, is_sure=yes))


@click.command(
    "stop",
    help=_help(
        "Stop a run before its next change. What it has changed is kept; `undo` takes it back.",
        "stop d713-1 -n shop --reason 'I do it by hand'",
    ),
)
@_said(sure=True)
def stop(common: Common, run: str, reason: str, yes: bool) -> None:
    _speak(common, run, Word("Stop", reason, is_sure=yes))


def _speak(common: Common, run: str, word: Word) -> None:
    common.run(lambda ports: _say(ports, common, run, word))


async def _say(ports: Connected, common: Common, name: str, word: Word) -> None:
    # the record's model is a fifth of a second that a help text does not need
    from remediator.cli.parsing import parsed

    obj = await found(ports.cluster, name, ports.namespace)
    run, _ = parsed(obj)
    meant = meant_by(run, word)
    user, groups = await ports.whoami()
    counting = _groups(run, word, meant, user, groups)
    if meant.question and not word.is_sure:
        _show(run, ports, common)
        _confirm(f"{meant.question} as {user}")
    again, _ = parsed(await found(ports.cluster, f"{run.namespace}/{run.name}", run.namespace))
    if again.uid != run.uid or meant_by(again, word) != meant:
        raise Conflict(f"what run {run.name} asks has changed since it was shown: look again")
    stored = await ports.cluster.create(REPLY, reply_to(run, word, meant, user, counting))
    _tell(common, run, word, {"apiVersion": REPLY.api_version, "kind": REPLY.kind, **stored})


def meant_by(run: "Run", word: Word) -> Meant:
    """
    What the word is about, as the run stands.

    Raises Rejected with a sentence where nothing is asked that it would answer.
    """
    if word.type in ("Approve", "Deny"):
        return _decision(run, word)
    if word.type == "Answer":
        return Meant("", step=_asked(run, word).name)
    if word.type == "Acknowledge":
        return Meant("")
    if run.is_ended and word.type == "Stop":
        raise Rejected(f"run {run.name} has ended already, as {run.status.outcome}")
    changed = [step.label for one in run.status.attempts for step in one.steps if step.has_changed_something]
    if word.type == "Undo" and not changed:
        raise Rejected(f"run {run.name} has changed nothing that could be taken back")
    has = f", which has changed something ({', '.join(changed)})" if changed else ", which has changed nothing"
    return Meant(f"{word.type} run {run.name}{has}?")


def _decision(run: "Run", word: Word) -> Meant:
    attempt = run.status.attempt
    records = [] if attempt is None or run.is_ended else attempt.approvals
    asked = [one for one in records if one.state in ("Waiting", "Approved") and not one.given]
    record: ApprovalRecord | None = next((one for one in asked if word.step in ("", one.step)), None)
    if record is None and attempt is not None and word.type == "Approve" and _is_frozen(run):
        return _in_the_freeze(run, word, attempt.plan_hash)
    if record is None:
        about = f"step {word.step}" if word.step and asked else "any plan"
        raise Rejected(f"run {run.name} does not ask about {about}: {_state(run)}")
    groups = sorted({group for need in record.needs for group in need.groups})
    anybody = any(not need.groups for need in record.needs)
    what = f"step {record.step} of plan" if record.step else "plan"
    return Meant(
        f"{word.type} {what} {record.plan_hash[:8]}",
        plan_hash=record.plan_hash,
        step=record.step,
        asked_groups=tuple(groups),
        anybody=anybody,
    )


def _is_frozen(run: "Run") -> bool:
    return run.status.held is not None and run.status.held.reason == "Frozen" and not run.is_ended


def _in_the_freeze(run: "Run", word: Word, plan_hash: str) -> Meant:
    """An approval that lifts a freeze is asked for by nobody, so that whoever gives it says all that counts."""
    why = run.status.held.message if run.status.held is not None else ""
    if not word.reason.strip() or not word.groups:
        raise Rejected(f"a freeze is lifted with --reason, and by the --group of yours that it excepts: {why}")
    return Meant(f"Approve plan {plan_hash[:8]} in spite of the freeze", plan_hash=plan_hash)


def _asked(run: "Run", word: Word) -> "QuestionRecord":
    from remediator.domain.questions import objection

    records = [one for attempt in run.status.attempts for one in attempt.questions if one.answered_at is None]
    open_ones = [] if run.is_ended else [one for one in records if word.step in ("", one.name)]
    if not open_ones:
        raise Rejected(f"run {run.name} asks nothing{f' named {word.step}' if word.step else ''}: {_state(run)}")
    if len(open_ones) > 1 and not word.step:
        raise Rejected(f"run {run.name} asks several things, name one by --step: {_listed(open_ones)}")
    record = open_ones[0]
    if not word.answer:
        raise Rejected(f"give an answer to {_listed([record])}")
    wrong = objection(word.answer, record.answers, record.pattern)
    if wrong:
        raise Rejected(f"{record.name}: {wrong}")
    return record


def _listed(records: "Sequence[QuestionRecord]") -> str:
    from remediator.engine.questions import sentence_of

    return "; ".join(sentence_of(one) for one in records)


def _state(run: "Run") -> str:
    if run.is_ended:
        return f"it has ended as {run.status.outcome}"
    return f"it is {run.status.state}" + (f": {run.status.message}" if run.status.message else "")


def _groups(run: "Run", word: Word, meant: Meant, user: str, mine: Sequence[str]) -> list[str]:
    """The groups that shall count: those that were named, or those of the person's that are asked for."""
    strange = [group for group in word.groups if group not in mine]
    if strange:
        raise Rejected(f"{user} is not in the group {strange[0]}: the API server says {', '.join(mine) or 'in none'}")
    if word.type != "Approve":
        return list(word.groups)
    if user == run.spec.requested_by:
        raise Rejected(f"{user} has asked for run {run.name}, and whoever asks for a run does not approve it")
    counting = list(word.groups) or [group for group in mine if group in meant.asked_groups]
    if not meant.anybody and not set(counting) & set(meant.asked_groups):
        asked = " or ".join(meant.asked_groups)
        raise Rejected(f"people of {asked} are asked, and {user} is in {', '.join(mine) or 'no group'}")
    return counting


def reply_to(run: "Run", word: Word, meant: Meant, user: str, groups: Sequence[str]) -> Object:
    """The Reply that says it."""
    spec: dict[str, JSON] = {
        "runRef": {"name": run.name, "uid": run.uid},
        "type": word.type,
        "planHash": meant.plan_hash,
        "step": meant.step,
        "answer": word.answer,
        "user": user,
        "groups": list(groups),
        "reason": word.reason,
    }
    return {
        "metadata": {"namespace": run.namespace, "generateName": front(run.name, word.type)},
        "spec": {name: value for name, value in spec.items() if value not in ("", [])},
    }


def front(run: str, word: str) -> str:
    """How the Reply's name begins; the API server adds five letters of its own."""
    return f"{run}-{word.lower()}-"


def _show(run: "Run", ports: Connected, common: Common) -> None:
    from remediator.cli.story import question_of
    from remediator.cli.text import rendered

    story = question_of(run, ports.clock.now())
    click.echo(rendered(story, width=common.screen.width, colour=common.screen.colour), err=True)


def is_terminal() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty()


def _confirm(question: str) -> None:
    if not is_terminal():
        raise Rejected("there is nobody to ask here: --yes says that you have looked")
    click.confirm(question, abort=True, err=True)


def _tell(common: Common, run: "Run", word: Word, stored: Object) -> None:
    from remediator.cli.documents import presentable, written
    from remediator.cli.text import shown

    name = f"reply.{REPLY.group}/{dig_text(stored, 'metadata', 'name')}"
    if common.output in ("json", "yaml"):
        click.echo(written(presentable(stored), common.output))
    elif common.output == "name":
        click.echo(shown(name))
    else:
        click.echo(shown(f"{name} says {word.type} to run {run.name}; `show` tells what comes of it"))
