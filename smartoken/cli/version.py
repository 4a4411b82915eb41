"""`smartoken version`."""

import platform

import typer

from smartoken import __version__


def register(app: typer.Typer) -> None:
    @app.command()
    def version() -> None:
        """Say which Smartoken and which Python this is."""
        print(f"smartoken {__version__} (Python {platform.python_version()})")
