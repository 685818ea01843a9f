"""A seed is its schedule, every fault can be chosen and carried out, and what happened is added up."""

import pytest

from chaos.__main__ import arguments, seeds
from chaos.breaking import MOODS, OTHERS, WEATHER
from chaos.etcd import decoded
from chaos.schedule import FIXED, LAYERS, Fault, schedule
from chaos.shops import OF_A_SHOP
from chaos.sources import Signal
from chaos.table import table
from remediator.domain.alerts import fingerprint_of

NAMESPACES = ("a", "b", "c")


def test_a_seed_is_its_schedule() -> None:
    assert schedule(7, NAMESPACES) == schedule(7, NAMESPACES)
    assert schedule(7, NAMESPACES) != schedule(8, NAMESPACES)


def test_other_faults_leave_what_is_sent_as_it_is() -> None:
    given = schedule(7, NAMESPACES, only=[Fault.KILL])
    assert given.sendings == schedule(7, NAMESPACES).sendings
    assert [breaking.fault for breaking in given.breakings] == [Fault.KILL]


def test_every_fault_is_chosen_by_some_seed_and_belongs_to_one_layer() -> None:
    chosen = {breaking.fault for seed in range(200) for breaking in schedule(seed, NAMESPACES).breakings}
    assert chosen == set(Fault)
    assert sorted(fault for layer in LAYERS for fault in layer) == sorted(Fault)


def test_the_fixed_seeds_hold_every_fault() -> None:
    assert {fault for faults in FIXED.values() for fault in faults} == set(Fault)


def test_every_fault_can_be_carried_out_in_one_way() -> None:
    ways = [*WEATHER, *MOODS, *OTHERS, Fault.WATCHES_CUT]
    assert sorted(ways) == sorted(Fault)


def test_seeds_bring_every_kind_of_alert() -> None:
    shops = [shop for seed in range(40) for shop in schedule(seed, NAMESPACES).shops]
    assert {shop.story for shop in shops} == set(OF_A_SHOP)
    assert {shop.has_rival for shop in shops} == {True, False}
    assert {len(shop.fires) for shop in shops} == {1, 3}, "some come and go"
    assert {shop.fires[-1][1] < 1e6 for shop in shops} == {True, False}, "some are over by themselves"


def test_both_alertmanagers_tell_of_every_begin() -> None:
    plan = schedule(3, NAMESPACES)
    told = {
        (one.alertmanager, shop.name, number) for one in plan.sendings for shop, number, firing in one.alerts if firing
    }
    assert told == {(am, shop.name, n) for am in range(2) for shop in plan.shops for n in range(len(shop.fires))}


def test_an_alert_has_the_fingerprint_that_prometheus_gives_it() -> None:
    signal = Signal("QueueCured", "shop", "s1-0", 1_780_000_000)
    assert signal.fingerprint == fingerprint_of(signal.labels)


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


def test_a_deployment_is_read_from_what_etcd_holds() -> None:
    annotation = field(12, field(1, b"remediator.dev/step") + field(2, b"c0ffee"))
    metadata = field(1, b"checkout") + field(3, b"shop") + field(5, b"uid-1") + bytes([7 << 3, 3]) + annotation
    stored = b"k8s\x00" + field(1, field(2, b"Deployment")) + field(2, field(1, metadata) + field(2, b"spec"))

    assert decoded(stored)["metadata"] == {
        "name": "checkout",
        "namespace": "shop",
        "uid": "uid-1",
        "annotations": {"remediator.dev/step": "c0ffee"},
    }
    assert decoded(stored)["spec"] != decoded(stored.replace(b"spec", b"Spec"))["spec"]


def test_a_kind_of_ours_is_read_as_json() -> None:
    assert decoded(b'{"metadata": {"name": "queue-1"}}') == {"metadata": {"name": "queue-1"}}


def test_the_table_counts_what_met_something_in_flight() -> None:
    hit = {"fault": "KILL", "at": 1.0, "in_flight": 3}
    idle = {"fault": "KILL", "at": 1.0, "in_flight": 0}
    numbers = {"alerts": 5, "accepted": 4, "runs": 2, "changes": 2}
    said = table(
        [
            {"seed": 1, "hits": [hit], "findings": [], **numbers},
            {"seed": 2, "hits": [idle], "findings": ["one step was carried out twice: x"], **numbers},
            {"seed": 3, "broken": "it did not start"},
        ]
    ).splitlines()

    (kills,) = [line.split() for line in said if line.startswith("operator killed  ")]
    assert kills == ["operator", "killed", "2", "1", "3", "1"]
    assert said[-1].startswith("2 seeds: 10 alerts sent, 8 accepted, 4 runs, 4 changes; broken promises: 1; 1 seeds")


@pytest.mark.parametrize(("text", "found"), [("7", [7]), ("3..5", [3, 4, 5])])
def test_seeds_are_a_number_or_a_range(text: str, found: list[int]) -> None:
    assert list(seeds(text)) == found


@pytest.mark.parametrize("text", ["", "a", "5..3", "1..", "..4"])
def test_anything_else_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--seeds", text])
    assert "--seeds" in capsys.readouterr().err
