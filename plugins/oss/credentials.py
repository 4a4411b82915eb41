"""Where the keys to the bucket come from. Asking may wait for a file or for the instance's metadata server, so it is
done in threads; the loop only ever sees what was known last."""

import threading
import time
from typing import Any

from oss2.credentials import Credentials, EcsRamRoleCredentialsProvider

from smartoken.plugin import ConfigError, MediaAway, resolve_secret

METADATA = "http://100.100.100.200/latest/meta-data/ram/security-credentials/"


class Kept:
    """A provider as oss2 wants it: `get_credentials` in worker threads, `known` anywhere."""

    def __init__(self, conf: Any, fresh_s: float):
        self._conf, self._fresh_s = conf, fresh_s
        self._role = None
        if conf.ram_role:
            url = conf.ram_role if "://" in conf.ram_role else METADATA + conf.ram_role
            self._role = EcsRamRoleCredentialsProvider(url, max_retries=3, timeout=5)
        self._lock = threading.Lock()
        self._known: Credentials | None = None
        self._until = 0.0

    def get_credentials(self) -> Credentials:
        """Fresh ones; those of before when they cannot be had just now. ConfigError, MediaAway."""
        with self._lock:
            if self._known is None or time.monotonic() > self._until:
                try:
                    self._known = self._ask()
                except Exception:
                    if self._known is None:
                        raise
                self._until = time.monotonic() + self._fresh_s
            return self._known

    def known(self) -> Credentials:
        """What is known, without waiting."""
        if self._known is None:
            raise MediaAway("the OSS credentials are not known yet")
        return self._known

    def _ask(self) -> Credentials:
        conf = self._conf
        if self._role is not None:
            found = self._role.get_credentials()
            if not found.get_access_key_id():
                raise ConfigError("[plugins.oss]: 'ram_role': the metadata server gives no credentials for this role")
            return found
        token = resolve_secret(conf.security_token) if conf.security_token else ""
        return Credentials(resolve_secret(conf.access_key_id), resolve_secret(conf.access_key_secret), token)


class Known:
    """The same provider for signing links in the loop: it never waits."""

    def __init__(self, kept: Kept):
        self.get_credentials = kept.known
