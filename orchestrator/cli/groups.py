"""Groups of commands, whose help shows what each of them does in a whole sentence."""

from __future__ import annotations

import click


class Group(click.Group):
    """As click's, which would cut the sentences off."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, first_sentence(command)) for name, command in found if command is not None]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def first_sentence(command: click.Command) -> str:
    """What a command does: the first sentence of its help."""
    paragraph = " ".join((command.help or "").split("\n\n", 1)[0].split())
    sentence, period, _ = paragraph.partition(". ")
    return sentence + period.strip()
