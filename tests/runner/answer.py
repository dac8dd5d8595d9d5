"""What drivers answer: the config stage's JSON and the exit-code file.

Both are read as strictly as Go's encoding/json and strconv do it, see
contract.md, sections 2 and 4.
"""

import json
import re

SHELLS = ("bash", "sh", "pwsh", "powershell")


class ConfigError(Exception):
    """The config stage's output is not what it must be."""


class _Pairs(list):
    """A JSON object as its (key, value) pairs, in order, doubles kept."""


class Config:
    """The decoded answer; None means "not said"."""

    def __init__(self):
        self.builds_dir = None
        self.cache_dir = None
        self.builds_dir_is_shared = None
        self.hostname = None
        self.driver_name = None
        self.driver_version = None
        self.shell = None
        self.job_env = {}


def _no_constant(name):
    raise ValueError(f"invalid literal {name}")


def _scalar(config, attribute, key, value, kind):
    """Store a string or bool; null changes nothing, others are errors."""
    if value is None:
        return
    if not isinstance(value, kind):
        raise ConfigError(f"json: cannot unmarshal {type(value).__name__} "
                          f"into Go struct field ConfigExecOutput.{key}")
    setattr(config, attribute, _text(value) if kind is str else value)


def _text(value):
    """Lone surrogates become U+FFFD, as in Go."""
    return re.sub("[\ud800-\udfff]", "\ufffd", value)


def _object(key, value):
    """VALUE as pairs; null is none, anything else an error."""
    if value is None:
        return _Pairs()
    if not isinstance(value, _Pairs):
        raise ConfigError(f"json: cannot unmarshal {type(value).__name__} "
                          f"into Go struct field ConfigExecOutput.{key}")
    return value


def parse_config(raw):
    """The config stage's whole stdout (bytes) as a Config."""
    config = Config()
    if not raw:
        return config
    try:
        top = json.loads(raw.decode("utf-8", "replace"),
                         object_pairs_hook=_Pairs,
                         parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"error while parsing JSON output: {error}") \
            from error
    if top is None:
        return config
    if not isinstance(top, _Pairs):
        raise ConfigError("error while parsing JSON output: "
                          "the top is not an object")
    plain = {"builds_dir": str, "cache_dir": str, "hostname": str,
             "shell": str, "builds_dir_is_shared": bool}
    for key, value in top:
        name = key.lower()
        if name in plain:
            _scalar(config, name, name, value, plain[name])
        elif name == "driver":
            for inner, text in _object(name, value):
                if inner.lower() in ("name", "version"):
                    _scalar(config, "driver_" + inner.lower(),
                            "driver." + inner, text, str)
        elif name == "job_env":
            for variable, text in _object(name, value):
                if text is not None and not isinstance(text, str):
                    raise ConfigError(
                        "json: cannot unmarshal "
                        f"{type(text).__name__} into Go struct field "
                        "ConfigExecOutput.job_env of type string")
                config.job_env[_text(variable)] = _text(text or "")
    return config


def parse_exit_code(path):
    """The code of a build failure from BUILD_EXIT_CODE_FILE.

    1 when there is no file, None when the file does not parse. Only the first
    line counts; sign and leading zeros are allowed, blanks are not.
    """
    try:
        with open(path, "rb") as file:
            line = file.readline()
    except FileNotFoundError:
        return 1
    except OSError:
        return None
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if not re.fullmatch(rb"[+-]?[0-9]+", line):
        return None
    number = int(line)
    return number if -2**63 <= number < 2**63 else None
