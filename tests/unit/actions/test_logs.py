import pytest
from pydantic import ValidationError

from remediator.actions import registry
from remediator.actions.base import observe
from remediator.actions.diagnostics.logs import Logs, LogsParameters
from remediator.domain.objects import BUILT_IN
from unit.actions.world import crash, pod_ref, pods, reader, shop, target, with_status

CRASHING = {"from": "crashing", "previous": True, "count": {"panic": "(?i)panic:", "refused": "connection refused"}}


def parameters(**given: object) -> LogsParameters:
    return LogsParameters.model_validate(given)


async def test_lines_that_match_are_counted_over_all_pods() -> None:
    cluster = shop()
    for pod in pods(cluster):
        cluster.put_log(pod_ref(pod), "app", "ok\nPanic: a\npanic: b panic: b\n")

    seen = await observe(Logs(), parameters(count={"panic": "(?i)panic:"}), reader(cluster))

    assert seen.output.count == {"panic": 4}
    assert (seen.output.pods, seen.output.lines) == (2, 6)
    assert "Panic: a" in seen.evidence


async def test_values_are_picked_out_most_frequent_first() -> None:
    cluster = shop(replicas=1)
    cluster.put_log(pod_ref(pods(cluster)[0]), "app", "ip=10.0.0.1\nip=10.0.0.2\nip=10.0.0.2\nnone\n")

    seen = await observe(Logs(), parameters(extract={"ip": r"ip=([0-9.]+)"}), reader(cluster))

    assert seen.output.extract == {"ip": ["10.0.0.2", "10.0.0.1"]}


async def test_of_crashing_pods_only_what_crashes_is_read() -> None:
    cluster = shop()
    crash(cluster, pods(cluster)[0], "panic: nil map\nconnection refused\n")
    cluster.put_log(pod_ref(pods(cluster)[1]), "app", "panic: elsewhere\n", previous=True)

    seen = await observe(Logs(), parameters(**CRASHING), reader(cluster))

    assert seen.output.count == {"panic": 1, "refused": 1}
    assert (seen.output.pods, seen.output.matching_pods) == (1, 1)


async def test_without_a_crashing_pod_nothing_was_counted() -> None:
    cluster = shop()

    seen = await observe(Logs(), parameters(**CRASHING), reader(cluster))

    assert seen.output.known
    assert seen.output.pods == 0
    assert "count" not in seen.output.as_json()


async def test_the_kubelets_excuse_is_not_a_log() -> None:
    cluster = shop()
    crash(cluster, pods(cluster)[0])
    cluster.lose_log(pod_ref(pods(cluster)[0]), "app", previous=True)

    seen = await observe(Logs(), parameters(**CRASHING), reader(cluster))

    assert not seen.output.known
    assert "look again" in seen.output.error


async def test_where_one_log_is_missing_what_was_found_counts_and_a_zero_is_unknown() -> None:
    cluster = shop()
    crash(cluster, pods(cluster)[0], "panic: nil map\n")
    crash(cluster, pods(cluster)[1])
    cluster.lose_log(pod_ref(pods(cluster)[1]), "app", previous=True)

    seen = await observe(Logs(), parameters(**CRASHING), reader(cluster))

    assert seen.output.known
    assert seen.output.truncated
    assert seen.output.count == {"panic": 1}


async def test_a_log_cut_by_bytes_leaves_a_zero_unknown() -> None:
    cluster = shop(replicas=1)
    cluster.put_log(pod_ref(pods(cluster)[0]), "app", "x" * 600 + "\n" + "y" * 600 + "\nend\n")

    seen = await observe(Logs(), parameters(limitBytes=1024, count={"end": "^end$", "x": "x"}), reader(cluster))

    assert seen.output.truncated
    assert seen.output.count == {"end": 1}


async def test_a_container_that_never_restarted_has_no_previous_log() -> None:
    cluster = shop()

    seen = await observe(Logs(), parameters(previous=True, count={"panic": "panic"}), reader(cluster))

    assert seen.output.known
    assert seen.output.pods == 0


async def test_a_container_that_never_started_has_no_log() -> None:
    cluster = shop(replicas=1)
    with_status(cluster, pods(cluster)[0], state={"waiting": {"reason": "ImagePullBackOff"}}, restartCount=0)

    seen = await observe(Logs(), parameters(), reader(cluster))

    assert seen.output.known
    assert seen.output.pods == 0


@pytest.mark.parametrize("which", ["newest", "one"])
async def test_a_single_pod_can_be_asked_for(which: str) -> None:
    cluster = shop(replicas=3)

    seen = await observe(Logs(), parameters(**{"from": which}), reader(cluster))

    assert seen.output.pods == 1


async def test_only_so_many_pods_are_read() -> None:
    cluster = shop(replicas=4)

    seen = await observe(Logs(), parameters(maxPods=2), reader(cluster))

    assert (seen.output.pods, seen.output.matching_pods) == (2, 4)


async def test_a_target_that_is_gone_is_an_answer() -> None:
    cluster = shop()
    gone = target(cluster)
    cluster.store.remove(BUILT_IN["Deployment"], "shop", "checkout")

    seen = await observe(Logs(), parameters(**CRASHING), reader(cluster, gone))

    assert seen.output.known
    assert "count" not in seen.output.as_json()


async def test_no_permission_for_logs_is_not_an_answer() -> None:
    cluster = shop()
    cluster.forbid("", "get", "pods/log")

    seen = await observe(Logs(), parameters(), reader(cluster))

    assert not seen.output.known


@pytest.mark.parametrize("given", [{"count": {"x": "("}}, {"extract": {"x": "a"}}, {"extract": {"x": "(a)(b)"}}])
def test_a_pattern_that_cannot_be_used_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        parameters(**given)


def test_names_of_counts_and_values_are_known_before_anything_is_read() -> None:
    model = registry.output_model("logs", {"count": {"p95x": "a", "copy": "b"}, "extract": {"json": "(c)"}})

    counts = model.model_json_schema(by_alias=True)["$defs"]["LogCounts"]["properties"]

    assert set(counts) == {"p95x", "copy"}
