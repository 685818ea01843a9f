"""How generated files are written: YAML that reads well and is the same every time."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

HEADER: Final = "# Generated from the code by `make generate`; what is edited here is lost.\n"


class _Dumper(yaml.SafeDumper):
    """Writes lists the way kubectl does, and never an alias: the API server knows none in JSON."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base class's signature
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - as above
        return super().increase_indent(flow, False)


def yaml_text(documents: Iterable[Mapping[str, Any]], header: str = HEADER) -> str:
    """The documents, one after the other."""
    written = (
        yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
        for document in documents
    )
    return header + "---\n" + "---\n".join(written)
