"""Where a secret comes from: `env:NAME` or `file:path`. One resolver for conf, the catalog and the plugins."""

import os
from collections.abc import Iterable
from pathlib import Path

from smartoken.domain.documents import SECRET_REFS
from smartoken.errors import ConfigError


def resolve(ref: str) -> str:
    """The secret behind `env:NAME` or `file:path`, without surrounding white space; read anew at each call.

    ConfigError for another kind of text (which is never repeated: it may be the secret itself), for a variable or
    file that is not there, and for an empty secret: an empty one is a mistake, never "no secret".
    """
    kind, _, rest = ref.partition(":")
    if f"{kind}:" not in SECRET_REFS or not rest.strip():
        raise ConfigError("A secret is written as env:NAME or file:path, never as the secret itself; "
                          "put it into a variable or a file and name that.")
    rest = rest.strip()
    return _from_env(rest) if kind == "env" else _from_file(rest)


def is_ours(ref: str, folder: Path, own: Iterable[str]) -> bool:
    """Whether a reference leads to what is the gateway's own: a file in its data folder, where the key ring is, or what
    its configuration names itself (`own`, references). Another text than a reference is not."""
    kind, target = _target(ref)
    if (kind, target) in map(_target, own):
        return kind in SECRET_REFS
    return kind == "file:" and Path(target).is_relative_to(_real(str(folder)))


def _target(ref: str) -> tuple[str, str]:
    """('env:', its name) or ('file:', where it really is)."""
    kind, _, rest = ref.partition(":")
    return f"{kind}:", str(_real(rest.strip())) if kind == "file" else rest.strip()


def _real(path: str) -> Path:
    try:
        return Path(os.path.realpath(os.path.expanduser(path)))
    except ValueError:                 # a NUL in it, or half a character
        return Path(path)


def _from_env(name: str) -> str:
    try:
        value = os.environ.get(name)
    except ValueError:                 # half a character
        raise ConfigError("env: is followed by what cannot be the name of a variable.") from None
    if value is None:
        raise ConfigError(f"env:{name}: the environment variable {name} is not set; "
                          "export it for the process that serves, then start it again.")
    if not value.strip():
        raise ConfigError(f"env:{name}: the environment variable {name} is empty; give it the secret, or remove the "
                          "reference.")
    return value.strip()


def _from_file(path: str) -> str:
    try:
        value = Path(os.path.expanduser(path)).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"file:{path}: cannot be read ({error.strerror}); write the secret into that file and let "
                          "the process that serves read it.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"file:{path}: is not UTF-8 text; write the secret into it as plain text.") from None
    except ValueError:                 # a NUL in it, or half a character
        raise ConfigError("file: is followed by what cannot be the path of a file.") from None
    if not value:
        raise ConfigError(f"file:{path}: the file is empty; write the secret into it, or remove the reference.")
    return value
