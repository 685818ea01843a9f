import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.alerts import (
    MAX_ALERTS,
    MAX_PAYLOAD_BYTES,
    Alert,
    Identities,
    TooLarge,
    fingerprint_of,
    from_alertmanager,
    read_alert,
)
from remediator.domain.errors import InvalidPayload, Problem
from remediator.domain.json import Object

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALERT = Alert("4f2a81c09be2d713", "firing", {"alertname": "KubePodCrashLooping", "pod": "checkout-7d9"}, {}, NOON)
WIRE: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "KubePodCrashLooping", "namespace": "shop", "pod": "checkout-7d9"},
    "annotations": {"summary": "Pod is crash looping."},
    "startsAt": "2026-03-01T12:00:00.123456789Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus/graph?g0.expr=x",
    "fingerprint": "e02a9787fdd6c45c",
}
STARTS = st.integers(0, 2**32 * 1_000_000 - 1).map(lambda micros: EPOCH + timedelta(microseconds=micros))
ALERTS = st.builds(
    lambda fingerprint, start: replace(ALERT, fingerprint=fingerprint, starts_at=start),
    st.sampled_from([f"{n:016x}" for n in range(6)]),
    STARTS,
)


def payload(*alerts: object, **envelope: object) -> bytes:
    return json.dumps(
        {
            "version": "4",
            "receiver": "remediator",
            "groupKey": '{}:{alertname="KubePodCrashLooping"}',
            "truncatedAlerts": 0,
            "externalURL": "http://alertmanager",
            "status": "firing",
            "groupLabels": {},
            "commonLabels": {},
            "commonAnnotations": {},
            "alerts": list(alerts),
            **envelope,
        }
    ).encode()


def problems_of(call: bytes) -> tuple[Problem, ...]:
    with pytest.raises(InvalidPayload) as caught:
        from_alertmanager(call)
    return caught.value.problems


def test_reads_what_alertmanager_sends() -> None:
    notification = from_alertmanager(payload(WIRE, truncatedAlerts=3))

    assert notification.receiver == "remediator"
    assert notification.group_key == '{}:{alertname="KubePodCrashLooping"}'
    assert notification.external_url == "http://alertmanager"
    assert notification.truncated_alerts == 3
    assert notification.malformed == ()
    assert notification.alerts == (
        Alert(
            fingerprint="e02a9787fdd6c45c",
            status="firing",
            labels={"alertname": "KubePodCrashLooping", "namespace": "shop", "pod": "checkout-7d9"},
            annotations={"summary": "Pod is crash looping."},
            starts_at=NOON + timedelta(microseconds=123456),
            ends_at=None,
            generator_url="http://prometheus/graph?g0.expr=x",
        ),
    )


def test_resolved_alerts_are_kept_with_their_end() -> None:
    (alert,) = from_alertmanager(payload(WIRE | {"status": "resolved", "endsAt": "2026-03-01T14:05:00+02:00"})).alerts

    assert not alert.is_firing
    assert alert.ends_at == NOON + timedelta(minutes=5)


@pytest.mark.parametrize("ends_at", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+02:00", None])
def test_an_end_in_year_1_means_that_the_end_is_not_known(ends_at: str | None) -> None:
    assert read_alert(WIRE | {"endsAt": ends_at}).ends_at is None


def test_fields_that_are_not_known_are_ignored() -> None:
    call = payload(WIRE | {"silenceURL": "x", "values": {"A": 1}}, orgId=1, title="x")

    assert len(from_alertmanager(call).alerts) == 1


def test_a_malformed_alert_does_not_cost_the_good_ones() -> None:
    notification = from_alertmanager(payload(WIRE, {"status": "firing"}, "nonsense", WIRE))

    assert len(notification.alerts) == 2
    assert notification.malformed_alerts == 2
    assert [str(problem) for problem in notification.malformed] == [
        "alerts[1].labels: field required",
        "alerts[1].startsAt: field required",
        "alerts[2]: must be an object",
    ]


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"status": "pending"}, "alerts[0].status", "must be 'firing' or 'resolved'"),
        ({"labels": {}}, "alerts[0].labels", "must have at least 1 item"),
        ({"labels": {"severity": 1}}, "alerts[0].labels.severity", "must be a valid string"),
        ({"labels": {"": "x"}}, "alerts[0].labels.", "must have at least 1 character"),
        ({"labels": {"x": "y" * 4_097}}, "alerts[0].labels.x", "must have at most 4096 characters"),
        ({"labels": {"x": "\ud800"}}, "alerts[0].labels.x", "must be a valid string"),
        ({"labels": {"\ud800": "x"}}, "alerts[0].labels.\ufffd\ufffd\ufffd", "must be a valid string"),
        ({"annotations": {"x": "\ud800"}}, "alerts[0].annotations.x", "is not valid Unicode"),
        ({"labels": {str(n): "x" for n in range(257)}}, "alerts[0].labels", "must have at most 256 items"),
        ({"labels": ["x"]}, "alerts[0].labels", "must be an object"),
        ({"annotations": {"x": None}}, "alerts[0].annotations.x", "must be a valid string"),
        ({"startsAt": "yesterday"}, "alerts[0].startsAt", "must be a time such as 2026-03-01T12:00:00Z"),
        ({"startsAt": "2026-02-30T12:00:00Z"}, "alerts[0].startsAt", "must be a time such as"),
        ({"startsAt": "2026-03-01T12:00:00"}, "alerts[0].startsAt", "must be a time such as"),
        ({"startsAt": 1772366400}, "alerts[0].startsAt", "must be a time such as"),
        ({"startsAt": "0001-01-01T00:00:00Z"}, "alerts[0].startsAt", "must be between 1970 and 2106"),
        ({"startsAt": "9999-12-31T23:59:59-02:00"}, "alerts[0].startsAt", "must be a time such as"),
        ({"fingerprint": "../x"}, "alerts[0].fingerprint", "must be 1 to 128 letters, digits or any of"),
        ({"fingerprint": 7}, "alerts[0].fingerprint", "must be a valid string"),
    ],
)
def test_a_malformed_alert_is_reported_with_its_path_and_reason(change: Any, path: str, message: str) -> None:
    (problem,) = problems_of(payload(WIRE | change))

    assert problem.path == path
    assert message in problem.message


def test_one_alert_reports_at_most_ten_problems() -> None:
    assert len(problems_of(payload(WIRE | {"labels": {str(n): n for n in range(200)}}))) == 10


def test_a_long_label_name_does_not_make_a_long_path() -> None:
    (first, *_) = problems_of(payload(WIRE | {"labels": {"x" * 100_000: 1}}))

    assert len(first.path) < 100


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (b"", "the call is not JSON: "),
        (b"{", "the call is not JSON: "),
        (b"\xff\xfe", "the call is not UTF-8"),
        (b"[]", "must be an object"),
        (b"[" * 500_000, "the call is nested too deeply"),
        (b'{"version": "4", "alerts": ' + b"1" * 10_000 + b"}", "the call is not JSON: "),
        (payload(WIRE, version="3"), "version: must be '4'"),
        (b'{"version": "4"}', "alerts: field required"),
        (b'{"version": "4", "alerts": {}}', "alerts: must be a valid list"),
        (payload(WIRE, truncatedAlerts="many"), "truncatedAlerts: must be a valid integer"),
        (payload(WIRE, groupKey=7), "groupKey: must be a valid string"),
    ],
)
def test_a_call_that_is_no_notification_is_refused_with_the_reason(call: bytes, problem: str) -> None:
    assert problem in "; ".join(str(each) for each in problems_of(call))


def test_a_notification_without_alerts_asks_for_nothing() -> None:
    assert from_alertmanager(payload()).alerts == ()


def test_more_bytes_than_the_limit_are_refused_unread() -> None:
    with pytest.raises(TooLarge, match="at most 8388608 are read"):
        from_alertmanager(b" " * (MAX_PAYLOAD_BYTES + 1))


def test_more_alerts_than_the_limit_are_refused_whole() -> None:
    with pytest.raises(TooLarge, match="the call has 10001 alerts; at most 10000 are read"):
        from_alertmanager(payload(*[{}] * (MAX_ALERTS + 1)))


def test_the_largest_call_is_read_in_seconds() -> None:
    call = payload(*[WIRE | {"annotations": {"x": "y" * 300}}] * MAX_ALERTS)
    before = process_time()

    assert len(from_alertmanager(call).alerts) == MAX_ALERTS
    assert process_time() - before < 3


def test_a_long_annotation_is_cut_visibly() -> None:
    alert = read_alert(WIRE | {"annotations": {"description": "x" * 100_000}})

    assert len(alert.annotations["description"]) <= 16_384
    assert alert.annotations["description"].endswith("bytes more)")


@pytest.mark.parametrize(
    ("labels", "fingerprint"),
    [
        ({}, "cbf29ce484222325"),
        ({"alertname": "KubePodCrashLooping", "namespace": "shop", "pod": "checkout-7d9"}, "e02a9787fdd6c45c"),
        ({"severity": "", "alertname": "Ünïcode"}, "cfe4dff0a1961f8b"),
    ],
)
def test_a_missing_fingerprint_is_computed_as_prometheus_does(labels: dict[str, str], fingerprint: str) -> None:
    assert fingerprint_of(labels) == fingerprint


@pytest.mark.parametrize("missing", [{}, {"fingerprint": ""}])
def test_an_alert_written_by_hand_needs_no_fingerprint(missing: Object) -> None:
    by_hand = {key: value for key, value in WIRE.items() if key != "fingerprint"} | missing

    assert read_alert(by_hand).fingerprint == WIRE["fingerprint"]


def test_an_alert_is_read_back_from_what_was_stored() -> None:
    for alert in (ALERT, replace(ALERT, status="resolved", ends_at=NOON + timedelta(seconds=1.5))):
        assert read_alert(alert.to_json()) == alert


def test_an_alert_covers_itself() -> None:
    assert Identities.of([ALERT]).covers(ALERT)


@pytest.mark.parametrize(
    ("recorded", "covered"),
    [(timedelta(), True), (timedelta(seconds=1), True), (timedelta(hours=-1), False), (timedelta(seconds=-1), False)],
)
def test_the_same_or_a_later_start_covers(recorded: timedelta, covered: bool) -> None:
    identities = Identities.of([replace(ALERT, starts_at=NOON + recorded)])

    assert identities.covers(ALERT) is covered


def test_another_fingerprint_covers_nothing() -> None:
    assert not Identities.of([replace(ALERT, fingerprint="0" * 16)]).covers(ALERT)
    assert not Identities().covers(ALERT)


def test_two_starts_inside_one_second_are_one_identity() -> None:
    assert Identities.of([ALERT]).covers(replace(ALERT, starts_at=NOON + timedelta(milliseconds=900)))


def test_the_resolved_alert_has_the_identity_of_the_firing_one() -> None:
    assert replace(ALERT, status="resolved", ends_at=NOON).identity == ALERT.identity


def test_an_identity_is_ten_bytes() -> None:
    assert len(bytes(ALERT.identity)) == 10
    assert ALERT.identity.starts_at == 1772366400


def test_identities_read_back_the_same_in_every_release() -> None:
    assert Identities.of([ALERT]).encode() == "leUJSsmTaaQqQA=="
    assert Identities.decode("leUJSsmTaaQqQA==").covers(ALERT)


def test_of_one_fingerprint_the_latest_start_is_kept() -> None:
    later = replace(ALERT, starts_at=NOON + timedelta(hours=1))

    merged = Identities.of([later]).merge(Identities.of([ALERT]))

    assert len(merged) == 1
    assert merged == Identities.of([later])


def test_identities_that_were_taken_away_cover_no_longer() -> None:
    other = replace(ALERT, fingerprint="0" * 16)

    left = Identities.of([ALERT, other]).without(Identities.of([other]))

    assert left.covers(ALERT)
    assert not left.covers(other)


def test_a_thousand_stay_inside_and_the_rest_goes_elsewhere() -> None:
    alerts = [replace(ALERT, fingerprint=f"{n:016x}") for n in range(1_200)]

    inside, outside = Identities.of(alerts).split()

    assert (len(inside), len(outside)) == (1_000, 200)
    assert len(inside.encode()) < 14_000
    assert all(inside.covers(alert) or outside.covers(alert) for alert in alerts)


@pytest.mark.parametrize("text", ["!!!!", "AAAA", "Ä", "AAAAAAAAAAAAAA"])
def test_damaged_identities_are_refused_and_not_read_as_none(text: str) -> None:
    with pytest.raises(ValueError, match="the identities are"):
        Identities.decode(text)


@given(st.lists(ALERTS, max_size=8))
def test_every_alert_taken_in_is_covered(alerts: list[Alert]) -> None:
    identities = Identities.decode(Identities.of(alerts).encode())

    assert all(identities.covers(alert) for alert in alerts)


@given(st.lists(ALERTS, max_size=6), st.lists(ALERTS, max_size=6), ALERTS)
def test_a_merge_covers_what_either_part_covers(one: list[Alert], other: list[Alert], alert: Alert) -> None:
    first, second = Identities.of(one), Identities.of(other)

    assert first.merge(second).covers(alert) == (first.covers(alert) or second.covers(alert))
    assert first.merge(second) == second.merge(first) == Identities.of([*other, *one])


@given(st.lists(ALERTS, max_size=6), ALERTS)
def test_covered_means_the_same_fingerprint_with_no_earlier_second(recorded: list[Alert], alert: Alert) -> None:
    expected = any(
        each.fingerprint == alert.fingerprint
        and each.starts_at.replace(microsecond=0) >= alert.starts_at.replace(microsecond=0)
        for each in recorded
    )

    assert Identities.of(recorded).covers(alert) is expected


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_notification_or_a_list_of_problems(call: bytes) -> None:
    with pytest.raises(InvalidPayload) as caught:
        from_alertmanager(call)

    assert caught.value.problems


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(sorted(WIRE)), JSON_VALUES)
def test_any_value_in_any_field_is_read_or_reported(name: str, value: object) -> None:
    notification = from_alertmanager(payload(WIRE, WIRE | {name: value}))

    assert len(notification.alerts) + notification.malformed_alerts == 2
    assert bool(notification.malformed) == (len(notification.alerts) == 1)
