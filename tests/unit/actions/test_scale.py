import pytest
from pydantic import ValidationError

from remediator.actions.effects import carry_out
from remediator.actions.remediation.scale import Scale, ScaleParameters
from remediator.domain.changes import Patch
from remediator.domain.json import dig
from remediator.domain.objects import ObjectRef
from remediator.domain.outcomes import Failed, Running, Succeeded
from remediator.domain.verdicts import Reason, Refusal
from remediator.testing import NOON, FakeCluster
from unit.actions.world import AGENT, CHECKOUT, shop, target, workload

HPA = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "busy", "namespace": "shop"},
    "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}},
}


async def plan(cluster: FakeCluster, ref: ObjectRef = CHECKOUT, **given: object) -> Patch:
    parameters = ScaleParameters.model_validate(given)
    return await Scale().plan(parameters, target(cluster, ref), cluster.get(ref), cluster, now=NOON)


def replicas(cluster: FakeCluster) -> object:
    return dig(cluster.get(CHECKOUT), "spec", "replicas")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"replicas": 5}, 5),
        ({"by": 2}, 4),
        ({"by": 9, "max": 6}, 6),
        ({"replicas": 1, "allowDown": True}, 1),
        ({"replicas": 0, "allowDown": True}, 0),
        ({"by": -5, "min": 1, "allowDown": True}, 1),
    ],
)
async def test_replicas_are_set_within_the_bounds(given: dict[str, object], wanted: int) -> None:
    cluster = shop()

    change = await plan(cluster, **given)
    await carry_out(change, cluster, run="shop/r", token="t1")

    assert replicas(cluster) == wanted
    assert [write.sub for write in cluster.writes] == [""]


@pytest.mark.parametrize(
    "given",
    [
        {"replicas": 1},
        {"by": -1},
        {"replicas": 9, "max": 6},
        {"replicas": 3, "min": 4},
        {"by": 1, "max": 2},
        {"by": 1, "max": 1},
    ],
)
async def test_out_of_bounds_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(Refusal) as refused:
        await plan(shop(), **given)

    assert refused.value.reason is Reason.OUT_OF_BOUNDS


async def test_what_is_already_so_is_left_alone() -> None:
    assert (await plan(shop(), replicas=2)).is_empty


async def test_a_workload_that_was_stopped_is_not_raised_by_a_number() -> None:
    with pytest.raises(Refusal, match="stand still"):
        await plan(shop(replicas=0), by=1)


async def test_where_an_autoscaler_decides_it_is_refused() -> None:
    with pytest.raises(Refusal, match="HorizontalPodAutoscaler busy") as refused:
        await plan(shop(HPA), replicas=5)

    assert refused.value.reason is Reason.MANAGED_ELSEWHERE


async def test_a_daemon_set_has_no_replicas() -> None:
    with pytest.raises(Refusal, match="no number of replicas"):
        await plan(shop(workload("DaemonSet", "agent")), AGENT, replicas=3)


async def test_it_is_done_when_the_replicas_are_available() -> None:
    cluster = shop()
    change = await plan(cluster, replicas=4)
    await carry_out(change, cluster, run="shop/r", token="t1")

    assert isinstance(await Scale().poll(change, cluster, token="t1", started=NOON, now=NOON), Running)
    cluster.tick()
    assert isinstance(await Scale().poll(change, cluster, token="t1", started=NOON, now=NOON), Succeeded)


async def test_it_has_failed_when_somebody_sets_it_back() -> None:
    cluster = shop()
    change = await plan(cluster, replicas=4)
    await carry_out(change, cluster, run="shop/r", token="t1")
    cluster.change(CHECKOUT, lambda obj: obj["spec"].update(replicas=2))

    assert isinstance(await Scale().poll(change, cluster, token="t1", started=NOON, now=NOON), Failed)


async def test_undoing_its_own_raise_may_lower() -> None:
    cluster = shop()
    change = await plan(cluster, replicas=4)
    await carry_out(change, cluster, run="shop/r", token="t1")

    await carry_out(change.reversed, cluster, run="shop/r", token="u1")

    assert replicas(cluster) == 2


@pytest.mark.parametrize("given", [{}, {"replicas": 2, "by": 1}, {"replicas": -1}, {"by": 1, "min": 5, "max": 3}])
def test_what_cannot_be_meant_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ScaleParameters.model_validate(given)
