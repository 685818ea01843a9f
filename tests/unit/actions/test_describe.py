import pytest
from pydantic import ValidationError

from remediator.actions.base import observe
from remediator.actions.diagnostics.describe import Describe, DescribeParameters
from unit.actions.world import CHECKOUT, NODE, event, reader, shop


async def test_an_object_shows_its_conditions_facts_and_events() -> None:
    cluster = shop()
    cluster.add(event("a", cluster.get(CHECKOUT), "Deployment", "ScalingReplicaSet", "scaled up"))

    seen = await observe(Describe(), DescribeParameters(), reader(cluster))

    assert seen.output.found
    assert seen.output.conditions["Available"].status == "True"
    assert seen.output.facts["readyReplicas"] == 2
    assert [item.reason for item in seen.output.events] == ["ScalingReplicaSet"]
    assert "Available=True" in seen.evidence


async def test_another_object_of_the_namespace_can_be_named() -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"}}
    cluster = shop({**claim, "status": {"phase": "Pending"}})

    parameters = DescribeParameters(kind="PersistentVolumeClaim", name="data")
    seen = await observe(Describe(), parameters, reader(cluster))

    assert seen.output.facts == {"phase": "Pending"}


async def test_events_of_a_node_are_found_by_its_name() -> None:
    cluster = shop()
    pressure = event("a", {"metadata": {"name": "node-1", "uid": "node-1"}}, "Node", "NodeHasDiskPressure", "full")
    cluster.add({**pressure, "metadata": {"name": "a", "namespace": "default"}})

    seen = await observe(Describe(), DescribeParameters(), reader(cluster, NODE))

    assert [item.reason for item in seen.output.events] == ["NodeHasDiskPressure"]


async def test_what_is_not_there_is_an_answer() -> None:
    seen = await observe(Describe(), DescribeParameters(kind="Service", name="nobody"), reader(shop()))

    assert seen.output.known
    assert not seen.output.found


async def test_secrets_are_not_read() -> None:
    seen = await observe(Describe(), DescribeParameters(kind="Secret", name="x"), reader(shop()))

    assert not seen.output.known


@pytest.mark.parametrize("given", [{"kind": "Pod"}, {"name": "x"}])
def test_kind_and_name_belong_together(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        DescribeParameters.model_validate(given)
