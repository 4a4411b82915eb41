"""The configuration: one TOML file, strictly decoded. Every key stands, with its comment, in conf/smartoken.toml."""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from smartoken.domain.documents import SECRET_REFS
from smartoken.domain.money import usd_to_u
from smartoken.errors import ConfigError
from smartoken.strict import Flag, Strict, Whole, decode

BUILT_IN = "built-in defaults"
ENVIRONMENT = {"HOST": ("server", "host"), "PORT": ("server", "port"), "SMARTOKEN_DATA": ("data", "folder")}
"""The only variables that override keys; SMARTOKEN_CONF names the file itself."""


def _scheme_url(text: str) -> str:
    if not urlsplit(text).scheme or "://" not in text:
        raise ValueError(f"write a URL with a scheme, such as sqlite:///var/smartoken.db, not {text!r}")
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither an IP address nor a network such as 10.0.0.0/8") from None
    return text


def _public_url(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise ValueError(f"write the address that clients use, such as https://api.example.com, not {text!r}")
    return text.rstrip("/")


def _secret_ref(text: str) -> str:
    if text and not text.startswith(SECRET_REFS):
        raise ValueError("write where the secret is, such as env:NAME or file:/path, never the secret itself")
    return text


def _usd(text: str) -> str:
    if usd_to_u(text) <= 0:
        raise ValueError(f"write an amount above zero, such as 10, not {text!r}")
    return text


def _usd_or_none(text: str) -> str:
    if usd_to_u(text) < 0:
        raise ValueError(f"write an amount, such as 1 or 0, not {text!r}")
    return text


Url = Annotated[str, AfterValidator(_scheme_url)]
Network = Annotated[str, AfterValidator(_network)]
SecretRef = Annotated[str, AfterValidator(_secret_ref)]
Count = Annotated[Whole, Field(ge=0)]


class Server(Strict):
    """Where it listens and what it lets in. Sizes are bytes, times seconds; a cap of 0 is no cap. `admin_port` 0 is the
    same port for everything."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65535)] = 8000
    admin_host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    admin_port: Annotated[Whole, Field(ge=0, le=65535)] = 0
    workers: Annotated[Whole, Field(ge=1, le=256)] = 1
    public_url: Annotated[str, AfterValidator(_public_url)] = ""
    max_body: Annotated[Whole, Field(ge=1024)] = 33_554_432
    max_connections: Count = 10_000
    max_connections_per_ip: Count = 2_000
    trusted_proxies: tuple[Network, ...] = ()
    drain_s: Count = 30

    @field_validator("admin_port")
    @classmethod
    def _apart(cls, admin_port: int, info: ValidationInfo) -> int:
        if admin_port and admin_port == info.data.get("port"):
            raise ValueError(f"{admin_port} is the port of the API already; take another, or 0 for one port for both")
        return admin_port


class Data(Strict):
    """`node` is this machine's name in books and journals; '' is its host name."""

    folder: Annotated[str, Field(min_length=1)] = "var"
    node: Annotated[str, Field(max_length=48, pattern=r"^[A-Za-z0-9-]*$")] = ""


class Store(Strict):
    url: Url = "sqlite:///{data}/smartoken.db"


class Media(Strict):
    url: Url = "folder:///{data}/media"


class Limiter(Strict):
    url: Url = "memory://"


class Plugins(Strict):
    """`settings` are the tables [plugins.<name>], decoded later by each plugin's own Conf."""

    enabled: tuple[str, ...] = ("*",)
    paths: tuple[str, ...] = ()
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _gather_tables(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        tables = {key: value for key, value in data.items() if isinstance(value, dict)}
        return {key: value for key, value in data.items() if key not in tables} | {"settings": tables}


class Secrets(Strict):
    """References to secrets; '' means a file that Smartoken makes in the data folder."""

    key_ring: SecretRef = ""
    pepper: SecretRef = ""


class Money(Strict):
    """`topup_secret` signs the events of POST /hooks/topup; '' means that there is no such path."""

    durability: Literal["normal", "strict"] = "normal"
    topup_secret: SecretRef = ""


class Log(Strict):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


class SignUp(Strict):
    """Whether strangers may make themselves an account in the pages, and what is put on it."""

    open: Flag = False
    credit_usd: Annotated[str, AfterValidator(_usd_or_none)] = "0"


class Demo(Strict):
    credit_usd: Annotated[str, AfterValidator(_usd)] = "10"


class Conf(Strict):
    """All of it. `file` says where it was read from; URLs have `{data}` filled in."""

    server: Server = Server()
    data: Data = Data()
    store: Store = Store()
    media: Media = Media()
    limiter: Limiter = Limiter()
    plugins: Plugins = Plugins()
    secrets: Secrets = Secrets()
    money: Money = Money()
    log: Log = Log()
    sign_up: SignUp = SignUp()
    demo: Demo = Demo()
    _file: str = PrivateAttr(BUILT_IN)

    @field_validator("store", "media", "limiter")
    @classmethod
    def _fill_in_data(cls, section: Any, info: ValidationInfo) -> Any:
        folder = info.data["data"].folder if "data" in info.data else "var"
        return type(section)(url=section.url.replace("{data}", folder))

    @property
    def file(self) -> str:
        return self._file

    @property
    def data_folder(self) -> Path:
        """Where journals, keys and (by default) the store and media live; relative to the working folder."""
        return Path(self.data.folder)

    @property
    def base_url(self) -> str:
        """Where clients reach us, without a slash at the end."""
        return self.server.public_url or _url_of(self.server.host, self.server.port)

    @property
    def buyers_url(self) -> str:
        """What to put before the path of a page for buyers, on a page of the console: nothing where both are one site."""
        return self.base_url if self.server.admin_port else ""

    @property
    def admin_url(self) -> str:
        """Where the console is."""
        here = self.server
        return (_url_of(here.admin_host, here.admin_port) if here.admin_port else self.base_url) + "/console"


def _url_of(host: str, port: int) -> str:
    """How this machine reaches what listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port}"


def find(path: str | None = None) -> Path | None:
    """The file that `load` reads: `path`, else $SMARTOKEN_CONF, else ./conf/smartoken.toml if there, else None."""
    named = path or os.environ.get("SMARTOKEN_CONF")
    if named:
        return Path(named)
    usual = Path("conf", "smartoken.toml")
    return usual if usual.is_file() else None


def load(path: str | None = None) -> Conf:
    """The configuration of `find(path)`, overridden by the variables of ENVIRONMENT. ConfigError says what to mend."""
    file = find(path)
    variables = {name: os.environ[name] for name in ENVIRONMENT if os.environ.get(name)}
    return parse(_read(file) if file else "", str(file) if file else BUILT_IN, variables)


def parse(text: str, where: str, variables: Mapping[str, str] | None = None) -> Conf:
    """The configuration in a TOML text, which errors call `where`, with `variables` (see ENVIRONMENT) put over it."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(f"{where}: this is not TOML: {err}") from err
    decode(Conf, tables, where)
    for name, value in (variables or {}).items():
        section, key = ENVIRONMENT[name]
        number = int(value) if value.isascii() and value.isdigit() else value
        change = {key: number if key == "port" else value}
        decode(Conf, {section: change}, f"the variable {name}")
        tables[section] = {**tables.get(section, {}), **change}
    conf = decode(Conf, tables, where)
    conf._file = where
    return conf


def with_workers(conf: Conf, workers: int) -> Conf:
    """The same with another number of workers (the option --workers of `serve`)."""
    return conf.model_copy(update={"server": conf.server.model_copy(update={"workers": workers})})


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "it is not UTF-8"
        raise ConfigError(f"{file}: cannot read the configuration ({reason}); name another file with --conf or "
                          "SMARTOKEN_CONF") from err
