"""Every word of the step grammar, carried out by the whole operator on fakes."""

from datetime import timedelta

import pytest

from flows import CHECKOUT, FIXER, REDIS, carried_out, changes, deployment, env, fired, steps, world
from remediator.domain.json import dig_text
from remediator.domain.runs import RunOutcome
from remediator.testing.world import transcript

QUIET = "verify: [{alertResolved: {quietFor: 1m, within: 10m}}]"


def book(remedies: str, *, diagnose: str = "[{name: history, rolloutHistory: {}}]", rest: str = "") -> str:
    return f"targets: [Deployment]\ndiagnose: {diagnose}\n{rest}\nremedies:\n{remedies}\n"


def setting(name: str, value: str = "1", extra: str = "") -> str:
    return f"{{name: set{name}, {extra}setEnv: {{container: app, vars: {{{name}: {{value: '{value}'}}}}}}}}"


async def test_neighbouring_changes_of_one_object_are_one_write_and_one_rollout() -> None:
    made = world(book(f"- {{name: both, steps: [{setting('A')}, {setting('B')}], {QUIET}}}"))
    made.resolve_when(lambda: env(made, "B") == "1")

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert (env(made, "A"), env(made, "B"), changes(made)) == ("1", "1", 1)
    assert steps(run) == {"setA+setB": "Done"}


async def test_a_condition_keeps_changes_apart() -> None:
    made = world(
        book(f"- {{name: both, steps: [{setting('A')}, {setting('B', extra='when: steps.setA.ok, ')}], {QUIET}}}")
    )
    made.resolve_when(lambda: env(made, "B") == "1")

    run = await carried_out(made)

    assert (env(made, "A"), env(made, "B"), changes(made)) == ("1", "1", 2), transcript(run)


async def test_a_false_condition_skips_the_step() -> None:
    made = world(book(f"- {{name: both, steps: [{setting('A')}, {setting('B', extra='when: 1 > 2, ')}], {QUIET}}}"))
    made.resolve_when(lambda: env(made, "A") == "1")

    run = await carried_out(made)

    assert steps(run) == {"setA": "Done", "setB": "Skipped"}
    assert run.status.outcome is RunOutcome.REMEDIATED


async def test_an_unknown_condition_fails_the_remedy_and_takes_back_what_was_done() -> None:
    pods = "[{name: pods, get: {kind: Pod, related: owned}}]"
    second = setting("B", extra="when: latest.pods.items.size() > 0, ")
    made = world(book(f"- {{name: both, steps: [{setting('A')}, {second}], {QUIET}}}", diagnose=pods))

    def forget() -> None:
        if env(made, "A"):
            made.cluster.forbid(FIXER, "list", "pods")

    made.meanwhile.append(forget)

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.UNDONE, transcript(run)
    assert env(made, "A") is None


async def test_variables_are_named_expressions() -> None:
    rest = "variables: [{name: few, expression: diagnosis.history.revisions.size() < 3}]"
    made = world(book(f"- {{name: one, when: variables.few, steps: [{setting('A')}], {QUIET}}}", rest=rest))
    made.resolve_when(lambda: env(made, "A") == "1")

    assert (await carried_out(made)).status.outcome is RunOutcome.REMEDIATED


async def test_the_first_remedy_that_fits_is_taken_if_all_before_it_are_false() -> None:
    made = world(
        book(
            f"- {{name: never, when: 1 > 2, steps: [{setting('A')}]}}\n- {{name: fits, steps: [{setting('B')}], {QUIET}}}"
        )
    )
    made.resolve_when(lambda: env(made, "B") == "1")

    run = await carried_out(made)

    assert run.status.remedy == "fits"
    assert [(one.remedy, one.when) for one in run.status.attempts[0].considered] == [
        ("never", "False"),
        ("fits", "True"),
    ]


UNREADABLE = "when: diagnosis.history.revisions.size() > 5"


@pytest.mark.parametrize(
    ("extra", "outcome", "remedy"),
    [("", RunOutcome.NO_REMEDY, ""), ("whenUnknown: Skip, ", RunOutcome.REMEDIATED, "second")],
    ids=["stops the choice", "is passed over where that is safe"],
)
async def test_an_unknown_remedy(extra: str, outcome: RunOutcome, remedy: str) -> None:
    remedies = f"- {{name: first, {UNREADABLE}, {extra}steps: [{setting('A')}]}}\n- {{name: second, steps: [{setting('B')}], {QUIET}}}"
    made = world(book(remedies))
    made.cluster.forbid(FIXER, "list", "replicasets")
    made.resolve_when(lambda: env(made, "B") == "1")

    run = await carried_out(made)

    assert (run.status.outcome, run.status.remedy) == (outcome, remedy), transcript(run)
    assert env(made, "A") is None


async def test_a_remedy_may_conclude_that_nothing_has_to_be_done() -> None:
    made = world(book("- {name: fine, conclude: NotNeeded}"))

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.NOT_NEEDED
    assert changes(made) == 0


async def test_a_runbook_without_remedies_only_informs() -> None:
    made = world("targets: [Deployment]\ndiagnose: [{name: history, rolloutHistory: {}}]\nremedies: []\n")

    assert (await carried_out(made)).status.outcome is RunOutcome.DONE


async def test_a_step_may_be_about_another_object_and_both_are_locked() -> None:
    step = "{name: fix, target: {kind: Deployment, name: redis}, setEnv: {container: app, vars: {A: {value: '1'}}}}"
    made = world(book(f"- {{name: dependency, steps: [{step}], {QUIET}}}"), objects=(deployment("redis"),))
    made.resolve_when(lambda: env(made, "A", REDIS) == "1")

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert (changes(made, REDIS), changes(made, CHECKOUT)) == (1, 0)
    assert len(run.status.locks) == 2


async def test_a_target_may_come_from_a_parameter() -> None:
    step = "{name: fix, target: {parameter: dependency}, setEnv: {container: app, vars: {A: {value: '1'}}}}"
    rest = "parameters: [{name: dependency, type: reference}]"
    made = world(
        book(f"- {{name: dependency, when: has(params.dependency), steps: [{step}], {QUIET}}}", rest=rest),
        objects=(deployment("redis"),),
        parameters={"dependency": {"kind": "Deployment", "name": "redis"}},
    )
    made.resolve_when(lambda: env(made, "A", REDIS) == "1")

    assert (await carried_out(made)).status.outcome is RunOutcome.REMEDIATED


PODS = "[{name: pods, get: {kind: Pod, related: owned}}]"
EACH = "{name: away, forEach: diagnosis.pods.items, MAX target: {kind: Pod, name: '${item.name}'}, deletePod: {}}"


async def test_for_each_does_one_after_the_other() -> None:
    made = world(book(f"- {{name: each, steps: [{EACH.replace('MAX ', '')}], {QUIET}}}", diagnose=PODS))
    before = {dig_text(pod, "metadata", "uid") for pod in made.cluster.objects("Pod", "shop")}

    def replaced() -> bool:
        after = {dig_text(pod, "metadata", "uid") for pod in made.cluster.objects("Pod", "shop")}
        return not after & before

    made.resolve_when(replaced)

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert steps(run) == {"away[0]": "Done", "away[1]": "Done"}
    assert [w.verb for w in made.cluster.changes if w.ref.kind == "Pod" and w.identity.account] == ["delete", "delete"]


async def test_more_elements_than_allowed_are_refused_and_not_cut() -> None:
    made = world(book(f"- {{name: each, steps: [{EACH.replace('MAX ', 'maxItems: 1, ')}], {QUIET}}}", diagnose=PODS))

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.REFUSED, transcript(run)
    assert run.status.ending is not None
    assert run.status.ending.reason == "OutOfBounds"
    assert [w for w in made.cluster.changes if w.ref.kind == "Pod" and w.identity.account] == []


async def test_a_wait_lets_time_pass() -> None:
    made = world(book(f"- {{name: slow, steps: [{{name: rest, wait: {{for: 3m}}}}, {setting('A')}], {QUIET}}}"))
    made.resolve_when(lambda: env(made, "A") == "1")

    run = await carried_out(made)

    rest, change = run.status.attempts[0].steps
    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert rest.started_at is not None
    assert change.started_at is not None
    assert change.started_at - rest.started_at >= timedelta(minutes=3)


UNTIL = "{name: gone, wait: {until: latest.pods.items.size() == 0, within: 2m, onTimeout: HOW}}"


@pytest.mark.parametrize(
    ("how", "outcome", "states"),
    [
        ("Fail", RunOutcome.UNDONE, {"gone": "Failed", "setA": "Planned"}),
        ("Continue", RunOutcome.REMEDIATED, {"gone": "Done", "setA": "Done"}),
    ],
)
async def test_a_wait_that_takes_too_long(how: str, outcome: RunOutcome, states: dict[str, str]) -> None:
    made = world(
        book(f"- {{name: slow, steps: [{UNTIL.replace('HOW', how)}, {setting('A')}], {QUIET}}}", diagnose=PODS)
    )
    made.resolve_when(lambda: env(made, "A") == "1")

    run = await carried_out(made)

    expected = (
        RunOutcome.FAILED if outcome is RunOutcome.UNDONE else outcome
    )  # nothing was changed, so nothing is undone
    assert run.status.outcome is expected, transcript(run)
    assert steps(run) == states


async def test_a_step_after_a_wait_that_ran_out_sees_that_it_was_not_ok() -> None:
    guarded = setting("A", extra="when: '!steps.gone.ok', ")
    made = world(
        book(f"- {{name: slow, steps: [{UNTIL.replace('HOW', 'Continue')}, {guarded}], {QUIET}}}", diagnose=PODS)
    )
    made.resolve_when(lambda: env(made, "A") == "1")

    run = await carried_out(made)

    assert steps(run) == {"gone": "Done", "setA": "Done"}, transcript(run)


async def test_otherwise_tells_people_where_no_remedy_fits_and_finally_always() -> None:
    rest = """
otherwise: [{name: page, escalate: {to: on-call, message: 'nothing fits ${target.name}'}}]
finally: [{name: note, notify: {to: default, message: 'ended ${run.outcome}'}}]
"""
    made = world(book(f"- {{name: never, when: 1 > 2, steps: [{setting('A')}]}}", rest=rest))

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.NO_REMEDY
    assert [sent.receiver for sent in made.notifier.sent] == ["on-call", "default"]
    assert "nothing fits checkout" in made.notifier.sent[0].body
    assert "ended NoRemedy" in made.notifier.sent[1].body


async def test_after_a_success_only_finally_speaks_and_only_where_its_condition_holds() -> None:
    rest = """
otherwise: [{name: page, escalate: {to: on-call}}]
finally:
- {name: note, when: run.remedy == "one", notify: {to: default, message: done}}
- {name: other, when: run.remedy == "two", notify: {to: default, message: never}}
"""
    made = world(book(f"- {{name: one, steps: [{setting('A')}], {QUIET}}}", rest=rest))
    made.resolve_when(lambda: env(made, "A") == "1")

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.REMEDIATED
    assert [(sent.receiver, "done" in sent.body) for sent in made.notifier.sent] == [("default", True)]


async def test_a_dry_run_shows_its_messages_and_sends_none() -> None:
    rest = "finally: [{name: note, notify: {to: default, message: hello}}]"
    made = world(book(f"- {{name: one, steps: [{setting('A')}], {QUIET}}}", rest=rest), mode="DryRun")

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.DRY_RUN
    assert made.notifier.sent == []
    assert run.status.ending is not None
    assert "shown, not sent" in run.status.ending.told[0].message


async def test_a_remedy_that_only_tells_people_never_counts_as_a_cure() -> None:
    made = world(
        book(
            "- {name: tell, steps: [{name: page, escalate: {to: on-call}}], verify: [{alertResolved: {quietFor: 1m, within: 10m}}]}"
        )
    )
    made.resolve_when(lambda: bool(made.notifier.sent))

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.HANDED_OVER, transcript(run)


@pytest.mark.parametrize(
    ("word", "outcome", "left"),
    [("Undo", RunOutcome.UNDONE, None), ("Keep", RunOutcome.FAILED, "1")],
)
async def test_what_follows_a_remedy_that_did_not_help(word: str, outcome: RunOutcome, left: str | None) -> None:
    made = world(book(f"- {{name: one, ifNotHelped: {word}, steps: [{setting('A')}], {QUIET}}}"))

    run = await carried_out(made)

    assert (run.status.outcome, env(made, "A")) == (outcome, left), transcript(run)


@pytest.mark.parametrize(("word", "left"), [("TryNext", None), ("KeepAndTryNext", "1")])
async def test_the_next_remedy_is_tried_after_another_diagnosis(word: str, left: str | None) -> None:
    first = f"- {{name: one, ifNotHelped: {word}, steps: [{setting('A')}], {QUIET}}}"
    made = world(book(f"{first}\n- {{name: two, steps: [{setting('B')}], {QUIET}}}"))
    made.resolve_when(lambda: env(made, "B") == "1")

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert (env(made, "A"), env(made, "B")) == (left, "1")
    assert [attempt.remedy for attempt in run.status.attempts] == ["one", "two"]


async def test_a_vanished_target_may_be_what_was_wanted() -> None:
    made = world(book(f"- {{name: one, goneIs: Success, steps: [{setting('A')}], {QUIET}}}"))

    run = await fired(made)
    await made.look(run)
    await made.cluster.delete(CHECKOUT)

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)


@pytest.mark.parametrize(
    ("check", "outcome"),
    [
        ("promql: {query: 'up', below: '5', within: 2m}", RunOutcome.REMEDIATED),
        ("promql: {query: 'up', above: '5', within: 2m}", RunOutcome.UNDONE),
        ("check: {that: latest.pods.items.size() == 2, within: 2m}", RunOutcome.REMEDIATED),
        ("check: {that: latest.pods.items.size() == 7, within: 2m}", RunOutcome.UNDONE),
        ("rollout: {within: 2m}", RunOutcome.REMEDIATED),
    ],
)
async def test_each_way_to_verify(check: str, outcome: RunOutcome) -> None:
    made = world(book(f"- {{name: one, steps: [{setting('A')}], verify: [{{{check}}}]}}", diagnose=PODS))
    made.metrics.answer('up{namespace="shop"}', 3.0)

    run = await carried_out(made)

    assert run.status.outcome is outcome, transcript(run)


async def test_a_query_that_is_never_answered_is_inconclusive_and_nothing_is_taken_back() -> None:
    made = world(
        book(f"- {{name: one, steps: [{setting('A')}], verify: [{{promql: {{query: up, below: '5', within: 2m}}}}]}}")
    )
    made.metrics.unreachable = True

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.INCONCLUSIVE, transcript(run)
    assert env(made, "A") == "1"
    assert len(made.notifier.sent) == 1


async def test_a_check_must_hold_as_long_as_it_says() -> None:
    made = world(
        book(
            f"- {{name: one, steps: [{setting('A')}], verify: [{{promql: {{query: up, below: '5', for: 2m, within: 10m}}}}]}}"
        )
    )
    values = iter([3.0, 3.0, 9.0])
    made.metrics.answer('up{namespace="shop"}', 3.0)
    made.meanwhile.append(lambda: made.metrics.answer('up{namespace="shop"}', next(values, 3.0)))

    run = await carried_out(made)

    attempt = run.status.attempts[0]
    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert attempt.checks[0].seen_failing
    assert attempt.verifying_since is not None
    assert attempt.checks[0].holds_since is not None
    assert attempt.checks[0].holds_since > attempt.verifying_since


async def test_a_run_without_an_alert_and_without_checks_ends_as_done() -> None:
    made = world(book(f"- {{name: one, steps: [{setting('A')}], verify: []}}"))
    run = await made.create_run(
        "shop",
        "by-hand",
        {
            "runbookRef": {"name": "queue"},
            "target": {"kind": "Deployment", "namespace": "shop", "name": "checkout"},
            "mode": "Automatic",
            "serviceAccountName": "fixer",
        },
    )

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.DONE, transcript(run)
    assert env(made, "A") == "1"


async def test_steps_whose_changes_stay_for_different_times_are_written_apart() -> None:
    step = "- name: {name}\n    {limit}setEnv: {{container: app, vars: {{{var}: {{value: '1'}}}}}}\n"
    texts = [("one", "ttl: 10m\n    ", "A"), ("two", "ttl: 10m\n    ", "B"), ("three", "ttl: 20m\n    ", "C")]
    written = "  ".join(step.format(name=name, limit=limit, var=var) for name, limit, var in texts)
    made = world(f"targets: [Deployment]\nremedies:\n- name: all\n  steps:\n  {written}")

    run = await made.settle(await fired(made), within=timedelta(minutes=3))

    assert list(steps(run)) == ["one+two", "three"]
