"""
Who else writes an object: what would undo our change, or be undone by it.

An object that a delivery tool keeps equal to a repository is not ours to change: the tool puts
its own value back, minutes later and without a word.
"""

from typing import Final

from remediator.domain.json import Object, dig_object

_FLUX: Final = ("kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name")
_ARGO_CD: Final = ("argocd.argoproj.io/instance", "argocd.argoproj.io/tracking-id")
_HELM: Final = "meta.helm.sh/release-name"
_MANAGED_BY: Final = "app.kubernetes.io/managed-by"


def managed_by(obj: Object) -> str | None:
    """
    The tool that keeps the object as it is declared elsewhere, with its name for it; None if none is known.

    Flux and Argo CD reconcile all the time. Helm writes only when a person or a pipeline upgrades,
    but then it puts its own values back.

    Argo CD's older tracking by `app.kubernetes.io/instance` is not read: half of all charts set that
    label, whoever installs them.

    Source: https://fluxcd.io/flux/components/kustomize/kustomizations/,
    https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/,
    https://helm.sh/docs/chart_best_practices/labels/
    """
    labels = dig_object(obj, "metadata", "labels")
    annotations = dig_object(obj, "metadata", "annotations")
    for key in _FLUX:
        if key in labels:
            return f"Flux ({labels[key]})"
    for key in _ARGO_CD:
        if key in annotations or key in labels:
            return f"Argo CD ({str(annotations.get(key, labels.get(key))).partition(':')[0]})"
    if _HELM in annotations:
        return f"Helm ({annotations[_HELM]})"
    if labels.get(_MANAGED_BY) == "Helm":
        return "Helm"
    return None
