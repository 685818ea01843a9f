"""What is read about a target that is no object of the cluster: nothing, which is not the same as "gone"."""

from typing import Any

import pytest

from remediator.actions import registry
from remediator.actions.base import observe
from remediator.domain.objects import ObjectRef, Target
from unit.actions.world import reader, shop

ABOUT_THE_TARGET: list[tuple[str, dict[str, Any]]] = [
    ("describe", {}),
    ("events", {}),
    ("get", {}),
    ("get", {"kind": "Pod", "related": "owned"}),
    ("logs", {}),
    ("rolloutHistory", {}),
    ("top", {}),
]


@pytest.mark.parametrize("kind", ["unresolved", "external"])
@pytest.mark.parametrize(("action", "parameters"), ABOUT_THE_TARGET, ids=str)
async def test_a_target_that_was_not_found_is_not_known_to_be_gone(
    kind: str, action: str, parameters: dict[str, Any]
) -> None:
    nowhere = Target(ObjectRef.of(kind, "shop", "unresolved"), "")

    seen = await observe(
        registry.diagnostic(action), registry.parameters(action).model_validate(parameters), reader(shop(), nowhere)
    )

    assert not seen.output.known
    assert "no object of the cluster" in seen.output.error
