"""The configuration: what may be set, what it means, and clear words for what cannot be.

    command line  >  EDGED_<SECTION>__<KEY>  >  file  >  default

It is read once, into frozen values; a component receives its own section and never the whole. An unknown key is an
error that names the nearest known one, because a typo must not become a default in silence. Secrets are `Secret`s, and
whoever reads them from the environment takes them out of it; a file that holds one must be closed to others.
"""

from __future__ import annotations

import json
import os
import socket
import tomllib
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, StringConstraints, ValidationError, model_validator

from edged import misconfigured, secret
from edged.errors import ConfigError
from edged.secret import Secret

DEFAULT_FILE = Path("/etc/edged/edged.toml")
_PREFIX = "EDGED_"


class Section(BaseModel):
    """A table of the file: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Http(Section):
    """`[http]`: where the daemon listens and whom it listens to."""

    host: str | None = Field(None, description="Address to listen on; else 127.0.0.1, or every interface when open.")
    port: int = Field(8080, ge=0, le=65535, description="TCP port; 0 lets the system choose one.")
    open: bool = Field(False, description="Listen on every interface. Until somebody owns it, it serves nobody else.")
    allowed_hosts: tuple[str, ...] = Field((), description="Further host names that this device is called by.")
    proxies: tuple[IPvAnyNetwork, ...] = Field((), description="Reverse proxies whose X-Forwarded-… are believed.")
    hold_status_s: float = Field(
        10.0,
        gt=0,
        le=60,
        description="How long a stream holds its status back so that an early error can still be one.",
    )
    body_bytes: int = Field(16 * 2**20, ge=2**20, le=2**30, description="Largest request body.")
    connections: int = Field(
        256, ge=8, le=2**16, description="Connections at once, as far as there are files for them."
    )
    connections_per_address: int = Field(
        32, ge=1, le=2**16, description="How many of them one address may have; programs on this machine: all."
    )

    @property
    def address(self) -> str:
        """Where to listen: what was said, else this machine alone, or everywhere for an open device."""
        everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
        return self.host or (everywhere if self.open else "127.0.0.1")


Origin = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]*://[^\s/?#@]+$")]

# As `edged claim --hash` prints it (`access/pairing.py`).
ClaimHash = Annotated[str, StringConstraints(pattern=r"^scrypt:[A-Za-z0-9+/]{22}==:[A-Za-z0-9+/]{86}==$")]


class Access(Section):
    """`[access]`: who may use this device. What is not set here the owner can choose on the page."""

    lan_chat: bool | None = Field(None, description="Let everybody who reaches the device chat, unless they abuse it.")
    supervised: bool | None = Field(None, description="Tell on every screen that the owner can read what is written.")
    url_keys: bool | None = Field(None, description="Let programs send their key in the address: http://BOX/k/KEY/v1.")
    origins: tuple[Origin, ...] = Field((), description="Pages of other sites that may ask with a key.")
    claim_hash: ClaimHash | None = Field(None, description="Hash of a printed code, from `edged claim --hash`.")
    issue_file: Path | None = Field(None, description="File in /etc/issue.d in which the console shows the code.")


class Tls(Section):
    """`[tls]`: https beside http."""

    enabled: bool | None = Field(
        None, description="Speak https as well; else where edged listens beyond this machine or has a certificate."
    )
    port: int = Field(8443, ge=0, le=65535, description="TCP port for https; 0 lets the system choose one.")
    certificate: Path | None = Field(
        None, description="File with a certificate of yours and those above it, in PEM; else the device makes its own."
    )
    key: Path | None = Field(None, description="File with its key, in PEM; else it is in the same file.")

    @model_validator(mode="after")
    def _key_of_a_certificate(self) -> Tls:
        if self.key is not None and self.certificate is None:
            raise ValueError("a key needs its certificate")
        return self


class Models(Section):
    """`[models]`: which model answers."""

    default: str | None = Field(
        None, description="Who answers when a request names nobody; else the largest that fits."
    )
    preload: bool = Field(True, description="Load the default model when the daemon starts.")
    ensure: tuple[str, ...] = Field(
        (),
        description="Further models to load when the daemon starts, as far as there is room, and to keep in memory.",
    )
    keep_alive_s: float | None = Field(
        None,
        ge=0,
        description="Seconds after which a model leaves memory that nobody has used, unless a request says otherwise; "
        "else it stays until another needs the room. The default model and those in `ensure` stay.",
    )


Endpoint = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+[^\s?#@]*$")]
Hours = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]


class Downloads(Section):
    """`[downloads]`: how models are fetched, and from where."""

    bytes_per_s: int | None = Field(None, ge=2**14, le=2**40, description="Most bytes a second; else no limit.")
    quiet_hours: tuple[Hours, ...] = Field(
        (), description='Spans of local time in which nothing is fetched, such as "22:00-06:00".'
    )
    reserve_bytes: int | None = Field(
        None,
        ge=0,
        le=2**50,
        description="Disk that stays free; else 2 GiB or a twentieth of the disk, if that is less.",
    )
    huggingface: Endpoint | None = Field(
        None, description="Hugging Face or a mirror of it; else $HF_ENDPOINT, else https://huggingface.co."
    )
    modelscope: Endpoint | Literal[""] = Field(
        "https://modelscope.cn", description="ModelScope, asked where Hugging Face cannot be reached; empty: never."
    )
    ollama: Endpoint = Field("https://registry.ollama.ai", description="The registry for Ollama's names.")
    token: Secret | None = Field(None, description="Token for Hugging Face; else the one in token_file.")
    token_file: Path | None = Field(
        None, description="File with a token for Hugging Face; else the credential hf_token, else $HF_TOKEN."
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Further hosts that links may name although they speak plain http or have private addresses.",
    )


class Engine(Section):
    """`[engine]`: how a model is run."""

    context_tokens: int = Field(8192, ge=64, le=2**20, description="Cells that all conversations of a model share.")
    sequences: int = Field(8, ge=1, le=64, description="Conversations that advance at once.")
    threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Threads that one model decodes with at most; else every usable core. Models that answer at the "
        "same time share the cores.",
    )
    gpu_layers: int = Field(-1, ge=-1, le=1024, description="Layers to put on a GPU; -1 means as many as fit.")
    snapshot_bytes: int | None = Field(
        None,
        ge=0,
        le=2**40,
        description="Memory for conversations that had to leave the context; else a sixteenth of all memory.",
    )
    shared_prompts: tuple[str, ...] = Field(
        (),
        description="System prompts that are kept ready in memory for everybody, up to half of the context.",
    )
    prefix_disk_bytes: int = Field(
        2**30,
        ge=0,
        le=2**44,
        description="Disk for conversations and shared prompts that outlive a restart; 0 keeps none and deletes them.",
    )
    prefix_disk_daily_bytes: int = Field(
        2**30,
        ge=0,
        le=2**44,
        description="How much of that may be written in a day, because flash wears out by writing.",
    )
    follow_neighbours: bool = Field(
        True, description="Use fewer threads while other programs keep cores busy, where that is quicker."
    )
    kv_type: Literal["f16", "q8_0"] = Field(
        "f16",
        description="How a conversation is kept in memory. f16 reads long prompts up to twice as fast; q8_0 takes half "
        "the memory, and on a CPU a quantised model gives the same text for the same seed whoever else is served.",
    )
    lookup: bool = Field(
        True,
        description="Guess words that were said before and check several in one step where that is quicker; nothing "
        "is kept that the model would not have said.",
    )
    draft_model: str | None = Field(
        None,
        description="A small model of the same family that guesses ahead for larger ones, where it fits in memory and "
        "that is quicker; it has no say in what they answer.",
    )
    longest_gap_steps: float = Field(
        6.0,
        ge=1.5,
        le=100,
        description="How long reading a prompt may hold up a running answer, in steps of the undisturbed answer.",
    )
    resident_models: int = Field(
        16, ge=1, le=16, description="Models that are kept in memory at once, as far as there is room for them."
    )


class Limits(Section):
    """`[limits]`: what a request may ask for, and how many may wait."""

    answer_tokens: int = Field(2048, ge=1, le=2**20, description="Longest answer where a request sets no limit.")
    queue_requests: int = Field(32, ge=1, le=4096, description="Requests that may wait for their turn.")
    queue_s: float = Field(60.0, gt=0, le=3600, description="Longest predicted wait before a request is refused.")
    first_token_s: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="Longest predicted time to a first word before a person's request is refused, unless the request "
        "says its own; else none is.",
    )
    text_bytes: int = Field(2**20, ge=1024, le=2**22, description="Longest text of a request.")
    drain_s: float = Field(25.0, ge=0, le=300, description="How long running answers may go on when the daemon stops.")


class Routing(Section):
    """`[routing]`: which model a name means."""

    aliases: dict[str, str] = Field(
        default={"gpt-*": "default", "claude-*": "default", "gemini-*": "default"},
        description="Name patterns and the model that answers to them; `default` is the default model.",
    )


class Config(Section):
    """Everything that can be set."""

    http: Http = Http()
    access: Access = Access()
    tls: Tls = Tls()
    models: Models = Models()
    downloads: Downloads = Downloads()
    engine: Engine = Engine()
    limits: Limits = Limits()
    routing: Routing = Routing()


def find_file(argument: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file to read: `--config`, else `$EDGED_CONFIG`, else /etc/edged/edged.toml where it exists, else none."""
    if argument is not None:
        return argument
    if named := environ.get("EDGED_CONFIG"):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def load(
    file: Path | None,
    environ: MutableMapping[str, str] = os.environ,
    overrides: Mapping[tuple[str, str], object] | None = None,
) -> Config:
    """Read and check, and take the secrets that stand there out of `environ`.

    Raises `ConfigError` with file, line, key, value and what is allowed.
    """
    text, tree = _read(file)
    origins: dict[tuple[str, ...], str] = {}
    for (section, key), (variable, value) in _from_environment(environ).items():
        _table(tree, section)[key] = value
        origins[section, key] = f"environment variable {variable}"
    for (section, key), override in (overrides or {}).items():
        _table(tree, section)[key] = override
        origins[section, key] = f"--{key.replace('_', '-')}"
    try:
        return Config.model_validate(tree)
    except ValidationError as failure:
        sentences = [misconfigured.sentence(Config, dict(error), file, text, origins) for error in failure.errors()]
        raise ConfigError("\n".join(sentences)) from None


def _read(file: Path | None) -> tuple[str, dict[str, Any]]:
    if file is None:
        return "", {}
    try:
        with file.open() as opened:
            text = opened.read()
            tree = tomllib.loads(text)
            if misconfigured.masked(tree, Config) != tree:
                secret.check_mode(file, opened.fileno())
            return text, tree
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: this is not TOML: {error}.") from error


def _from_environment(environ: MutableMapping[str, str]) -> dict[tuple[str, str], tuple[str, Any]]:
    found: dict[tuple[str, str], tuple[str, Any]] = {}
    for variable, value in list(environ.items()):
        section, separator, key = variable.removeprefix(_PREFIX).lower().partition("__")
        if variable.startswith(_PREFIX) and separator:
            is_secret = misconfigured.is_secret(misconfigured.kind_of(Config, (section, key)))
            read = secret.taken(environ, variable) if is_secret else _as_toml(value)
            found[section, key] = (variable, read)
    return found


def _as_toml(value: str) -> Any:
    """Numbers, booleans and lists are written as in the file; anything else is a string."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _table(tree: dict[str, Any], section: str) -> dict[str, Any]:
    table = tree.setdefault(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"[{section}] is a table; {json.dumps(table)} was given instead.")
    return table


def state_dir(argument: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the daemon keeps everything: `--state-dir`, else systemd's, else the system's, else the user's."""
    if argument is not None:
        return argument
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/edged")
    base = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "edged"


def models_dir(state: Path) -> Path:
    """What is installed, in the state directory."""
    return state / "models"


def cache_dir(state: Path) -> Path:
    """What was found out and may be forgotten, in the state directory; each file of it has one owner."""
    return state / "cache"


def control_socket(state: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The Unix socket between the command line and the daemon."""
    runtime = environ.get("RUNTIME_DIRECTORY")
    return Path(runtime.split(":")[0]) / "edged.sock" if runtime else state / "edged.sock"
