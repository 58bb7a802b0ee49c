"""A tree as YAML that reads as the tree: for service files that the program writes."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

_UNFOLDED: Final = 1 << 30  # columns: a text that is folded loses blanks
_BREAKS: Final = re.compile("[\x85\u2028\u2029]")  # lines end there as well, unless they are escaped


class _Representer(SafeRepresenter):
    """Writes texts so that they read as they are."""

    def text(self, text: str) -> Any:  # noqa: ANN401
        """See represent_scalar."""
        style = '"' if _BREAKS.search(text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Representer.add_representer(str, _Representer.text)


def yaml_text(tree: Mapping[str, Any]) -> str:
    """The document, its keys in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = _UNFOLDED
    yaml.Representer = _Representer
    text = io.StringIO()
    yaml.dump(dict(tree), text)
    return text.getvalue()
