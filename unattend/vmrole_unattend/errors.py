"""The one exception of this package."""

from __future__ import annotations


class AnswersInvalid(Exception):
    """Answers that must not reach a guest.

    `where` is the place as a person finds it ("user-data: line 3, column 7"), `hint` what would be right.
    """

    def __init__(self, message: str, *, where: str, hint: str = "") -> None:
        super().__init__(f"{where}: {message}")
        self.message = message
        self.where = where
        self.hint = hint
