"""When so many episodes begin at once that everything new is held, and who is told."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from known import Given
from remediator.domain.alerts import Alert
from remediator.domain.json import Object, dig
from remediator.domain.names import key_hash
from remediator.domain.objects import GUARDRAIL, ObjectRef
from remediator.domain.runs import RunOutcome, StepState, rfc3339
from remediator.domain.storms import DEFAULT_RULE, Storm, StormRule, storm_of
from remediator.domain.verdicts import Allow, Reason, Wait
from remediator.engine.alertsets import opening
from remediator.engine.flow import next_move
from remediator.engine.guards import BEFORE_CHANGE, BEFORE_RUN, Question, RunQuestion, first_objection
from remediator.engine.moves import Diagnose, Hold
from remediator.handlers.accounts import Accounts
from remediator.handlers.announce import Announcer
from remediator.handlers.definitions import Definitions
from remediator.handlers.metrics import StormMetrics
from remediator.handlers.readiness import COUNTERS_SECONDS, Readiness
from remediator.handlers.run_index import RunIndex
from remediator.handlers.storms import Storms, StormTeller
from remediator.testing.clock import NOON, StoppedClock
from remediator.testing.cluster import FakeCluster
from remediator.testing.fakes import FakeEvents, FakeNotifier
from remediator.testing.world import World as WholeWorld
from worlds import NOON as LOOKED_AT
from worlds import facts, fence, run, step

THREE = StormRule(episodes=3, within=timedelta(minutes=5), calm=timedelta(minutes=10))


def ago(*minutes: float) -> list[datetime]:
    return [NOON - timedelta(minutes=each) for each in sorted(minutes, reverse=True)]


# the rule


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        ([], None),
        (ago(1, 2), None),
        (ago(1, 2, 7), None),
        (ago(1, 2, 6), (1, -9)),
        (ago(1, 1, 1), (1, -9)),
        (ago(10, 11, 12), None),
        (ago(9, 11, 12), (9, -1)),
        (ago(1, 2, 3, 4), (2, -9)),
        (ago(1, 2, 3, 9, 10, 11), (9, -9)),
        (ago(1, 2, 3, 14, 15, 16), (1, -9)),
    ],
    ids=[
        "no run at all",
        "too few",
        "too far apart",
        "just within the time",
        "all in one moment",
        "over since a moment",
        "nearly over",
        "it goes on with each run that makes a burst full",
        "bursts nearer to each other than the calm are one storm",
        "a calm between two bursts makes them two storms",
    ],
)
def test_a_storm_is_made_out_from_when_runs_began(begun: list[datetime], expected: tuple[int, int] | None) -> None:
    since_and_until = tuple(NOON - timedelta(minutes=each) for each in expected) if expected is not None else None

    storm = storm_of("production", THREE, begun, NOON)

    assert (None if storm is None else (storm.since, storm.until)) == since_and_until


def test_every_single_run_is_a_storm_if_one_is_too_many() -> None:
    storm = storm_of("", StormRule(episodes=1), ago(3), NOON)

    assert storm is not None
    assert storm.until == NOON + timedelta(minutes=7)


@given(st.lists(st.integers(min_value=0, max_value=2400), max_size=40), st.integers(min_value=1, max_value=6))
@settings(deadline=None)
def test_a_storm_goes_on_exactly_while_a_full_burst_is_younger_than_the_calm(seconds: list[int], episodes: int) -> None:
    rule = StormRule(episodes=episodes, within=timedelta(minutes=5), calm=timedelta(minutes=10))
    begun = sorted(NOON - timedelta(seconds=each) for each in seconds)
    full = [last for first, last in zip(begun, begun[episodes - 1 :], strict=False) if last - first <= rule.within]

    storm = storm_of("", rule, begun, NOON)

    assert (storm is not None) == any(moment + rule.calm > NOON for moment in full)
    assert storm is None or storm.until == full[-1] + rule.calm


# the guard

STORM = Storm("production", THREE, LOOKED_AT - timedelta(minutes=3), LOOKED_AT + timedelta(minutes=8))
NEW_ROUND = run(status={"attempts": [{"number": 1}]})


def test_a_run_that_a_storm_holds_looks_at_nothing_and_goes_on_by_itself() -> None:
    stood, move = next_move(NEW_ROUND, facts(storms=(STORM,)))

    assert move == Hold(STORM.until)
    assert stood.status.held is not None
    assert stood.status.held.reason == Reason.STORM
    assert next_move(stood, facts(now=STORM.until))[1] == Diagnose()


def test_a_first_change_waits_for_the_end_of_the_storm_that_ends_last() -> None:
    longer = Storm("", DEFAULT_RULE, LOOKED_AT, LOOKED_AT + timedelta(minutes=9))

    verdict = first_objection(BEFORE_CHANGE, Question(run(), step(), facts(storms=(STORM, longer))))

    assert verdict == Wait(Reason.STORM, longer.sentence, longer.until)
    assert "in the cluster: the default rule holds what alerts began" in longer.sentence


def test_a_remedy_that_has_begun_is_finished_in_a_storm() -> None:
    begun = (
        run()
        .status.attempts[0]
        .model_copy(update={"steps": [step(state=StepState.DONE, started_at=LOOKED_AT), step()]})
    )
    made = run(status={"attempts": [begun.as_json()]})

    assert first_objection(BEFORE_CHANGE, Question(made, step(), facts(storms=(STORM,)))) == Allow()


def test_a_run_that_a_person_asked_for_is_not_held() -> None:
    by_hand = run(status={"attempts": [{"number": 1}]}, episode=None, policyRef=None)

    assert first_objection(BEFORE_RUN, RunQuestion(by_hand, facts(storms=(STORM,)))) == Allow()


async def test_a_held_run_posts_no_event_of_its_own() -> None:
    stood, _ = next_move(NEW_ROUND, facts(storms=(STORM,)))
    suspended, _ = next_move(NEW_ROUND, facts(fence=fence("setEnv", suspend=True)))
    world = WholeWorld(Given())

    await Announcer(world.outside).progressed(NEW_ROUND, stood)
    assert world.events.recorded == []
    await Announcer(world.outside).progressed(NEW_ROUND, suspended)
    assert world.events.recorded != []


# what the operator makes of it


def a_run(number: int, namespace: str = "shop", at: datetime = NOON, held: str = "", outcome: str = "") -> Any:
    target = ObjectRef.of("Deployment", namespace, f"app-{number}")
    alert = Alert("a", "firing", {"alertname": "X"}, {}, NOON)
    status: Any = {**({"held": {"reason": held}} if held else {}), **({"outcome": outcome} if outcome else {})}
    return {
        "metadata": {
            "namespace": namespace,
            "name": f"down-{number}",
            "uid": f"{namespace}-{number}",
            "resourceVersion": "100",
            "creationTimestamp": rfc3339(at),
        },
        "spec": {
            "policyRef": {"namespace": namespace, "name": "down", "uid": "p", "generation": 1},
            "target": {"kind": "Deployment", "namespace": namespace, "name": target.name},
            "episode": {
                "key": key_hash(namespace, "down", target),
                "number": 1,
                "alerts": opening((alert,), NOON)[0].as_json(),
            },
        },
        "status": status,
    }


def guardrail(name: str, env: str, **storm: Any) -> Object:
    spec: Any = {"namespaceSelector": {"matchLabels": {"env": env}}, "storm": storm}
    return {"apiVersion": GUARDRAIL.api_version, "kind": "Guardrail", "metadata": {"name": name}, "spec": spec}


class World:
    """Namespaces shop and bank in production, lab outside of it."""

    def __init__(self, *guardrails: Object) -> None:
        self.clock = StoppedClock()
        self.cluster = FakeCluster(self.clock)
        for namespace, env in (("shop", "prod"), ("bank", "prod"), ("lab", "none"), ("remediator-system", "none")):
            self.cluster.add_namespace(namespace, {"env": env})
        for one in guardrails:
            self.cluster.add(one)
        self.index = RunIndex(self.clock)
        self.definitions = Definitions(self.clock, operator_namespace="remediator-system", can_ask=True)
        accounts = Accounts(self.cluster, self.clock, operator_namespace="remediator-system")
        self.readiness = Readiness(self.definitions, self.cluster, FakeNotifier(), self.clock, accounts)
        self.events = FakeEvents()
        self.registry = CollectorRegistry()
        self.storms = Storms(self.index, self.definitions, self.clock)
        self.teller = StormTeller(
            self.storms,
            self.definitions,
            self.events,
            StormMetrics(self.registry),
            self.clock,
            self.readiness.note_storm,
            operator_namespace="remediator-system",
        )

    async def begin(self, count: int, namespace: str = "shop", **run_fields: Any) -> None:
        await self.definitions.load(self.cluster)
        await self.index.changed("SYNCED", {})
        for _ in range(count):
            at = {"at": self.clock.now(), **run_fields}
            await self.index.changed("ADDED", a_run(len(self.index) + 1, namespace, **at))

    def holds(self, namespace: str) -> list[str]:
        storms = self.storms.over(namespace)
        assert storms is not None
        return [storm.guardrail for storm in storms]

    def gauge(self, name: str, guardrail_name: str) -> float | None:
        return self.registry.get_sample_value(name, {"guardrail": guardrail_name})


PRODUCTION = guardrail("production", "prod", episodes=3)


async def test_episodes_are_counted_over_all_namespaces_that_the_guardrail_selects() -> None:
    world = World(PRODUCTION)
    await world.begin(2, "shop")
    await world.begin(20, "lab")
    assert world.holds("shop") == []

    await world.begin(1, "bank")

    assert world.holds("shop") == world.holds("bank") == ["production"]
    assert world.holds("lab") == []


async def test_where_no_guardrail_has_a_rule_the_default_counts_in_the_whole_cluster() -> None:
    world = World(guardrail("production", "prod", episodes=1000))
    await world.begin(30, "shop")
    await world.begin(19, "lab")
    assert world.holds("lab") == []

    await world.begin(1, "lab")

    assert world.holds("lab") == [""]
    assert world.holds("shop") == []


async def test_a_storm_is_over_by_itself_and_one_run_more_makes_no_other() -> None:
    world = World(PRODUCTION)
    await world.begin(3)
    world.clock.advance(timedelta(minutes=10))
    assert world.holds("shop") == []

    await world.begin(1)

    assert world.holds("shop") == []


async def test_a_restart_in_a_storm_finds_it_again() -> None:
    world = World(PRODUCTION)
    await world.begin(3)
    before = world.storms.over("shop")

    assert Storms(world.index, world.definitions, world.clock).over("shop") == before != ()


async def test_before_all_runs_were_seen_nobody_knows_of_a_storm() -> None:
    world = World(PRODUCTION)
    await world.definitions.load(world.cluster)

    assert not world.storms.is_known
    assert world.storms.over("shop") is None


async def test_a_run_that_was_deleted_or_seen_twice_counts_as_what_it_is() -> None:
    world = World(PRODUCTION)
    await world.begin(2)
    for _ in range(5):
        await world.index.changed("MODIFIED", {**a_run(1), "status": {"outcome": "Done"}})
    assert world.holds("shop") == []
    await world.begin(1)
    assert world.holds("shop") == ["production"]

    await world.index.changed("DELETED", a_run(3))

    assert world.holds("shop") == []


async def test_one_event_says_that_a_storm_began_and_one_that_it_is_over() -> None:
    world = World(PRODUCTION)
    await world.begin(3, held=Reason.STORM)
    for _ in range(3):
        await world.teller.tell()
    began = list(world.events.recorded)

    world.clock.advance(timedelta(minutes=10))
    for _ in range(3):
        await world.teller.tell()

    assert [(str(one.about), one.reason, one.warning) for one in world.events.recorded] == [
        ("Guardrail.remediator.dev production", "StormBegan", True),
        ("Guardrail.remediator.dev production", "StormOver", False),
    ]
    assert began[0].message == (
        "3 runs or more began within 5m0s: Guardrail production holds what alerts began until there was no such "
        f"burst for 10m0s; it began at {rfc3339(NOON)}"
    )


async def test_the_default_rule_speaks_on_the_operators_namespace() -> None:
    world = World()
    await world.begin(50, "lab")

    await world.teller.tell()

    assert [(str(one.about), one.reason) for one in world.events.recorded] == [
        ("Namespace remediator-system", "StormBegan")
    ]


async def test_metrics_say_whether_there_is_a_storm_and_how_much_it_holds() -> None:
    world = World(PRODUCTION)
    await world.begin(2, held=Reason.STORM)
    await world.begin(1, held=Reason.STORM, outcome=RunOutcome.NOT_NEEDED)
    await world.begin(1, "lab", held=Reason.STORM)

    await world.teller.tell()
    in_it = world.gauge("remediator_storm", "production"), world.gauge("remediator_storm_held", "production")
    world.clock.advance(timedelta(minutes=10))
    await world.teller.tell()

    assert in_it == (1, 2)
    assert world.gauge("remediator_storm", "production") == world.gauge("remediator_storm_held", "production") == 0
    assert world.gauge("remediator_storm", "(default)") == 0


async def test_the_metrics_of_a_guardrail_that_is_gone_are_gone() -> None:
    world = World(PRODUCTION)
    await world.begin(3)
    await world.teller.tell()

    await world.definitions.saw(
        GUARDRAIL, "DELETED", world.cluster.get(ObjectRef.of("guardrail.remediator.dev", "", "production"))
    )
    await world.teller.tell()

    assert world.gauge("remediator_storm", "production") is None


async def test_the_guardrails_status_says_since_when_until_when_and_how_much_is_held() -> None:
    world = World(PRODUCTION)
    await world.begin(3, held=Reason.STORM)
    await world.teller.tell()
    await world.readiness.write_due()

    def status() -> Any:
        return dig(world.cluster.get(ObjectRef(GUARDRAIL.group, GUARDRAIL.kind, "", "production")), "status", "storm")

    assert status() == {"since": rfc3339(NOON), "until": rfc3339(NOON + timedelta(minutes=10)), "held": 3}

    world.clock.advance(timedelta(minutes=10))
    await world.teller.tell()
    world.clock.advance(timedelta(seconds=COUNTERS_SECONDS))
    await world.readiness.write_due()

    assert status() is None


async def test_since_when_a_long_storm_goes_on_is_found_however_long_that_is() -> None:
    world = World(PRODUCTION)
    for minutes in range(0, 300, 2):
        await world.begin(1, at=NOON + timedelta(minutes=minutes))
    world.clock.advance(timedelta(minutes=299))

    (storm,) = world.storms.over("shop") or ()

    assert storm.since == NOON + timedelta(minutes=4)


async def test_a_rule_for_centuries_is_a_rule() -> None:
    world = World(guardrail("production", "prod", episodes=1, within="2500000h", calm="2500000h"))
    await world.begin(1)

    assert world.holds("shop") == ["production"]
