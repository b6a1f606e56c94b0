"""The `edged` command: reads what was typed, then calls. Exit codes: 0 done, 1 refused or failed, 2 usage."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from edged import __version__, config, console, control, plain, redaction
from edged.commands import claim, key, pull, scrub, stock, trust
from edged.config import Config
from edged.errors import EdgedError
from edged.local.room import judge
from edged.routing import default_model
from edged.store import Store

Command: TypeAlias = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except EdgedError as error:
        print(f"edged: {plain.lines(redaction.redacted(str(error)))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edged", description="An LLM appliance for small boards.")
    parser.add_argument("--version", action="version", version=f"edged {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = _command(commands, "serve", _serve, "run the daemon", "edged serve --open")
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (default 8080; 0: any free one)")
    serve.add_argument("--open", action="store_true", help="listen on every interface; the owner claims it with a code")
    serve.add_argument("--verbose", action="store_true", help="log more")

    status = _command(commands, "status", _status, "what the daemon is doing", "edged status --json")
    doctor = _command(commands, "doctor", _doctor, "whether this device is well", "edged doctor")
    bench = _command(commands, "bench", _bench, "how fast this device is", "edged bench")
    bench.add_argument("--model", help="model to measure (default: the default model)")
    summary = "how phones and computers come to trust this device's https"
    trusting = _command(commands, "trust", trust.run, summary, "edged trust --out edged-ca.crt")
    trust.add_arguments(trusting)
    for command in (status, doctor, bench, trusting, *_about_models(commands)):
        command.add_argument("--json", action="store_true", help="for programs")

    summary = "show a code with which a browser becomes this device's owner, or a member's"
    let_in = _command(commands, "claim", claim.run, summary, "edged claim")
    claim.add_arguments(let_in)
    keys = _command(commands, "key", None, "keys for programs", "edged key create phone")
    kinds = keys.add_subparsers(required=True, metavar="create|list|revoke")
    create = _command(kinds, "create", key.create, "make a key; it is shown once", "edged key create phone")
    key.add_create_arguments(create)
    listed = _command(kinds, "list", key.list_all, "which keys there are", "edged key list")
    revoke = _command(
        kinds, "revoke", key.revoke, "have a key open nothing any more", "edged key revoke 0123456789abcdef"
    )
    revoke.add_argument("id", metavar="ID", help="the key's id; see edged key list")
    for command in (let_in, create, listed):
        command.add_argument("--json", action="store_true", help="for programs")

    check = _command(commands, "config", None, "check or show the configuration", "edged config check")
    verbs = check.add_subparsers(required=True, metavar="check|show")
    _command(verbs, "check", _config_check, "say what is wrong with it", "edged config check --config edged.toml")
    show = _command(verbs, "show", _config_show, "print what is in force", "edged config show --json")
    show.add_argument("--json", action="store_true", help="for programs")
    return parser


def _about_models(commands: Any) -> Iterator[argparse.ArgumentParser]:
    """The subcommands that list, fetch, bring and delete models."""
    summary = "which models are installed, or could be"
    models = _command(commands, "models", stock.models, summary, "edged models --recommend")
    stock.add_models_arguments(models)
    fetch = _command(commands, "pull", pull.run, "fetch a model", "edged pull qwen3-0.6b")
    pull.add_arguments(fetch)
    remove = _command(commands, "rm", stock.remove, "delete models", "edged rm qwen3-0.6b")
    stock.add_remove_arguments(remove)
    summary = "install models from a file, a folder or a stick"
    take = _command(commands, "import", stock.take, summary, "edged import /media/stick")
    stock.add_import_arguments(take)
    give = _command(commands, "export", stock.give, "copy a model onto a stick", "edged export qwen3-0.6b /media/stick")
    stock.add_export_arguments(give)
    summary = "check every model against its checksum, and fetch anew what is bad"
    yield from (models, fetch, remove, take, give, _command(commands, "scrub", scrub.run, summary, "edged scrub"))


def _command(commands: Any, name: str, run: Command | None, summary: str, example: str) -> argparse.ArgumentParser:
    """A subcommand with the options that every one of them has."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=f"example: {example}"
    )
    if run is not None:
        command.add_argument("--config", type=Path, help="configuration file")
        command.add_argument("--state-dir", type=Path, help="where models and state are kept")
        command.set_defaults(run=run)
    return command


def _load(options: argparse.Namespace) -> Config:
    given = {("http", key): getattr(options, key, None) for key in ("host", "port", "open")}
    overrides = {path: value for path, value in given.items() if value is not None and value is not False}
    return config.load(config.find_file(options.config), overrides=overrides)


def _serve(options: argparse.Namespace) -> int:
    import uvloop  # the other commands start faster without these

    from edged import daemon
    from edged.host import sealing

    redaction.start_logging(logging.DEBUG if options.verbose else logging.INFO)
    sealing.seal()
    settings = _load(options)
    uvloop.run(daemon.run(settings, config.state_dir(options.state_dir)))
    return 0


def _status(options: argparse.Namespace) -> int:
    status = control.ask(config.control_socket(config.state_dir(options.state_dir)), "/edged/v1/status")
    console.show(status, console.status_table(status), as_json=options.json)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    import asyncio  # the other commands start faster without these

    from edged import doctor

    socket = config.control_socket(config.state_dir(options.state_dir))
    residents = control.ask(socket, "/edged/v1/status")["residents"] if control.is_running(socket) else []
    body = doctor.body(asyncio.run(doctor.examine(_load(options).engine, residents)))
    console.show(body, console.verdicts_table(body["checks"]), as_json=options.json)
    return 0 if body["healthy"] else 1


def _bench(options: argparse.Namespace) -> int:
    import asyncio  # the other commands start faster without these

    from edged import bench
    from edged.advice import device

    settings, state = _load(options), config.state_dir(options.state_dir)
    store = Store(config.models_dir(state))
    name = options.model or default_model(settings.models.default, store.models(), judge(settings.engine))
    is_running = control.is_running(config.control_socket(state))
    file = store.find(name)
    body = asyncio.run(bench.measure(settings, state, file, is_running=is_running))
    cache = config.cache_dir(state)
    device.remember(cache, body["copy_bytes_per_s"], body["bandwidth_share"], name, file.size_bytes)
    console.show(body, console.bench_table(body), as_json=options.json)
    return 0


def _config_check(options: argparse.Namespace) -> int:
    file = config.find_file(options.config)
    _load(options)
    print(f"{file}: nothing wrong." if file else "There is no configuration file; the defaults are in force.")
    return 0


def _config_show(options: argparse.Namespace) -> int:
    settings = _load(options).model_dump(mode="json")
    console.show(settings, console.as_toml(settings), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
