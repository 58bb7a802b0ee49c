"""ruamel's scanner of YAML, with a bound on tags: ruamel decodes one in quadratic time.

A tag of a megabyte, which nobody means, takes a quarter of a minute of whoever reads it.
"""

from __future__ import annotations

import re

from ruamel.yaml.scanner import Scanner, ScannerError

TAG_CHARS_MAX = 60  # "tag:yaml.org,2002:timestamp" in its brackets is half as long
_BLANK = re.compile(r"\s")


class BoundedScanner(Scanner):
    """Refuses a long tag at its first characters."""

    def scan_tag(self) -> object:
        """See ruamel."""
        ahead = str(self.reader.prefix(TAG_CHARS_MAX + 1))
        if len(ahead) > TAG_CHARS_MAX and not _BLANK.search(ahead):
            told = f"the tag {ahead[:TAG_CHARS_MAX]!r} has no meaning here"
            raise ScannerError(None, None, told, self.reader.get_mark())
        return super().scan_tag()
