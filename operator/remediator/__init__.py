"""Remediator carries out runbooks in Kubernetes: deterministic, recorded, verified and undoable."""
