"""`smartoken serve`: hold the port, make the demo if asked, keep the workers alive, say where everything is."""

import os
from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf
from smartoken.errors import ConfigError


def register(app: typer.Typer) -> None:
    @app.command()
    def serve(
        port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one (env PORT).")] = None,
        workers: Annotated[int | None, typer.Option(min=1, max=256, help="Worker processes.")] = None,
        demo: Annotated[bool, typer.Option("--demo", help="Make a demo catalog, account and key first.")] = False,
        conf: ConfOption = None,
    ) -> None:
        """Start the gateway and keep it running until SIGTERM or Ctrl-C."""
        use_conf(conf)
        if port is not None:
            os.environ["PORT"] = str(port)
        raise typer.Exit(_serve(workers, demo))


def _serve(workers: int | None, demo: bool) -> int:
    import logging

    from smartoken import logs, supervisor
    from smartoken.cli import _banner
    from smartoken.conf import load

    conf = load()
    logs.set_up(conf.log)
    here = conf.server
    with (supervisor.hold_port(here.host, here.port) as held,
          supervisor.hold_admin_port(here.admin_host, here.admin_port, conf.file)):
        os.environ["PORT"] = str(held.getsockname()[1])
        conf = load()
        count = workers or conf.server.workers
        ready = lambda: _banner.show(conf, count)
        if demo:
            from smartoken.cli import _demo

            made = _demo.prepare(conf)
            ready = lambda: _banner.show_demo(conf, made)
        return supervisor.Supervisor(count, drain_s=conf.server.drain_s, ready=ready,
                                     env=_shared_figures(conf), buried=_forget_figures,
                                     say=logging.getLogger("smartoken.supervisor").warning).run()


def _shared_figures(conf) -> dict[str, str]:
    """Workers keep their figures for /metrics in files of one folder, emptied at each start (see engine/metrics.py)."""
    folder = conf.data_folder / "metrics"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.db"):
            old.unlink()
    except OSError as error:
        raise ConfigError(f"{conf.file}: 'data.folder': {conf.data_folder} cannot be used ({error.strerror}); let the user "
                          "who serves write there, or name another folder") from None
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    return {"PROMETHEUS_MULTIPROC_DIR": str(folder)}


def _forget_figures(pid: int) -> None:
    """What a worker that is gone had in flight must not be counted for ever."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid, os.environ["PROMETHEUS_MULTIPROC_DIR"])
