"""`labels:` of a service and of its roles: words to select by, in Kubernetes' syntax."""

from __future__ import annotations

from orchestrator.model import Labels
from orchestrator.rules import selector
from orchestrator.servicefile.fields import text
from orchestrator.servicefile.reader import Reader, under
from orchestrator.servicefile.tree import Map


def read_labels(reader: Reader, node: Map, at: str) -> Labels:
    """What stands below `labels` of the service or role `node`, by key; faults are noted."""
    if "labels" not in node:
        return ()
    at, given = under(at, "labels"), node["labels"]
    if not isinstance(given, Map):
        reader.fault(at, "is not a mapping", "write labels: {tier: front}")
        return ()
    found = {}
    for key, value in given.items():
        word = reader.take(given, at, key, text, "")
        if why := selector.key_fault(key):
            reader.fault(f"{at}.{key}", f"{key[:80]!r} is no key of a label", why)
        elif isinstance(value, str) and (why := selector.value_fault(word)):
            reader.fault(f"{at}.{key}", f"{word[:80]!r} is no value of a label", why)
        found[key] = word
    return tuple(sorted(found.items()))
