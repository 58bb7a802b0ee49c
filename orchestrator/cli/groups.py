"""Groups of commands, whose help shows what each of them does in a whole sentence."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

# What other tools call it; the first of a word that there is in the group.
_ELSEWHERE = {
    "create": ("apply", "add"), "deploy": ("apply",), "up": ("apply",), "down": ("delete",), "rm": ("delete",),
    "remove": ("delete", "rm"), "delete": ("rm",), "destroy": ("delete", "rm"), "ls": ("get",), "list": ("ls", "get"),
    "get": ("ls", "show"), "ps": ("get",), "status": ("get",), "log": ("console",), "logs": ("console",),
    "show": ("describe",), "describe": ("show",), "inspect": ("describe", "show"), "reboot": ("restart",),
    "lint": ("check",), "validate": ("check",), "rollback": ("rollout", "undo"), "undo": ("rollout",),
    "maintenance": ("protect",), "cordon": ("protect",),
    "history": ("rollout",), "pull": ("add",), "import": ("add",), "shell": ("ssh",), "scp": ("cp",), "copy": ("cp",),
}  # fmt: skip
_LISTED_MOST = 15  # of what there is, in the answer to a slip: more of them are what --help is for


class Group(click.Group):
    """As click's, which would cut the sentences off."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's; of a command that there is not, says which one may be meant."""
        known = self.list_commands(ctx)
        name = args[0] if args else ""
        if name and name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            elsewhere = [word for word in _ELSEWHERE.get(name, ()) if word in known][:1]
            near = elsewhere or difflib.get_close_matches(name, known, 3)
            if near:
                hint = f"Did you mean {' or '.join(near)}?"
            else:
                hint = f"There are: {', '.join(known)}." if len(known) <= _LISTED_MOST else "Look for it there."
            ctx.fail(f"There is no command {name[:40]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands, below the headings of `sections`."""
        for title, names in self.sections(ctx):
            found = [(name, self.get_command(ctx, name)) for name in names]
            rows = [(name, first_sentence(command)) for name, command in found if command is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def sections(self, ctx: click.Context) -> Sequence[tuple[str, Sequence[str]]]:
        """The commands as its help shows them: headings, and what stands below each."""
        return [("Commands", self.list_commands(ctx))]


def first_sentence(command: click.Command) -> str:
    """What a command does: the first sentence of its help."""
    paragraph = " ".join((command.help or "").split("\n\n", 1)[0].split())
    sentence, period, _ = paragraph.partition(". ")
    return sentence + period.strip()
