"""Sweeping stored runs: what is written, in which order, and what happens when it goes wrong in between."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from histories import CHECKOUT, NAMESPACE, Archive, a_policy, an_alert, by_hand, ended
from remediator.domain.alerts import MAX_IDENTITIES, Identities
from remediator.domain.errors import Conflict, Forbidden, NotFound, Unavailable
from remediator.domain.locks import PastChange
from remediator.domain.names import lease_name
from remediator.domain.objects import POLICY, REPLY, RUN, ObjectRef
from remediator.domain.runs import Run, rfc3339
from remediator.engine.begin import Key, Open, PolicyVersion, decide
from remediator.engine.budget import STATUS_BYTES, size_of
from remediator.engine.retention import Why
from remediator.engine.suspension import switch_object
from remediator.handlers import retention
from remediator.handlers.definition import Definition
from remediator.handlers.histories import ABSENT_SECONDS
from remediator.handlers.retention import STAYS_SECONDS, SWEEP_SECONDS
from remediator.handlers.run_index import RunIndex
from remediator.testing.cluster import Write


def writes(archive: Archive) -> list[str]:
    """What was written of runs, in order."""

    def said(write: Write) -> str:
        return f"{write.verb} {write.ref.name.rpartition('-')[2]}"

    return [said(write) for write in archive.cluster.changes if write.ref.kind == RUN.kind]


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture
def three(archive: Archive) -> Archive:
    """Three runs on one target, of which the policy keeps none but the newest."""
    archive.known.put(a_policy(succeeded=0))
    archive.cluster.add(*(ended(n, archive.ago(days=4 - n)) for n in (1, 2, 3)))
    return archive


async def test_the_newest_answers_for_the_others_before_they_are_deleted(three: Archive) -> None:
    assert await three.sweep() == 2

    assert writes(three) == ["patch 3", "delete 1", "delete 2"]
    assert three.numbers() == [3]
    assert three.answers(3) == Identities.of([an_alert("checkout-1"), an_alert("checkout-2")])


async def test_the_whole_group_sent_again_after_a_sweep_starts_nothing(three: Archive) -> None:
    index = RunIndex(three.clock)
    await three.sweep()
    for obj in three.cluster.objects(RUN):
        await index.changed("ADDED", obj)

    key = Key("shop", "queue", CHECKOUT)
    group = [an_alert(f"checkout-{n}") for n in (1, 2, 3)]
    decision = decide(group, index.of(key), PolicyVersion("policy-uid", 1), three.clock.now())
    another = decide([an_alert("x")], index.of(key), PolicyVersion("policy-uid", 1), three.clock.now())

    assert decision.write is None
    assert isinstance(another.write, Open)
    assert another.write.number == 4


async def test_a_process_that_dies_between_fold_and_deletion_loses_nothing(three: Archive) -> None:
    three.cluster.fail_next(1, Unavailable("the API server is gone"), verb="delete")
    with pytest.raises(Unavailable):
        await three.sweep()
    assert (three.numbers(), len(three.answers(3))) == ([1, 2, 3], 2)

    three.restart()
    await three.sweep()

    assert three.numbers() == [3]
    assert three.answers(3) == Identities.of([an_alert("checkout-1"), an_alert("checkout-2")])


async def test_two_that_sweep_at_once_delete_each_run_once(three: Archive) -> None:
    other = Archive()
    other.cluster, other.known = three.cluster, three.known
    other.restart()
    three.look()
    other.look()

    assert await three.retention.sweep() + await other.retention.sweep() == 2

    assert three.numbers() == [3]
    assert sorted(write for write in writes(three) if write.startswith("delete")) == ["delete 1", "delete 2"]


async def test_a_run_that_moved_after_it_was_looked_at_stays_for_now(three: Archive) -> None:
    def heard(run: Any) -> None:
        run["status"] |= dict.fromkeys(("stillFiring", "recurred"), rfc3339(three.clock.now()))

    def meanwhile(write: Write, _: Any) -> str:
        if write.verb == "patch" and "stillFiring" not in three.run(1)["status"]:
            three.cluster.change(ObjectRef.to(three.run(1), RUN), heard)
        return ""

    three.cluster.refuse_when(meanwhile)

    assert await three.sweep() == 0
    assert three.numbers() == [1, 2, 3]
    assert await three.sweep() == 2


async def test_a_run_whose_people_have_to_be_told_stays_until_they_were(three: Archive) -> None:
    ref = ObjectRef.to(three.run(1), RUN)

    def note(name: str) -> None:
        three.cluster.change(ref, lambda run: run["status"].update({name: rfc3339(three.clock.now())}))

    note("stillFiring")
    assert await three.sweep() == 1
    assert three.numbers() == [1, 3]

    note("recurred")
    three.clock.advance(timedelta(hours=2))
    assert await three.sweep() == 1
    assert three.numbers() == [3]


async def test_a_newest_run_that_is_open_takes_nothing_over(archive: Archive) -> None:
    archive.known.put(a_policy(succeeded=0))
    superseded = ended(2, archive.ago(days=2), outcome="Superseded")
    archive.cluster.add(ended(1, archive.ago(days=3)), superseded, ended(3, archive.ago(days=1), outcome=None))

    archive.known.put(a_policy(succeeded=0, failed=0))
    await archive.sweep()

    assert archive.numbers() == [1, 3], "what answers nothing goes all the same"


async def test_what_does_not_fit_stays_until_it_is_silent_and_is_not_asked_for_again_at_once(archive: Archive) -> None:
    archive.known.put(a_policy(succeeded=0))
    many = [an_alert(f"{run}-{n}") for run in "ab" for n in range(MAX_IDENTITIES // 2 + 1)]
    archive.cluster.add(
        ended(1, archive.ago(days=2), alerts=many[: len(many) // 2]),
        ended(2, archive.ago(days=2), alerts=many[len(many) // 2 :]),
        ended(3, archive.ago(days=1)),
    )
    await archive.sweep()
    assert archive.numbers() == [2, 3]
    calls = len(archive.cluster.calls)
    await archive.sweep()
    assert len(archive.cluster.calls) == calls

    archive.clock.advance(timedelta(days=8))
    await archive.sweep()

    assert archive.numbers() == [3]


async def test_a_record_that_is_nearly_full_takes_nothing_over_that_would_pass_its_budget(archive: Archive) -> None:
    archive.known.put(a_policy(succeeded=0))
    line = {"at": rfc3339(archive.ago(days=1)), "what": "known", "message": "x" * 1_000}
    archive.cluster.add(
        ended(1, archive.ago(days=3), alerts=[an_alert(str(n)) for n in range(MAX_IDENTITIES)]),
        ended(2, archive.ago(days=2)),
        ended(3, archive.ago(days=1), status={"timeline": [line] * 56}),
    )

    assert await archive.sweep() == 1

    assert archive.numbers() == [1, 3]
    assert size_of(Run.parse(archive.run(3))) <= STATUS_BYTES


@pytest.mark.parametrize("number", [1, 2])
async def test_what_a_damaged_record_answers_is_not_given_up(archive: Archive, number: int) -> None:
    archive.known.put(a_policy(succeeded=0))
    damaged = {"covered": [{"heardAt": rfc3339(archive.ago(days=3)), "identities": "nonsense"}]}
    status = {number: damaged}
    archive.cluster.add(*(ended(n, archive.ago(days=3 - n), status=status.get(n)) for n in (1, 2)))

    assert await archive.sweep() == 0


async def test_what_is_needed_is_not_deleted(archive: Archive) -> None:
    owed = {"debts": [{"token": "t", "step": "raise", "kind": "TTL", "state": "Owed"}]}
    archive.known.put(a_policy(succeeded=0, keepFor="2h"))
    archive.cluster.add(ended(1, archive.ago(days=90), status=owed), ended(2, archive.ago(days=2)))

    assert await archive.sweep() == 0


@pytest.mark.parametrize(
    "held",
    [
        lambda archive: setattr(archive.known, "is_complete", False),
        lambda archive: archive.switch.heard("ADDED", switch_object(NAMESPACE, "why", "alice")),
        lambda archive: archive.known.put(a_policy(succeeded="many")),
    ],
    ids=["not all policies are read", "everything is suspended", "the policy cannot be read"],
)
async def test_what_is_not_known_deletes_nothing(three: Archive, held: Callable[[Archive], None]) -> None:
    held(three)

    assert await three.sweep() == 0


async def test_nothing_is_deleted_before_every_run_was_seen(three: Archive) -> None:
    for obj in three.cluster.objects(RUN):
        three.stored.changed("ADDED", obj)

    assert await three.retention.sweep() == 0


async def test_a_policy_that_is_not_ready_keeps_what_it_says(three: Archive) -> None:
    known = three.known.get(POLICY, ("shop", "queue"))
    assert isinstance(known, Definition)
    assert known.policy is None

    assert await three.sweep() == 2


async def test_a_silent_newest_goes_when_its_target_is_gone(archive: Archive) -> None:
    archive.cluster.add(ended(1, archive.ago(days=8)))

    assert await archive.sweep() == 0, "who has just begun has heard nothing yet"
    await archive.listen()
    assert await archive.sweep() == 1
    assert archive.metrics.deleted.labels(reason=Why.FORGOTTEN)._value.get() == 1


async def test_a_silent_newest_stays_while_its_target_is_there_and_is_looked_at_once_a_day(archive: Archive) -> None:
    archive.cluster.add(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "shop", "name": "checkout"}}
    )
    archive.cluster.add(ended(1, archive.ago(days=8)))
    await archive.listen()

    for _ in range(3):
        assert await archive.sweep() == 0

    assert [call.resource for call in archive.cluster.calls] == ["deployments"]
    archive.clock.advance(timedelta(days=1))
    await archive.sweep()
    assert [call.resource for call in archive.cluster.calls] == ["deployments"] * 2


async def test_a_target_that_cannot_be_read_is_taken_for_being_there(archive: Archive) -> None:
    archive.cluster.add(ended(1, archive.ago(days=8)))
    archive.cluster.fail_next(1, Forbidden("no"), verb="get")
    await archive.listen()

    assert await archive.sweep() == 0


async def test_an_alert_that_was_sent_again_keeps_the_newest(archive: Archive) -> None:
    archive.cluster.add(ended(1, archive.ago(days=30), status={"stillFiring": rfc3339(archive.ago(days=1))}))
    await archive.listen()

    assert await archive.sweep() == 0


async def test_a_policy_that_is_gone_takes_its_silent_runs_along_but_not_at_once(archive: Archive) -> None:
    archive.known.policies.clear()
    archive.cluster.add(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "shop", "name": "checkout"}}
    )
    archive.cluster.add(ended(1, archive.ago(days=8)), ended(1, archive.ago(days=2), target=CHECKOUT, policy="other"))
    await archive.listen()
    assert await archive.sweep() == 0

    archive.clock.advance(timedelta(seconds=ABSENT_SECONDS))

    assert await archive.sweep() == 1
    assert len(archive.cluster.objects(RUN)) == 1


async def test_runs_by_hand_go_without_a_policy(archive: Archive) -> None:
    archive.cluster.add(*(by_hand(f"by-hand-{n:02}", archive.ago(days=n + 1)) for n in range(25)))

    assert await archive.sweep() == 5
    assert [obj["metadata"]["name"] for obj in archive.cluster.objects(RUN)][-1] == "by-hand-19"


async def test_more_runs_than_max_runs_go_and_somebody_is_told() -> None:
    archive = Archive(most=2)
    archive.cluster.add(*(ended(n, archive.ago(days=10 - n)) for n in range(1, 6)))

    assert await archive.sweep() == 3

    assert archive.numbers() == [4, 5]
    (event,) = archive.events.recorded
    assert (event.reason, event.message) == (
        "RunsOverLimit",
        "5 runs that have ended are stored, and max_runs is 2: the oldest go",
    )


async def test_more_newest_runs_than_max_runs_stay_and_somebody_is_told() -> None:
    archive = Archive(most=2)
    refs = [ObjectRef.of("Deployment", "shop", f"t-{n}") for n in range(4)]
    archive.cluster.add(*(ended(1, archive.ago(days=10), target=ref) for ref in refs))

    assert await archive.sweep() == 0
    assert await archive.sweep() == 0

    (event,) = archive.events.recorded
    assert event.message.endswith("all others are the newest of their targets")


async def test_a_policy_of_many_targets_keeps_a_run_of_each(archive: Archive) -> None:
    archive.known.put(a_policy(succeeded=0, failed=0, keepFor="2h"))
    refs = [ObjectRef.of("Deployment", "shop", f"t-{n:04}") for n in range(100)]
    archive.cluster.add(*(ended(7, archive.ago(days=10), target=ref) for ref in refs))

    assert await archive.sweep() == 0


async def test_a_sweep_is_bounded_and_paced(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_IN_A_SWEEP", 40)
    archive.known.put(a_policy(failed=0))
    archive.cluster.add(*(ended(n, archive.ago(days=2), outcome="TargetGone") for n in range(1, 52)))
    began = archive.clock.boot_seconds()

    assert await archive.sweep() == 40

    assert archive.clock.boot_seconds() - began >= 40 * retention.PAUSE_SECONDS, "no more than a few a second"
    assert await archive.sweep() == 10


async def test_evidence_expires_where_only_the_alerts_need_the_run(archive: Archive) -> None:
    archive.known.put(a_policy(succeeded=0))
    archive.cluster.add(
        ended(1, archive.ago(days=2), status={"attempts": [{"number": 1, "evidence": "crash-1"}, {"number": 2}]}),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": "crash-1"}},
    )

    assert await archive.sweep() == 0
    await archive.sweep()

    assert not archive.cluster.has(ObjectRef.of("ConfigMap", "shop", "crash-1"))
    assert "evidenceExpired" in archive.run(1)["status"]
    assert writes(archive) == ["patch 1"]


async def test_words_to_a_run_go_with_it_and_words_to_others_stay(archive: Archive) -> None:
    made = archive.cluster.add(by_hand("one", archive.ago(days=60)), by_hand("two", archive.ago(days=60)))
    uid = made["metadata"]["uid"]
    for n, to in enumerate([uid, "an-earlier-run-of-that-name"]):
        spec = {"runRef": {"name": "two", "uid": to}, "type": "Stop", "user": "alice"}
        meta = {"namespace": "shop", "name": f"stop-{n}"}
        stored = archive.cluster.add(
            {"apiVersion": REPLY.api_version, "kind": REPLY.kind, "metadata": meta, "spec": spec}
        )
        archive.replies.changed("ADDED", stored)

    assert await archive.sweep() == 2

    assert [obj["metadata"]["name"] for obj in archive.cluster.objects(REPLY)] == ["stop-1"]


async def test_a_lease_that_a_dead_process_left_to_the_run_is_given_back_with_what_was_changed(
    archive: Archive,
) -> None:
    begun = archive.ago(days=60, minutes=10)
    step = {
        "name": "raise",
        "action": "setEnv",
        "target": {"kind": "Deployment", "namespace": "shop", "name": "checkout", "uid": "u"},
        "change": {"kind": "patch"},
        "state": "Done",
        "token": "t",
        "startedAt": rfc3339(begun),
    }
    attempt = {"number": 1, "remedy": "bigger", "lockedAt": rfc3339(begun), "steps": [step]}
    made = archive.cluster.add(by_hand("one", archive.ago(days=60), attempts=[attempt]))
    uid: Any = made["metadata"]["uid"]
    note = PastChange("shop/queue", "bigger", "shop/one", uid, begun, made=(begun,))
    name = lease_name(CHECKOUT)
    await archive.locks.acquire(name, holder="shop/one", holder_uid=uid, target=CHECKOUT, now=begun, note=note)

    assert await archive.sweep() == 1

    state = await archive.locks.read(name)
    assert state.holder_uid == ""
    assert [(past.outcome, past.run_uid) for past in state.changes] == [("Done", uid)]


async def test_it_goes_on_after_the_api_server_was_away(three: Archive) -> None:
    three.look()
    three.cluster.fail_next(3, Unavailable("away"))
    slept = 0

    async def until_swept(seconds: float) -> None:
        nonlocal slept
        if seconds < SWEEP_SECONDS / 2:
            return
        slept += 1
        three.look()
        if three.numbers() == [3] or slept > 10:
            raise NotFound("the test has seen enough")

    three.clock.sleep = until_swept
    with pytest.raises(NotFound):
        await three.retention.keep()

    assert three.numbers() == [3]
    assert slept > 2


async def test_who_may_not_delete_leaves_the_runs_and_tries_later(three: Archive) -> None:
    three.cluster.forbid("", "delete", "runbookruns")
    assert await three.sweep() == 0
    calls = len(three.cluster.calls)
    assert await three.sweep() == 0
    assert len(three.cluster.calls) == calls

    three.clock.advance(timedelta(seconds=STAYS_SECONDS))
    await three.sweep()

    assert len(three.cluster.calls) > calls


async def test_somebody_elses_write_is_a_conflict_and_the_next_sweep_sees_it(three: Archive) -> None:
    three.cluster.fail_next(1, Conflict("moved"), verb="patch")

    assert await three.sweep() == 0
    assert await three.sweep() == 2
