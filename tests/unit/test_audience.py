"""Which policies an alert is shown to: never fewer than want it."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.alerts import Alert
from remediator.domain.matching import Matcher, all_match, parse_matchers
from remediator.domain.policies import RunbookRef
from remediator.engine.audience import Audience
from remediator.engine.begin import PolicyVersion
from remediator.engine.choose import Choice, Listener, choose

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
OPERATOR = "remediator-system"
NAMES = ("", "Down", "Up")
NAMESPACES = ("", "shop", "bank", OPERATOR)

matchers = st.builds(
    lambda name, operator, value: parse_matchers(f'{name}{operator}"{value}"')[0],
    st.sampled_from(("alertname", "severity")),
    st.sampled_from(("=", "!=", "=~", "!~")),
    st.sampled_from(NAMES),
)


def a_listener(number: int, namespace: str, asked: tuple[Matcher, ...] | None) -> Listener:
    return Listener(namespace, f"p-{number}", PolicyVersion("uid", 1), RunbookRef(name="book"), asked)


def told(choices: tuple[Choice, ...]) -> set[tuple[type[Choice], str]]:
    return {(type(one), one.listener.name if one.listener is not None else "") for one in choices}


listeners = st.lists(
    st.tuples(st.sampled_from(NAMESPACES[1:]), st.none() | st.lists(matchers, min_size=1, max_size=3).map(tuple)),
    max_size=8,
).map(lambda drawn: [a_listener(number, *one) for number, one in enumerate(drawn)])


def an_alert_of(name: str, namespace: str) -> Alert:
    labels = {"alertname": name, "namespace": namespace}
    return Alert("f" * 16, "firing", {label: value for label, value in labels.items() if value}, {}, NOON)


@given(listeners, st.sampled_from(NAMES), st.sampled_from(NAMESPACES))
def test_the_same_is_chosen_as_of_all(everyone: list[Listener], name: str, namespace: str) -> None:
    alert = an_alert_of(name, namespace)

    shown = Audience(everyone).of(alert.labels, OPERATOR)

    assert told(choose(alert, shown, OPERATOR, NOON)) == told(choose(alert, everyone, OPERATOR, NOON))
    assert len(shown) == len({one.full_name for one in shown})


@given(listeners)
def test_everybody_is_in_it_once(everyone: list[Listener]) -> None:
    assert sorted(one.name for one in Audience(everyone)) == sorted(one.name for one in everyone)


def test_who_asks_for_another_alertname_is_not_shown_it() -> None:
    asking = [a_listener(n, OPERATOR, parse_matchers(f'alertname="Down-{n}"')) for n in range(100)]
    anything = a_listener(100, OPERATOR, parse_matchers('severity="critical"'))

    shown = Audience([*asking, anything]).of({"alertname": "Down-7", "namespace": "shop"}, OPERATOR)

    assert shown == [asking[7], anything]
    assert all_match(asking[7].matchers or (), {"alertname": "Down-7"})
