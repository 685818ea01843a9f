"""The benchmark works, and counts what it says it counts; what it measures is not asserted here."""

import os

import pytest

from benchmarks.__main__ import measured
from benchmarks.cases import CASES
from benchmarks.report import table
from localcluster import NotAvailable

pytestmark = pytest.mark.cluster


def test_the_smoke_case() -> None:
    smoke = next(case for case in CASES if case.name == "smoke")

    try:
        found = measured([smoke], name=f"bench-smoke-{os.getpid()}")
    except NotAvailable as missing:
        pytest.skip(str(missing))

    [result] = found["results"]
    floor, ours = result["floor"], result["operator"]
    assert all(target["met"] for target in result["targets"]), result["targets"]
    assert floor["callsToChange"]["of"] == {
        "create runbookruns": 1,
        "get deployments": 1,
        "patch deployments": 1,
        "update runbookruns/status": 2,
    }
    assert ours["callsToChange"]["of"]["create runbookruns"] == 1
    assert ours["callsToChange"]["of"]["patch deployments"] == 1
    assert 4 <= ours["callsToChange"]["writes"] <= ours["callsToEnd"]["writes"]
    assert floor["medianSeconds"] > 0 < ours["medianSeconds"]
    assert ours["cpuSeconds"].keys() == {"operator", "kube-apiserver", "etcd"}
    assert ours["megabytes"]["most"] >= ours["megabytes"]["before"] > 0
    assert "webhook to change, median" in table(result)
