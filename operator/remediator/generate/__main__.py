"""`python -m remediator.generate`: writes every generated file below the repository's root."""

import sys
from collections.abc import Mapping
from pathlib import Path

from remediator.generate.catalogue import declared
from remediator.generate.crds import crds
from remediator.generate.files import yaml_text
from remediator.generate.rbac import roles
from remediator.generate.reference import actions_page, kinds_page
from remediator.generate.speaking import replies_page

ROOT = Path(__file__).resolve().parents[3]


def files() -> Mapping[str, str]:
    """What is generated: the content of each file, by its path below the repository's root."""
    actions = declared()
    kinds = crds(actions)
    return {
        **{f"crds/{plural}.yaml": yaml_text([crd]) for plural, crd in kinds.items()},
        "deploy/base/roles-actions.yaml": yaml_text(roles(actions)),
        "operator/reference/actions.md": actions_page(actions),
        "operator/reference/kinds.md": kinds_page(kinds),
        "operator/reference/replies.md": replies_page(),
    }


def main() -> None:
    """Every file holds what the code says; one line tells of each."""
    for path, content in files().items():
        file = ROOT / path
        file.parent.mkdir(parents=True, exist_ok=True)
        same = file.exists() and file.read_text(encoding="utf-8") == content
        file.write_text(content, encoding="utf-8")
        sys.stdout.write(f"{'unchanged' if same else 'written  '} {path} ({len(content.encode()):,} bytes)\n")


if __name__ == "__main__":
    main()
