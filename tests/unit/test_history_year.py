"""The simulated year in small: whatever happens, the history stays small and nothing starts again."""

from benchmarks.history import Report, simulated

BYTES_OF_A_RUN = 3_000
"""What the operator may hold in memory of one, with everything that counts it."""


async def test_weeks_of_runs_leave_a_history_that_does_not_grow() -> None:
    policies, targets = 2, 3

    short: Report = await simulated(days=9, per_day=8, targets=targets, policies=policies, succeeded=2, failed=3)

    kept = policies * (2 + 3)
    newest = policies * (targets + short.days)
    assert short.made == 72
    assert short.deleted > 0
    assert short.stored["runs"] == short.made - short.deleted <= kept + newest
    assert short.missing == 0, "KEEPNEW"
    assert short.started_again == 0, "FOLD"
    assert short.stored["leases"] <= targets + 8, "a week of targets that are gone"
    assert short.stored["configmaps"] <= short.stored["runs"] + policies, (
        "evidence goes with its run, Runbooks are shared"
    )
    assert short.stored["replies"] <= short.stored["runs"]
    assert 0 < short.memory_of_a_run < BYTES_OF_A_RUN
