"""Who is let in, by what, and what becomes of it when nobody can tell."""

import asyncio
import re
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from remediator.domain.errors import Forbidden, RemediatorError, Unavailable
from remediator.handlers.bearer import Tokens
from remediator.handlers.reviewed import MOST_TOKEN_CHARACTERS, REMEMBERED, ReviewedTokens
from remediator.handlers.senders import Admitted, Senders, TurnedAway
from remediator.ports import User
from remediator.testing import StoppedClock

TOKEN = "t0ken-of-the-test"
ALERTMANAGER = "aaa.bbb.ccc"
STRANGER = "aaa.bbb.ddd"
NOBODY = "aaa.bbb.eee"


@dataclass
class FakeReviews:
    """An API server that knows two users, of whom one may send."""

    users: dict[str, str] = field(default_factory=lambda: {ALERTMANAGER: "alertmanager", STRANGER: "stranger"})
    permitted: set[str] = field(default_factory=lambda: {"alertmanager"})
    asked: list[str] = field(default_factory=list)
    failure: RemediatorError | None = None
    at_once: int = 0
    most_at_once: int = 0

    async def user_of(self, token: str, audience: str) -> User | None:
        assert audience == "remediator"
        self.asked.append(token)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.failure is not None:
            raise self.failure
        return User(self.users[token]) if token in self.users else None

    async def may_post(self, user: User, path: str) -> bool:
        assert path == "/v1/alerts"
        return user.name in self.permitted


@dataclass
class World:
    clock: StoppedClock
    reviews: FakeReviews
    senders: Senders

    async def status(self, authorization: str, *names: str) -> int:
        judged = await self.senders.judge(authorization, names)
        return 200 if isinstance(judged, Admitted) else judged.status


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "token").write_text(TOKEN)
    return world_with(str(tmp_path))


def world_with(path: str) -> World:
    clock, reviews = StoppedClock(), FakeReviews()
    reviewed = ReviewedTokens(reviews, clock, audience="remediator")
    return World(clock, reviews, Senders(Tokens(path, clock), reviewed, {"alertmanager.monitoring.svc"}))


@pytest.mark.parametrize(
    ("authorization", "names", "expected"),
    [
        (f"Bearer {TOKEN}", (), Admitted("Token")),
        (f"bearer  {TOKEN} ", (), Admitted("Token")),
        (f"Bearer {ALERTMANAGER}", (), Admitted("KubernetesToken")),
        ("", ("other", "alertmanager.monitoring.svc"), Admitted("Certificate")),
        (f"Bearer {TOKEN}", ("other",), Admitted("Token")),
        ("", (), HTTPStatus.UNAUTHORIZED),
        ("Bearer", (), HTTPStatus.UNAUTHORIZED),
        (TOKEN, (), HTTPStatus.UNAUTHORIZED),
        (f"Basic {TOKEN}", (), HTTPStatus.UNAUTHORIZED),
        ("Bearer wrong", (), HTTPStatus.UNAUTHORIZED),
        ("Bearer \udcff\udc80", (), HTTPStatus.UNAUTHORIZED),
        (f"Bearer {NOBODY}", (), HTTPStatus.UNAUTHORIZED),
        (f"Bearer {STRANGER}", (), HTTPStatus.FORBIDDEN),
        ("", ("other",), HTTPStatus.FORBIDDEN),
    ],
)
async def test_who_is_let_in(
    world: World, authorization: str, names: tuple[str, ...], expected: Admitted | HTTPStatus
) -> None:
    judged = await world.senders.judge(authorization, names)

    assert (judged.status if isinstance(judged, TurnedAway) else judged) == expected


async def test_without_anything_configured_nobody_is_let_in(world: World) -> None:
    senders = Senders(Tokens("", world.clock))

    for authorization in ("", "Bearer ", f"Bearer {TOKEN}", f"Bearer {ALERTMANAGER}"):
        judged = await senders.judge(authorization, ("alertmanager.monitoring.svc", ""))
        assert isinstance(judged, TurnedAway)
        assert judged.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


async def test_a_token_that_is_not_there_yet_is_our_fault_and_one_that_is_not_wanted_is_not(tmp_path: Path) -> None:
    awaiting, without = world_with(str(tmp_path / "not-mounted")), world_with("")

    assert await awaiting.status(f"Bearer {NOBODY}") == 503
    assert await awaiting.status(f"Bearer {ALERTMANAGER}") == 200
    assert await without.status(f"Bearer {NOBODY}") == 401


@pytest.mark.parametrize("failure", [Unavailable("no answer"), Forbidden("may not create tokenreviews")])
async def test_what_the_api_server_could_not_tell_is_neither_yes_nor_no_and_is_not_remembered(
    world: World, failure: RemediatorError
) -> None:
    world.reviews.failure = failure
    with pytest.raises(type(failure)):
        await world.senders.judge(f"Bearer {ALERTMANAGER}")
    assert await world.status(f"Bearer {TOKEN}") == 200

    world.reviews.failure = None
    assert await world.status(f"Bearer {ALERTMANAGER}") == 200


async def test_an_answer_is_remembered_for_a_short_time_also_while_nobody_can_be_asked(world: World) -> None:
    assert [await world.status(f"Bearer {token}") for token in (ALERTMANAGER, STRANGER, NOBODY)] == [200, 403, 401]
    world.reviews.failure = Unavailable("no answer")

    assert [await world.status(f"Bearer {token}") for token in (ALERTMANAGER, STRANGER, NOBODY)] == [200, 403, 401]
    assert len(world.reviews.asked) == 3


async def test_a_right_that_was_given_counts_sooner_than_one_that_was_taken_away(world: World) -> None:
    await world.status(f"Bearer {ALERTMANAGER}")
    await world.status(f"Bearer {STRANGER}")
    world.reviews.permitted = {"stranger"}

    world.clock.advance(timedelta(seconds=11))
    assert await world.status(f"Bearer {STRANGER}") == 200
    assert await world.status(f"Bearer {ALERTMANAGER}") == 200
    world.clock.advance(timedelta(seconds=50))
    assert await world.status(f"Bearer {ALERTMANAGER}") == 403


async def test_many_calls_with_one_token_ask_a_few_times_at_most(world: World) -> None:
    statuses = await asyncio.gather(*(world.status(f"Bearer {ALERTMANAGER}") for _ in range(100)))

    assert set(statuses) == {200}
    assert len(world.reviews.asked) <= 8


async def test_nonsense_drives_out_nobody_and_asks_little_at_once(world: World) -> None:
    await world.status(f"Bearer {ALERTMANAGER}")
    await asyncio.gather(*(world.status(f"Bearer a.b.{number}") for number in range(2 * REMEMBERED)))
    world.reviews.asked.clear()

    assert await world.status(f"Bearer {ALERTMANAGER}") == 200
    assert world.reviews.asked == []
    assert world.reviews.most_at_once <= 8


@given(
    st.text(max_size=60) | st.sampled_from(["a.b", "a.b.c.d", "a..c", "a.b.c\n", "a" * MOST_TOKEN_CHARACTERS + ".b.c"])
)
def test_whatever_has_not_the_form_of_a_kubernetes_token_is_not_asked_about(text: str) -> None:
    assume(re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", text, re.ASCII) is None or len(text) > MOST_TOKEN_CHARACTERS)
    reviews = FakeReviews()

    assert asyncio.run(ReviewedTokens(reviews, StoppedClock(), audience="remediator").sender(text)) is None
    assert reviews.asked == []
