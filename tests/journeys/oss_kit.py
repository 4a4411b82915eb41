"""The pretend OSS in a process of its own, and the configuration of a gateway that keeps its media there."""

import subprocess
import sys
from pathlib import Path

from smartoken.testing.oss import KEY_ID, KEY_SECRET, REGION


class OssProcess:
    """Starts at once; `endpoint` is known afterwards."""

    def __init__(self, folder: Path, port: str = "0"):
        self.folder = folder
        (folder / "objects").mkdir(exist_ok=True)
        (folder / "id").write_text(KEY_ID)
        (folder / "secret").write_text(KEY_SECRET)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "smartoken.testing.oss", "--folder", str(folder / "objects"), "--port", port],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = self.process.stdout.readline().strip()
        if not self.endpoint:
            raise RuntimeError(f"the OSS server did not start: exit {self.process.wait()}")

    def conf(self, **settings: str) -> str:
        """What belongs into smartoken.toml."""
        more = "".join(f"{name} = {value}\n" for name, value in settings.items())
        return (f'[media]\nurl = "oss://bucket"\n[plugins.oss]\nregion = "{REGION}"\nendpoint = "{self.endpoint}"\n'
                f'access_key_id = "file:{self.folder}/id"\naccess_key_secret = "file:{self.folder}/secret"\n{more}')

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
