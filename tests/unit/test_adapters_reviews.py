"""What the API server's reviews are taken for; on a real one, see tests/cluster/test_senders.py."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contract.ports.http_server import Server
from remediator.adapters.kube import KubeApi, access_with_token
from remediator.adapters.reviews import KubeReviews
from remediator.domain.errors import Forbidden, Unavailable
from remediator.ports import User
from remediator.testing import StoppedClock

ALERTMANAGER = User(
    "system:serviceaccount:monitoring:alertmanager", "u-1", ("system:serviceaccounts",), {"pod": ("am-0", "am-1")}
)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def reviews(server: Server) -> AsyncIterator[KubeReviews]:
    async with (
        server.running() as address,
        KubeApi(access_with_token(address, "t0ken"), StoppedClock(), request_seconds=2) as api,
    ):
        yield KubeReviews(api)


def review(**status: Any) -> dict[str, Any]:
    user = {
        "username": ALERTMANAGER.name,
        "uid": ALERTMANAGER.uid,
        "groups": list(ALERTMANAGER.groups),
        "extra": {"pod": ["am-0", "am-1"]},
    }
    return {"status": {"authenticated": True, "user": user, "audiences": ["remediator"], **status}}


async def test_a_token_has_the_user_that_the_api_server_names(server: Server, reviews: KubeReviews) -> None:
    server.answers(201, review())

    assert await reviews.user_of("a.b.c", "remediator") == ALERTMANAGER
    assert server.requests[0].path == "/apis/authentication.k8s.io/v1/tokenreviews"
    assert json.loads(server.bodies[0])["spec"] == {"token": "a.b.c", "audiences": ["remediator"]}


@pytest.mark.parametrize(
    "status",
    [
        {"authenticated": False},
        {"authenticated": "yes"},
        {"audiences": ["somebody-else"]},
        {"audiences": []},
        {"audiences": None},
        {"user": {}},
        {"user": {"groups": ["system:masters"]}},
    ],
    ids=str,
)
async def test_a_token_is_nobodys_unless_all_of_the_review_says_so(
    server: Server, reviews: KubeReviews, status: dict[str, Any]
) -> None:
    server.answers(201, review(**status))

    assert await reviews.user_of("a.b.c", "remediator") is None


async def test_a_token_for_the_api_server_itself_is_asked_about_without_an_audience(
    server: Server, reviews: KubeReviews
) -> None:
    server.answers(201, review(audiences=["https://kubernetes.default.svc"]))

    assert await reviews.user_of("a.b.c", "") == ALERTMANAGER
    assert json.loads(server.bodies[0])["spec"] == {"token": "a.b.c"}


async def test_the_right_is_asked_for_with_everything_that_is_known_of_the_user(
    server: Server, reviews: KubeReviews
) -> None:
    server.answers(201, {"status": {"allowed": True}})

    assert await reviews.may_post(ALERTMANAGER, "/v1/alerts")
    assert server.requests[0].path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert json.loads(server.bodies[0])["spec"] == {
        "user": ALERTMANAGER.name,
        "uid": "u-1",
        "groups": ["system:serviceaccounts"],
        "extra": {"pod": ["am-0", "am-1"]},
        "nonResourceAttributes": {"path": "/v1/alerts", "verb": "post"},
    }


@pytest.mark.parametrize("status", [{}, {"allowed": False}, {"allowed": 1}, {"denied": True, "evaluationError": "x"}])
async def test_what_is_not_permitted_is_not(server: Server, reviews: KubeReviews, status: dict[str, Any]) -> None:
    server.answers(201, {"status": status})

    assert not await reviews.may_post(ALERTMANAGER, "/v1/alerts")


async def test_an_authorizer_that_could_not_be_asked_has_not_said_no(server: Server, reviews: KubeReviews) -> None:
    server.answers(201, {"status": {"allowed": False, "evaluationError": "webhook timed out"}})

    with pytest.raises(Unavailable):
        await reviews.may_post(ALERTMANAGER, "/v1/alerts")


@pytest.mark.parametrize(("status", "error"), [(403, Forbidden), (500, Unavailable)])
async def test_a_review_that_was_not_made_is_no_answer(
    server: Server, reviews: KubeReviews, status: int, error: type[Exception]
) -> None:
    server.answers(status, {"kind": "Status", "message": 'tokenreviews is forbidden: User "operator" cannot create'})

    with pytest.raises(error):
        await reviews.user_of("a.b.c", "remediator")
