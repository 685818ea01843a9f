"""The plugin goes where kubectl would go, as whom kubectl would be."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from remediator.cli.connect import Wanted, connected
from remediator.cli.kubeconfig import context_in, locations
from remediator.domain.errors import NotFound, Unavailable


def written(path: Path, *, current: str = "one", user: dict[str, Any] | None = None, **more: Any) -> Path:
    config = {
        "current-context": current,
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1/", "certificate-authority": "ca.pem"}}],
        "users": [{"name": "u", "user": user or {"token": "x"}}],
        **more,
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_the_namespace_is_the_contexts(tmp_path: Path) -> None:
    context = context_in((written(tmp_path / "config"),))

    assert (context.name, context.namespace, context.server) == ("one", "shop", "http://127.0.0.1:1")


def test_without_a_namespace_it_is_default(tmp_path: Path) -> None:
    contexts = [{"name": "one", "context": {"cluster": "c", "user": "u"}}]

    assert context_in((written(tmp_path / "config", contexts=contexts),)).namespace == "default"


def test_files_are_found_beside_the_kubeconfig_that_names_them(tmp_path: Path) -> None:
    context = context_in((written(tmp_path / "config"),))

    assert context.cluster["certificate-authority"] == str(tmp_path / "ca.pem")


def test_of_several_kubeconfigs_the_first_that_says_something_counts(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.write_text(yaml.safe_dump({"current-context": "two"}))
    contexts = [{"name": "two", "context": {"cluster": "c", "user": "u", "namespace": "other"}}]
    second = written(tmp_path / "second", contexts=contexts)

    assert context_in((tmp_path / "missing", first, second)).namespace == "other"


def test_a_path_given_beats_the_environment(tmp_path: Path) -> None:
    environment = {"KUBECONFIG": f"{tmp_path}/a:{tmp_path}/b"}

    assert locations("", environment) == (tmp_path / "a", tmp_path / "b")
    assert locations(f"{tmp_path}/c", environment) == (tmp_path / "c",)


@pytest.mark.parametrize("text", ["{", "- 1", "", "current-context: 7"])
def test_a_kubeconfig_that_is_none_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)

    with pytest.raises((NotFound, Unavailable)):
        context_in((path,))


def test_a_context_that_is_not_there_says_how_to_see_the_others(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="kubectl config get-contexts"):
        context_in((written(tmp_path / "config"),), "nowhere")


async def test_acting_with_the_groups_of_somebody_else_is_refused_and_not_ignored(tmp_path: Path) -> None:
    path = written(tmp_path / "config", user={"token": "x", "as": "jane", "as-groups": ["system:masters"]})

    with pytest.raises(Unavailable, match="as-groups"):
        async with connected(Wanted(kubeconfig=str(path))):
            pass


async def test_a_wrong_certificate_is_one_sentence(tmp_path: Path) -> None:
    clusters = [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": "AAAA"}}]
    path = written(tmp_path / "config", clusters=clusters)

    async with connected(Wanted(kubeconfig=str(path))) as ports:
        with pytest.raises(Unavailable, match="context one cannot be used"):
            await ports.cluster.list((await ports.cluster.kind("Pod")), "shop")


async def test_a_namespace_that_is_given_beats_the_contexts(tmp_path: Path) -> None:
    path = written(tmp_path / "config")

    async with connected(Wanted(kubeconfig=str(path), namespace="elsewhere")) as ports:
        assert ports.namespace == "elsewhere"
