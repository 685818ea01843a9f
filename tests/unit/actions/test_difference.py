from remediator.actions.difference import LIMIT_BYTES, difference
from remediator.domain.json import Object


def deployment(**spec: object) -> Object:
    return {"metadata": {"name": "checkout"}, "spec": spec}


def test_one_line_for_each_value_that_goes_or_comes() -> None:
    before = deployment(replicas=2, paused=True, containers=[{"name": "app", "image": "a"}])
    after = deployment(replicas=3, containers=[{"name": "app", "image": "a"}, {"name": "log", "image": "l"}])

    assert difference(before, after).splitlines() == [
        "- spec.replicas: 2",
        "+ spec.replicas: 3",
        "- spec.paused: true",
        '+ spec.containers[log].name: "log"',
        '+ spec.containers[log].image: "l"',
    ]


def test_bookkeeping_status_and_stamps_are_left_out() -> None:
    before: Object = {"metadata": {"resourceVersion": "1", "generation": 1}, "status": {"replicas": 1}}
    after: Object = {
        "metadata": {
            "resourceVersion": "2",
            "generation": 2,
            "managedFields": [{"manager": "remediator"}],
            "annotations": {"remediator.dev/run": "shop/r", "remediator.dev/step": "t"},
        },
        "status": {"replicas": 2},
    }

    assert difference(before, after) == ""


def test_a_secret_shows_that_it_changes_and_not_what_it_is() -> None:
    env = [{"name": "DB_PASSWORD", "value": "hunter22"}, {"name": "DSN", "value": "postgres://u:verysecret@db/x"}]

    text = difference(deployment(env=[]), deployment(env=env))

    assert "hunter22" not in text
    assert "verysecret" not in text
    assert "+ spec.env[DB_PASSWORD].value: (hidden, 10 characters)" in text


def test_a_long_difference_is_cut_and_says_so() -> None:
    text = difference(deployment(), deployment(env=[{"name": f"V{n}", "value": "x" * 100} for n in range(200)]))

    assert len(text.encode()) <= LIMIT_BYTES
    assert "bytes more" in text
