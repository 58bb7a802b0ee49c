"""Groups of commands, whose help shows what each of them does in a whole sentence."""

from __future__ import annotations

import difflib

import click

# What other tools call it.
_ELSEWHERE = {
    "create": "apply", "deploy": "apply", "up": "apply", "down": "delete", "rm": "delete", "remove": "delete",
    "destroy": "delete", "ls": "get", "list": "get", "ps": "get", "status": "get", "log": "console",
    "logs": "console", "show": "describe", "inspect": "describe", "reboot": "restart", "lint": "check",
    "validate": "check", "rollback": "rollout", "undo": "rollout", "history": "rollout",
}  # fmt: skip


class Group(click.Group):
    """As click's, which would cut the sentences off."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's; of a command that there is not, says which one may be meant."""
        known = self.list_commands(ctx)
        name = args[0] if args else ""
        if name and name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            elsewhere = [_ELSEWHERE[name]] if _ELSEWHERE.get(name) in known else []
            near = elsewhere or difflib.get_close_matches(name, known, 3)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(known)}."
            ctx.fail(f"There is no command {name[:40]!r}. {hint}")
        return super().resolve_command(ctx, args)

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
