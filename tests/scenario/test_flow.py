"""The whole flow on fakes: what is written, in which order, and how runs end."""

from datetime import timedelta
from typing import Any

import flows
from flows import CHECKOUT, PODS, PODS_ANEW, changes, env, fired
from known import Given
from remediator.domain.errors import NotFound, Unavailable
from remediator.domain.json import Object, dig, dig_list
from remediator.domain.objects import RUN, ObjectRef
from remediator.domain.runs import Run, RunOutcome, StepState, Verdict
from remediator.engine.record import current
from remediator.testing import NOON
from remediator.testing.world import World, transcript

BIGGER = """
targets: [Deployment]
diagnose:
- name: history
  rolloutHistory: {}
remedies:
- name: bigger
  steps:
  - name: raise
    setEnv: {container: app, vars: {QUEUE: {value: "500"}}}
  verify:
  - rollout: {within: 5m}
  - alertResolved: {quietFor: 2m, within: 20m}
"""

FRESH_PODS = f"""
targets: [Deployment]
diagnose: {PODS}
remedies: {PODS_ANEW}
  verify:
  - rollout: {{within: 5m}}
"""

SOON = BIGGER.replace("quietFor: 2m", "quietFor: 1s")


def world(book: str = BIGGER, **given: Any) -> World:
    return flows.world(book, **given)


def queue(made: World) -> str | None:
    return env(made, "QUEUE")


async def test_a_remedy_that_helps_ends_the_run_as_remediated() -> None:
    made = world()
    made.resolve_when(lambda: queue(made) == "500")

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert queue(made) == "500"
    assert changes(made) == 1


async def test_every_change_is_on_the_record_as_intended_before_it_is_made() -> None:
    made = world()
    made.resolve_when(lambda: queue(made) == "500")

    await made.settle(await fired(made))

    intended: set[str] = set()
    for write in made.cluster.changes:
        if write.ref.kind == "RunbookRun":
            for attempt in dig_list(write.obj, "status", "attempts"):
                intended |= {str(s.get("token")) for s in dig_list(attempt, "steps") if s.get("state") == "Intended"}
        elif write.identity.account:
            token = dig(write.obj, "metadata", "annotations", "remediator.dev/step")
            assert token in intended, f"{write} was not intended"


async def test_at_most_four_writes_lead_from_the_alert_to_the_change() -> None:
    made = world()
    before = len(made.cluster.changes)

    run = await fired(made)
    await made.look(run)

    writes = made.cluster.changes[before:]
    change = next(i for i, w in enumerate(writes) if w.ref == CHECKOUT)
    own = [w for w in writes[: change + 1] if w.ref.kind != "ConfigMap"]  # the Runbook's content is frozen once for all
    lock = 1  # the fake keeps its Lease elsewhere
    assert len(own) + lock <= 4, [str(w) for w in own]


async def test_whether_the_alert_fires_is_asked_beside_the_first_read_where_a_change_may_follow_at_once() -> None:
    for grace, asked in (("0s", 1), ("1m", 0)):
        made = world(grace=grace)
        made.cluster.forbid(flows.FIXER, "get", "deployments")

        await made.look(await fired(made))

        assert len(made.alerts.asked) == asked, grace


async def test_one_more_leads_to_its_end_where_it_soon_helps() -> None:
    made = world(SOON)
    made.resolve_when(lambda: queue(made) == "500")

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    writes = made.cluster.changes
    change = next(i for i, w in enumerate(writes) if w.ref == CHECKOUT)
    after = [w.obj for w in writes[change + 1 :] if w.ref.kind == "RunbookRun"]
    assert [dig(obj, "status", "state") for obj in after] == ["Ended"]


async def test_that_a_change_was_made_is_on_the_record_ten_seconds_after_its_intent_where_its_rollout_lasts() -> None:
    made = world()
    run = await fired(made)
    made.cluster.controllers.never_ready = lambda _: True

    seen = [await at(made, run, seconds) for seconds in (1, 8, 12)]

    assert [one.status.attempts[-1].steps[0].state for one in seen] == [
        StepState.INTENDED,
        StepState.INTENDED,
        StepState.STARTED,
    ]
    assert changes(made) == 1


async def test_pods_that_are_deleted_leave_no_stamp_and_so_it_is_said_at_once() -> None:
    made = world(FRESH_PODS)
    run = await fired(made)

    await made.look(run)

    assert made.run(run).status.attempts[-1].steps[0].state is StepState.STARTED


async def test_who_writes_the_run_before_it_is_said_that_the_change_was_made_has_nothing_changed_again() -> None:
    made = world(SOON)
    run = await fired(made)
    assert (await at(made, run, 1)).status.attempts[-1].steps[0].state is StepState.INTENDED
    assert changes(made) == 1

    note: Object = {"op": "add", "path": "/metadata/annotations", "value": {"note": "seen"}}
    await made.cluster.patch(ObjectRef(RUN.group, RUN.kind, run.namespace, run.name), [note])
    made.resolve_when(lambda: True)
    ended = await made.settle(run)

    assert ended.status.outcome is RunOutcome.REMEDIATED, transcript(ended)
    assert changes(made) == 1


async def test_the_end_reads_the_target_only_for_somebody_who_is_told_of_it() -> None:
    told = SOON + "finally:\n- name: say\n  notify: {to: default, message: '${target.name}'}\n"

    assert [await reads_after_the_rollout(book) for book in (SOON, told)] == [0, 1]


async def reads_after_the_rollout(book: str) -> int:
    made = world(book)
    run = await fired(made)
    stored = await made.settle(run, within=timedelta(seconds=30))
    assert [check.verdict for check in current(stored).checks] == [Verdict.VERIFIED, None], transcript(stored)
    before = len(made.cluster.calls)
    made.alerts.resolve()
    ended = await made.settle(run)
    assert ended.status.outcome is RunOutcome.REMEDIATED, transcript(ended)
    return sum(call.resource == "deployments" for call in made.cluster.calls[before:])


async def test_a_verification_that_lasts_is_seen_ten_seconds_after_its_begin() -> None:
    made = world()
    run = await fired(made)

    seen = [await at(made, run, seconds) for seconds in (2, 8, 14)]

    assert [str(one.status.state) for one in seen] == ["Acting", "Acting", "Verifying"]


async def test_nor_does_it_take_a_write_more_where_the_operator_has_so_much_to_do_that_it_looks_late() -> None:
    made = world(SOON)
    made.resolve_when(lambda: queue(made) == "500")
    run = await fired(made)
    await made.look(run)
    writes = len(made.cluster.changes)
    made.clock.advance(timedelta(seconds=30))

    ended = await made.settle(run)

    assert ended.status.outcome is RunOutcome.REMEDIATED, transcript(ended)
    own = [w.obj for w in made.cluster.changes[writes:] if w.ref.kind == "RunbookRun"]
    assert [dig(obj, "status", "state") for obj in own] == ["Ended"]


async def test_an_operator_that_ends_before_it_has_said_so_verifies_from_anew() -> None:
    made = world(SOON)
    run = await fired(made)
    assert str((await at(made, run, 2)).status.state) == "Acting"
    writes = changes(made)

    made.new_operator()
    made.resolve_when(lambda: True)
    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert changes(made) == writes == 1


async def test_an_account_that_may_not_look_any_more_is_said_to_hold_the_run_and_then_nobody_can_tell() -> None:
    made = world()
    run = await fired(made)
    await made.look(run)
    made.cluster.forbid("system:serviceaccount:shop:fixer", "get", "deployments")

    held = await at(made, run, 5)
    ended = await made.settle(run)

    assert held.status.held is not None, transcript(held)
    assert held.status.held.reason == "NotPermitted"
    assert ended.status.outcome is RunOutcome.INCONCLUSIVE, transcript(ended)
    assert sum(entry.what == "hold" for entry in ended.status.timeline) == 1, transcript(ended)
    assert [sent.receiver for sent in made.notifier.sent] == ["default"]
    assert queue(made) == "500"


async def at(made: World, run: Run, seconds: float) -> Run:
    """The run as it is stored so long after its change, or after now where there was none yet."""
    begun = run.status.attempt.steps[0].started_at if run.status.attempt and run.status.attempt.steps else None
    left = (begun or NOON) + timedelta(seconds=seconds) - made.clock.now()
    return await made.settle(run, within=max(left, timedelta(seconds=0.1)))


async def test_a_remedy_that_does_not_help_is_taken_back_and_somebody_is_told() -> None:
    made = world()

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.UNDONE, transcript(run)
    assert queue(made) is None
    assert [sent.receiver for sent in made.notifier.sent] == ["default"]


async def test_what_somebody_else_set_meanwhile_is_not_taken_back() -> None:
    made = world()

    def meddle() -> None:
        if queue(made) == "500":
            made.cluster.change(
                CHECKOUT,
                lambda obj: dig_list(obj, "spec", "template", "spec", "containers")[0].update(
                    env=[{"name": "QUEUE", "value": "900"}]
                ),
            )

    made.meanwhile.append(meddle)

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.FAILED, transcript(run)
    assert queue(made) == "900"
    assert run.status.ending is not None
    assert run.status.ending.reason == "UndoConflict"


async def test_a_dry_run_changes_nothing_and_shows_the_difference() -> None:
    made = world(mode="DryRun")

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.DRY_RUN, transcript(run)
    assert queue(made) is None
    assert "QUEUE" in run.status.attempts[0].steps[0].diff


async def test_a_diagnosis_says_which_remedy_would_be_carried_out() -> None:
    made = world(mode="Diagnose")

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.DIAGNOSED, transcript(run)
    assert run.status.remedy == "bigger"
    assert changes(made) == 0


async def test_nothing_is_changed_where_no_guardrail_allows_it() -> None:
    made = world(allow=("restart",))

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.REFUSED, transcript(run)
    assert queue(made) is None


async def test_an_alert_that_resolves_in_its_grace_needs_nothing() -> None:
    made = world(grace="5m")
    made.resolve_when(lambda: True)

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.NOT_NEEDED, transcript(run)
    assert changes(made) == 0


async def test_a_lost_reply_does_not_repeat_the_change() -> None:
    made = world()
    made.resolve_when(lambda: queue(made) == "500")
    run = await fired(made)
    made.cluster.fail_next(1, Unavailable("the connection was reset"), verb="patch", done=True)

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert changes(made) == 1


async def test_an_operator_that_is_restarted_between_any_two_looks_goes_on() -> None:
    made = world()
    made.resolve_when(lambda: queue(made) == "500")
    made.meanwhile.append(lambda: made.new_operator() and None)

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.REMEDIATED, transcript(run)
    assert changes(made) == 1


async def test_a_target_that_is_gone_releases_its_alerts() -> None:
    made = world()
    run = await fired(made)
    await made.cluster.delete(CHECKOUT)

    run = await made.settle(run)

    assert run.status.outcome is RunOutcome.TARGET_GONE
    assert not run.status.outcome.covers


async def test_an_unknown_condition_stops_the_choice_and_says_what_was_missing() -> None:
    book = BIGGER.replace("- name: bigger\n", "- name: bigger\n  when: diagnosis.history.revisions.size() > 0\n")
    made = world(book)
    made.cluster.forbid("system:serviceaccount:shop:fixer", "list", "replicasets")

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.NO_REMEDY, transcript(run)
    assert run.status.ending is not None
    assert run.status.ending.reason == "FactUnknown"
    assert "bigger" in run.status.ending.message


async def test_a_remedy_that_is_planned_on_a_missing_container_is_refused_with_the_reason() -> None:
    made = world(BIGGER.replace("container: app", "container: other"))

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.REFUSED, transcript(run)
    assert run.status.attempts[0].steps == []


async def test_a_rollout_that_never_becomes_ready_disproves_the_remedy() -> None:
    made = world()
    made.cluster.controllers.never_ready = lambda template: bool(dig(template, "spec", "containers", 0, "env"))

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.UNDONE, transcript(run)
    assert queue(made) is None
    assert run.status.attempts[0].steps[0].state is StepState.FAILED


async def test_an_alert_that_nobody_can_ask_about_is_not_taken_for_one_that_is_over() -> None:
    made = world()
    made.alerts.unreachable = True

    run = await made.settle(await fired(made))

    assert run.status.outcome is RunOutcome.REFUSED, transcript(run)
    assert run.status.ending is not None
    assert run.status.ending.reason == "FactUnknown"
    assert changes(made) == 0
    assert [sent.receiver for sent in made.notifier.sent] == ["default"]


async def test_a_step_that_takes_too_long_says_so_in_the_words_of_the_manifest() -> None:
    made = world()
    made.cluster.controllers.never_ready = lambda template: bool(dig(template, "spec", "containers", 0, "env"))

    run = await made.settle(await fired(made))

    assert "raise: not finished within 5m0s" in transcript(run)


async def test_a_run_whose_namespace_is_gone_is_left_alone() -> None:
    made = world()
    run = await fired(made)
    made.cluster.fail_next(1, NotFound('namespaces "shop" not found'), verb="update")

    again = await made.look(run)

    assert again is not None
    assert again >= 30


async def test_a_restarted_operator_takes_what_it_has_not_read_yet_for_unknown_and_not_for_gone() -> None:
    made = world()
    run = await fired(made)
    known = made.outside.definitions
    assert isinstance(known, Given)
    policy, known.policy, known.is_complete = known.policy, None, False

    again = await made.look(run)

    assert again is not None
    assert made.run(run).status.outcome is None
    known.policy, known.is_complete = policy, True
    made.resolve_when(lambda: queue(made) == "500")
    assert (await made.settle(run)).status.outcome is RunOutcome.REMEDIATED
