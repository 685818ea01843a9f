"""ConfigMaps and the fake keep the promises of the Evidence port."""

import base64
import hashlib

import pytest

from contract.ports.evidence_promises import EvidencePromises, run_in
from remediator.adapters.evidence import MAX_BYTES, ConfigMapEvidence, packed_within, unpacked
from remediator.domain.errors import NotFound, Unavailable
from remediator.domain.json import Object, dig, dig_text
from remediator.domain.objects import ObjectRef
from remediator.ports import Evidence
from remediator.testing import FakeCluster, FakeEvidence


@pytest.fixture
def cluster() -> FakeCluster:
    found = FakeCluster()
    found.add_namespace("shop")
    return found


def incompressible(characters: int) -> str:
    return base64.b64encode(hashlib.shake_128(b"noise").digest(characters)).decode()[:characters]


class TestFakeEvidence(EvidencePromises):
    @pytest.fixture
    def evidence(self) -> Evidence:
        return FakeEvidence()


class TestConfigMapEvidence(EvidencePromises):
    @pytest.fixture
    def evidence(self, cluster: FakeCluster) -> Evidence:
        return ConfigMapEvidence(cluster)


async def test_evidence_goes_with_its_run_and_cannot_be_altered(cluster: FakeCluster) -> None:
    name = await ConfigMapEvidence(cluster).keep(run_in("shop"), "crash", {"log": "a"})

    stored = cluster.get(ObjectRef.of("ConfigMap", "shop", name))
    assert dig_text(stored, "metadata", "ownerReferences", 0, "uid") == "u-1"
    assert dig_text(stored, "metadata", "ownerReferences", 0, "kind") == "RunbookRun"
    assert dig_text(stored, "metadata", "labels", "remediator.dev/run") == "crash-1"
    assert dig(stored, "immutable") is True


async def test_secrets_are_taken_out_before_anything_is_stored(cluster: FakeCluster) -> None:
    evidence = ConfigMapEvidence(cluster)

    name = await evidence.keep(run_in("shop"), "crash", {"log": "password=hunter2hunter2 refused"})

    assert "hunter2" not in str(await evidence.load("shop", name))


def test_too_much_is_cut_at_the_front_of_the_longest_text() -> None:
    noise = incompressible(3_000_000)

    packed = packed_within({"log": noise, "short": "kept"}, MAX_BYTES)

    found = unpacked(packed)
    text = dig_text(dict(found), "log")
    assert len(packed) <= MAX_BYTES
    assert text.startswith("[the beginning was cut]")
    assert noise.endswith(text.removeprefix("[the beginning was cut]\n"))
    assert found["short"] == "kept"


def test_what_cannot_be_cut_says_that_it_is_missing() -> None:
    noise = incompressible(20_000)
    many: Object = {f"k{n}": noise[10 * n : 10 * n + 10] for n in range(2_000)}

    assert unpacked(packed_within(many, 2_000)) == {"error": "too large to be kept"}


def test_the_same_content_is_the_same_bytes() -> None:
    assert packed_within({"b": 1, "a": 2}, MAX_BYTES) == packed_within({"a": 2, "b": 1}, MAX_BYTES)


def test_damaged_evidence_is_unknown() -> None:
    with pytest.raises(Unavailable):
        unpacked(b"not gzip")
    with pytest.raises(Unavailable):
        unpacked(packed_within({"a": "b" * 100}, MAX_BYTES)[:20])


async def test_a_config_map_of_somebody_else_is_no_evidence(cluster: FakeCluster) -> None:
    cluster.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": "other"}})

    with pytest.raises(NotFound):
        await ConfigMapEvidence(cluster).load("shop", "other")


async def test_what_somebody_put_in_the_place_of_evidence_decides_nothing(cluster: FakeCluster) -> None:
    evidence = ConfigMapEvidence(cluster)
    name = await evidence.keep(run_in("shop"), "crash", {"outputs": {"healthy": False}})
    other = await evidence.keep(run_in("shop"), "crash", {"outputs": {"healthy": True}})
    forged = cluster.get(ObjectRef.of("ConfigMap", "shop", other))["binaryData"]
    ref = ObjectRef.of("ConfigMap", "shop", name)
    stored = cluster.get(ref)

    await cluster.delete(ref)  # it is immutable, but may be made anew
    cluster.add({**stored, "metadata": {**stored["metadata"], "resourceVersion": ""}, "binaryData": forged})

    with pytest.raises(Unavailable, match="does not hold what was kept under that name"):
        await evidence.load("shop", name)
