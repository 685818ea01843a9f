import pytest
from pydantic import ValidationError

from remediator.actions.effects import carry_out
from remediator.actions.remediation.set_env import SetEnv, SetEnvParameters
from remediator.domain.changes import Patch
from remediator.domain.json import dig
from remediator.domain.outcomes import Succeeded
from remediator.domain.verdicts import Refusal
from remediator.testing import NOON, FakeCluster
from unit.actions.world import CHECKOUT, shop, target

SIDECAR = {"name": "proxy", "image": "proxy:1"}


async def plan(cluster: FakeCluster, **given: object) -> Patch:
    parameters = SetEnvParameters.model_validate(given)
    return await SetEnv().plan(parameters, target(cluster), cluster.get(CHECKOUT), cluster, now=NOON)


def env(cluster: FakeCluster, container: int = 0) -> object:
    return dig(cluster.get(CHECKOUT), "spec", "template", "spec", "containers", container, "env")


async def test_several_variables_are_one_patch() -> None:
    cluster = shop()

    change = await plan(cluster, vars={"QUEUE": "500", "RETRIES": 5})
    await carry_out(change, cluster, run="shop/r", token="t1")
    cluster.tick()

    assert env(cluster) == [{"name": "QUEUE", "value": "500"}, {"name": "RETRIES", "value": "5"}]
    assert len(cluster.writes) == 1
    assert isinstance(await SetEnv().poll(change, cluster, token="t1", started=NOON, now=NOON), Succeeded)


async def test_undone_it_leaves_the_variables_as_they_were() -> None:
    cluster = shop()
    before = env(cluster)
    change = await plan(cluster, vars={"QUEUE": "500", "RETRIES": "5"})
    await carry_out(change, cluster, run="shop/r", token="t1")

    await carry_out(change.reversed, cluster, run="shop/r", token="u1")

    assert env(cluster) == before


async def test_what_is_already_so_is_left_alone() -> None:
    change = await plan(shop(), vars={"QUEUE": {"value": "200", "from": "100"}})

    assert change.is_empty
    assert not change.replaces_pods


async def test_a_container_must_be_named_where_there_are_several() -> None:
    cluster = shop(more=(SIDECAR,))

    with pytest.raises(Refusal, match="name one: app, proxy"):
        await plan(cluster, vars={"A": "1"})
    change = await plan(cluster, container="proxy", vars={"A": "1"})
    await carry_out(change, cluster, run="shop/r", token="t1")

    assert env(cluster, 1) == [{"name": "A", "value": "1"}]


async def test_an_unknown_container_is_refused_with_those_there_are() -> None:
    with pytest.raises(Refusal, match="no container web; it has: app"):
        await plan(shop(), container="web", vars={"A": "1"})


async def test_an_unexpected_value_is_refused() -> None:
    with pytest.raises(Refusal, match="QUEUE holds '200'; this step expects '100'"):
        await plan(shop(), vars={"QUEUE": {"value": "500", "from": "100"}})


async def test_a_missing_variable_does_not_hold_the_expected_value() -> None:
    with pytest.raises(Refusal, match="RETRIES is not there"):
        await plan(shop(), vars={"RETRIES": {"value": "5", "from": "3"}})


async def test_an_unexpected_value_can_be_passed_over() -> None:
    change = await plan(shop(), vars={"QUEUE": {"value": "500", "from": "100", "onMismatch": "Skip"}, "A": "1"})

    assert [str(edit.path).rpartition("=")[2] for edit in change.edits] == ["A]"]


@pytest.mark.parametrize("name", ["DB_PASSWORD", "API_KEY", "GITHUB_TOKEN", "CLIENT_SECRET"])
async def test_a_name_that_looks_secret_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="looks like a secret"):
        await plan(shop(), vars={name: "x"})


async def test_a_variable_whose_value_comes_from_elsewhere_is_refused() -> None:
    cluster = shop()
    cluster.change(
        CHECKOUT,
        lambda obj: obj["spec"]["template"]["spec"]["containers"][0].update(
            env=[{"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]
        ),
    )

    with pytest.raises(Refusal, match="comes from elsewhere"):
        await plan(cluster, vars={"HOST": "x"})


async def test_a_variable_without_a_value_gets_one() -> None:
    cluster = shop()
    cluster.change(
        CHECKOUT, lambda obj: obj["spec"]["template"]["spec"]["containers"][0].update(env=[{"name": "EMPTY"}])
    )

    change = await plan(cluster, vars={"EMPTY": "1"})
    await carry_out(change, cluster, run="shop/r", token="t1")

    assert env(cluster) == [{"name": "EMPTY", "value": "1"}]


@pytest.mark.parametrize(
    "given", [{"vars": {}}, {"vars": {"A": True}}, {"vars": {"A": 0.5}}, {"vars": {"1 A": "x"}}, {}]
)
def test_what_is_no_set_of_variables_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SetEnvParameters.model_validate(given)
