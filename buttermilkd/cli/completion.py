"""``completion``: a script that lets a shell complete commands, options, ids and flows."""

import click
from click.shell_completion import get_completion_class

from buttermilkd.cli.output import print_json
from buttermilkd.cli.session import Session, common_options


@click.command(short_help="Print a completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_options
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script to be sourced by SHELL.

    \b
    bash: buttermilkctl completion bash > ~/.local/share/bash-completion/completions/buttermilkctl
    zsh:  buttermilkctl completion zsh > a folder of $fpath, as _buttermilkctl
    fish: buttermilkctl completion fish > ~/.config/fish/completions/buttermilkctl.fish
    """  # noqa: D301 - click wants the control character itself: it keeps lines apart
    maker = get_completion_class(shell)
    if maker is None:
        raise click.UsageError(f"there is no completion for {shell}")
    program = context.find_root()
    name = program.info_name or "buttermilkctl"
    complete = maker(program.command, {}, name, f"_{name.upper()}_COMPLETE")
    script = complete.source_template % complete.source_vars()
    session = context.ensure_object(Session)
    if session.json:
        print_json({"shell": shell, "script": script})
    else:
        session.say(script)
