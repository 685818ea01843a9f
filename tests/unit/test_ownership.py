import pytest

from remediator.domain.json import Object
from remediator.domain.ownership import managed_by


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "Flux (apps)"),
        ({"labels": {"helm.toolkit.fluxcd.io/name": "web"}}, "Flux (web)"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "web:apps/Deployment:shop/web"}}, "Argo CD (web)"),
        ({"labels": {"argocd.argoproj.io/instance": "web"}}, "Argo CD (web)"),
        ({"annotations": {"meta.helm.sh/release-name": "web"}}, "Helm (web)"),
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "Helm"),
        ({"labels": {"app.kubernetes.io/managed-by": "us"}}, None),
        ({"labels": {"app.kubernetes.io/instance": "web"}}, None),
        ({}, None),
    ],
)
def test_who_keeps_an_object_as_it_is_declared(metadata: Object, owner: str | None) -> None:
    assert managed_by({"metadata": metadata}) == owner
