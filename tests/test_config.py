"""What may be set, from where, and the words for what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edged import config, console, misconfigured
from edged.config import Config, Downloads
from edged.errors import ConfigError
from edged.secret import Secret


def load(text: str, tmp_path: Path, environ: dict[str, str] | None = None, **overrides: object) -> Config:
    file = tmp_path / "edged.toml"
    file.write_text(text)
    return config.load(file, environ or {}, {("http", key): value for key, value in overrides.items()})


def complaint(text: str, tmp_path: Path, environ: dict[str, str] | None = None, **overrides: object) -> str:
    with pytest.raises(ConfigError) as refused:
        load(text, tmp_path, environ, **overrides)
    return str(refused.value).removeprefix(str(tmp_path) + "/")


def test_without_anything_the_defaults_are_in_force() -> None:
    assert config.load(None, {}) == Config()
    assert Config().http.address == "127.0.0.1"
    assert not Config().http.open


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    text = "[http]\nport = 1\nhost = '127.0.0.2'\n[limits]\nanswer_tokens = 7\n"
    environ = {"EDGED_HTTP__PORT": "2", "EDGED_ENGINE__SEQUENCES": "3"}

    loaded = load(text, tmp_path, environ, port=4)

    assert (loaded.http.port, loaded.http.host) == (4, "127.0.0.2")
    assert (loaded.engine.sequences, loaded.limits.answer_tokens, loaded.limits.queue_requests) == (3, 7, 32)
    assert load(text, tmp_path, environ).http.port == 2


@pytest.mark.parametrize(
    ("variable", "value", "section", "key", "expected"),
    [
        ("EDGED_HTTP__OPEN", "true", "http", "open", True),
        ("EDGED_HTTP__ALLOWED_HOSTS", '["a", "b"]', "http", "allowed_hosts", ("a", "b")),
        ("EDGED_HTTP__HOST", "0.0.0.0", "http", "host", "0.0.0.0"),
        ("EDGED_HTTP__HOST", "::1", "http", "host", "::1"),
        ("EDGED_MODELS__DEFAULT", "qwen2.5-0.5b", "models", "default", "qwen2.5-0.5b"),
        ("EDGED_LIMITS__QUEUE_S", "1.5", "limits", "queue_s", 1.5),
        ("EDGED_ROUTING__ALIASES", '{ "my-*" = "guide" }', "routing", "aliases", {"my-*": "guide"}),
    ],
)
def test_the_environment_speaks_toml_or_plain_text(
    variable: str, value: str, section: str, key: str, expected: object
) -> None:
    assert getattr(getattr(config.load(None, {variable: value}), section), key) == expected


def test_a_model_that_looks_like_a_number_can_be_the_default() -> None:
    assert config.load(None, {"EDGED_MODELS__DEFAULT": '"7"'}).models.default == "7"


def test_foreign_variables_are_nothing_to_us() -> None:
    assert config.load(None, {"EDGED_CONFIG": "/x", "EDGED_WHEELS": "/y", "HTTP__PORT": "1"}) == Config()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[http]\n\nprot = 1\n", "edged.toml, line 3: [http] prot is not a setting; did you mean port?"),
        ("[htpp]\nport = 1\n", "edged.toml, line 1: [htpp] is not a setting; did you mean http?"),
        ("[http]\nzzz = 1\n", "line 2: [http] zzz is not a setting; known are allowed_hosts, "),
        (
            "zzz = 1\n",
            "line 1: [zzz] is not a setting; known are access, downloads, engine, http, limits, models, ",
        ),
        ("[tls]\nkey = 'k.pem'\n", "line 1: [tls] = "),
        ("[tls]\nkey = 'k.pem'\n", "a key needs its certificate"),
        (
            "[limits]\n[http]\nport = 70000\n",
            "line 3: [http] port = 70000: Input should be less than or equal to 65535",
        ),
        ("http.port = -1\n", "line 1: [http] port = -1: "),
        ('[http]\n"port" = "many"\n', 'line 2: [http] port = "many": Input should be a valid integer'),
        ("[http]\nopen = 'perhaps'\n", "line 2: [http] open = "),
        ("[http]\nallowed_hosts = 5\n", "line 2: [http] allowed_hosts = 5: "),
        ("[http]\nallowed_hosts = ['a', 5]\n", "line 2: [http] allowed_hosts.1 = 5: "),
        ("[http]\nhold_status_s = inf\n", "line 2: [http] hold_status_s = "),
        ("[http]\nhold_status_s = nan\n", "line 2: [http] hold_status_s = "),
        ("[engine]\nsequences = 0\n", "line 2: [engine] sequences = 0: "),
        ("[engine]\nsequences = 2.5\n", "line 2: [engine] sequences = 2.5: "),
        ("[engine]\nthreads = []\n", "line 2: [engine] threads = []: "),
        ("[limits]\nqueue_s = 'long'\n", "line 2: [limits] queue_s = "),
        ("[routing]\naliases = { a = 1 }\n", "line 2: [routing] aliases.a = 1: "),
        ("[models]\ndefault = 1\n", "line 2: [models] default = 1: "),
        ("http = 5\n", "line 1: [http] = 5: "),
    ],
)
def test_a_mistake_is_told_with_line_key_and_value(text: str, words: str, tmp_path: Path) -> None:
    assert words in complaint(text, tmp_path)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    told = complaint("[http]\nport = -1\n[limits]\nanswr_tokens = 5\n", tmp_path).splitlines()

    assert ["line 2: [http] port" in told[0], "line 4: [limits] answr_tokens" in told[1]] == [True, True]


def test_a_mistake_names_where_it_came_from(tmp_path: Path) -> None:
    assert complaint("", tmp_path, {"EDGED_HTTP__PORT": "x"}).startswith(
        "environment variable EDGED_HTTP__PORT: [http]"
    )
    assert complaint("", tmp_path, {"EDGED_HTTP__PROT": "1"}).endswith("did you mean port?.")
    assert complaint("", tmp_path, port=99999).startswith("--port: [http] port = 99999")
    assert "[http] is a table" in complaint("http = 1\n", tmp_path, {"EDGED_HTTP__PORT": "1"})


@pytest.mark.parametrize("text", ["port = \n", "[http\n", "a = 1\na = 2\n"])
def test_what_is_not_toml_is_told_so(text: str, tmp_path: Path) -> None:
    assert "this is not TOML" in complaint(text, tmp_path)


def test_a_file_that_is_not_there_or_not_text_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml: cannot be read: No such file"):
        config.load(tmp_path / "nowhere.toml", {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ConfigError, match="this is not TOML"):
        config.load(tmp_path / "binary.toml", {})


def test_the_file_is_the_one_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "edged.toml")
    assert config.find_file(None, {}) is None
    (tmp_path / "edged.toml").touch()

    assert config.find_file(None, {}) == tmp_path / "edged.toml"
    assert config.find_file(None, {"EDGED_CONFIG": "/named"}) == Path("/named")
    assert config.find_file(Path("/argument"), {"EDGED_CONFIG": "/named"}) == Path("/argument")


@pytest.mark.parametrize(
    ("uid", "environ", "expected"),
    [
        (0, {}, "/var/lib/edged"),
        (1000, {"XDG_STATE_HOME": "/x"}, "/x/edged"),
        (1000, {}, str(Path.home() / ".local/state/edged")),
        (0, {"STATE_DIRECTORY": "/s:/t"}, "/s"),
    ],
)
def test_the_state_directory(uid: int, environ: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)

    assert config.state_dir(None, environ) == Path(expected)
    assert config.state_dir(Path("/given"), environ) == Path("/given")


def test_the_control_socket_lies_where_systemd_says_or_beside_the_state() -> None:
    assert config.control_socket(Path("/s"), {}) == Path("/s/edged.sock")
    assert config.control_socket(Path("/s"), {"RUNTIME_DIRECTORY": "/run/edged:/x"}) == Path("/run/edged/edged.sock")


OTHER: dict[str, Any] = {
    "http": {"host": "::", "port": 0, "open": True, "allowed_hosts": ["box.lan"], "hold_status_s": 0.5},
    "models": {"default": 'a "quoted" \\ name', "preload": False},
    "engine": {"threads": 3},
    "routing": {"aliases": {"my-*": "guide", "[x]": "default"}},
}


@pytest.mark.parametrize("settings", [Config(), Config.model_validate(OTHER)], ids=["defaults", "others"])
def test_what_show_prints_can_be_used_as_the_file(
    settings: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = settings.model_dump(mode="json")

    console.show(body, console.as_toml(body), as_json=False)

    assert load(capsys.readouterr().out, tmp_path) == settings


def test_a_secret_is_read_from_the_file_or_the_environment_and_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "edged.toml").touch(mode=0o600)
    text, environ = '[downloads]\ntoken = "hf_in_the_file"\n', {"EDGED_DOWNLOADS__TOKEN": "12345678"}
    assert load(text, tmp_path).downloads.token == Secret("hf_in_the_file")

    settings = load(text, tmp_path, environ)
    assert settings.downloads.token == Secret("12345678")
    assert environ == {}, "nobody inherits it"

    body = settings.model_dump(mode="json")
    for as_json in (True, False):
        console.show(body, console.as_toml(body), as_json=as_json)
    shown = capsys.readouterr().out
    assert shown.count("<secret>") == 2
    assert "12345678" not in shown + repr(settings)


def test_a_file_with_a_secret_is_closed_to_others_and_any_other_need_not_be(tmp_path: Path) -> None:
    file = tmp_path / "edged.toml"
    file.touch(mode=0o644)
    text = '[downloads]\ntoken = "hf_in_the_file"\n'

    assert "holds a secret and is open to everybody. " in complaint(text, tmp_path)
    assert complaint(text, tmp_path, {"EDGED_DOWNLOADS__TOKEN": "hf_other"}), "it is there, although another counts"
    assert load("[downloads]\nhosts = []\n", tmp_path) == Config()
    file.chmod(0o600)
    assert load(text, tmp_path).downloads.token


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('token = ""', "a secret is one line"),
        ('token = "hf_canary\\nhf_canary"', "a secret is one line"),
        ('token = ["hf_canary"]', "written in quotes"),
        ('token = { value = "hf_canary" }', "written in quotes"),
    ],
)
def test_what_is_no_secret_is_complained_of_without_being_shown(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "edged.toml").touch(mode=0o600)
    said = complaint(f"[downloads]\n{text}\n", tmp_path)

    assert says in said
    assert said.startswith('edged.toml, line 2: [downloads] token = "<secret>": ')
    assert "canary" not in said


def test_nor_is_one_shown_in_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    table = {"token": "hf_canary", "hosts": [], "hub": "x"}

    assert misconfigured.masked(table, Downloads) == {"token": "<secret>", "hosts": [], "hub": "x"}
    assert misconfigured.masked({"downloads": table}, Config)["downloads"]["token"] == "<secret>"


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().http.port = 1  # type: ignore[misc]


def test_every_setting_says_what_it_means() -> None:
    sections = [field.annotation for field in Config.model_fields.values()]

    silent = [
        key
        for section in sections
        if isinstance(section, type)
        for key, field in section.model_fields.items()
        if not field.description
    ]
    assert silent == []
