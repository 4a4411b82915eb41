"""What `smartoken serve` prints when all workers answer."""

from collections.abc import Mapping

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from smartoken import __version__
from smartoken.conf import Conf


def show(conf: Conf, workers: int) -> None:
    Console().print(f"[bold]Smartoken {__version__}[/] serves [bold cyan]{conf.base_url}/v1[/] with {workers} "
                    f"worker{'s' if workers > 1 else ''} (configuration: {conf.file})", soft_wrap=True)
    first = conf.data_folder / "first-run-token"
    Console().print(f"Console: [bold cyan]{conf.admin_url}[/]"
                    + (f", first sign-in with the token in {first}" if first.exists() else ""), soft_wrap=True)


def show_demo(conf: Conf, made: Mapping[str, str]) -> None:
    """`made` holds the lines of the demo's file; see cli/_demo.py."""
    console = Console()
    rows = Text.assemble(
        ("Base URL  ", "bold"), (made["BASE_URL"], "cyan"), "\n",
        ("API key   ", "bold"), (made["API_KEY"], "cyan"), "\n",
        ("Model     ", "bold"), (made["MODEL"], "cyan"))
    console.print(Panel(rows, title=f"Smartoken {__version__}, demo", expand=False))
    console.print(f"Console: [bold cyan]{made['ADMIN_URL']}[/]", soft_wrap=True, highlight=False)
    console.print("Try it (the same values stand in "
                  f"{conf.data_folder / 'demo.env'}):", soft_wrap=True, highlight=False)
    # Nothing may break or colour the command that people copy.
    console.print(f"curl -N {made['BASE_URL']}/chat/completions -H 'Authorization: Bearer {made['API_KEY']}' "
                  f"-H 'Content-Type: application/json' -d '{{\"model\": \"{made['MODEL']}\", \"stream\": true, "
                  "\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'",
                  soft_wrap=True, highlight=False, markup=False)
