"""Servers that a person has given names: where each is, whose key it wants, what it is asked for.

They stand in the settings file, a table each:

    [endpoints.lab]
    url = "http://gpu1:8000/v1"
    key_env = "LAB_KEY"
    model = "Qwen/Qwen3-32B"
    headers = { X-Team = "nlp", X-Token = "$LAB_TOKEN" }

A key is never in the file: `key_env` names the variable of the environment that holds it, `keyring = true`
says that the system's keyring does. A header that begins with "$" is read from that variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from qwen_cli import paths, settings
from qwen_cli.errors import QwenError, UsageError

_SERVICE = "qwen"  # what the keyring calls this program
_NAME = re.compile(r"[A-Za-z][\w-]*")
_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a token of RFC 9110
_SECRET = re.compile(r"authorization|cookie|(^|[-_])(key|token|secret|password)", re.IGNORECASE)
_FIELDS: dict[str, type] = {"url": str, "key_env": str, "keyring": bool, "model": str, "headers": dict}


@dataclass(frozen=True)
class Endpoint:
    """`name` is None for an address that was given as such. `model` is used where none is asked for."""

    url: str
    name: str | None = None
    key_env: str | None = None
    keyring: bool = False
    model: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> str | None:
        """Return its key; None where it wants none. Raises `QwenError` where the key is not where it should
        be."""
        if self.key_env:
            if value := os.environ.get(self.key_env):
                return value
            raise QwenError(f"{self.key_env} is not set, which holds the key of {self.name!r}", "export it")
        if not self.keyring:
            return None
        if value := _from_keyring(str(self.name)):
            return value
        raise QwenError(
            f"the keyring has no key of {self.name!r}",
            f"add {self.name} again, with `keyring`: `qwen config endpoint add`",
        )

    def sent(self) -> dict[str, str]:
        """Return its headers with their values. Raises `QwenError` where a variable is not set."""
        values = {}
        for header, value in self.headers.items():
            if value.startswith("$"):
                if value[1:] not in os.environ:
                    raise QwenError(
                        f"{value[1:]} is not set, which holds {header} of {self.name!r}", "export it"
                    )
                value = os.environ[value[1:]]
            values[header] = value
        return values


def named() -> dict[str, Endpoint]:
    """Return every endpoint of the settings file. Raises `UsageError` naming the field that cannot be
    read."""
    file = paths.config_file()
    tables = settings.read().get(settings.ENDPOINTS, {})
    if not isinstance(tables, dict):
        raise UsageError(f"{file}: endpoints must be tables, got {tables!r}", "write [endpoints.NAME]")
    return {name: _read(name, table, file) for name, table in tables.items()}


def find(given: str) -> Endpoint:
    """Return the endpoint that an option `endpoint` means: an address, or a name. Raises `UsageError`."""
    if not _NAME.fullmatch(given.strip()) or given.strip().lower() == "localhost":
        return Endpoint(given)
    known = named()
    if (name := given.strip()) in known:
        return known[name]
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        raise UsageError(f"no endpoint is called {name!r}", f"did you mean {near[0]!r}?")
    there = f"there are {', '.join(known)}; " if known else ""
    raise UsageError(
        f"no endpoint is called {name!r}",
        f"{there}write an address as http://{name}:8000, or name it with"
        f" `qwen config endpoint add {name} URL`",
    )


def add(endpoint: Endpoint, key: str | None = None) -> Path:
    """Keep `endpoint` under its name, `key` in the keyring; returns the file. Raises `UsageError`."""

    name = _checked_name(endpoint.name or "")
    table = {
        "url": base_url(endpoint.url),
        "key_env": endpoint.key_env,
        "keyring": endpoint.keyring or None,
        "model": endpoint.model,
        "headers": dict(endpoint.headers) or None,
    }
    kept = {what: value for what, value in table.items() if value is not None}
    _read(name, kept, paths.config_file())
    if key is not None:
        _keyring().set_password(_SERVICE, name, key)

    def change(document: Any) -> None:
        import tomlkit

        if settings.ENDPOINTS not in document:
            document[settings.ENDPOINTS] = tomlkit.table(is_super_table=True)
        document[settings.ENDPOINTS][name] = kept

    return settings.change(change)


def remove(name: str) -> Path:
    """Forget `name`, and its key. Raises `UsageError` where there is none."""
    gone = find(name)
    if gone.name is None:
        raise UsageError(f"{name!r} is an address, not a name", "`qwen config endpoint list` has the names")

    def change(document: Any) -> None:
        del document[settings.ENDPOINTS][name]
        if not document[settings.ENDPOINTS]:
            del document[settings.ENDPOINTS]

    file = settings.change(change)
    if gone.keyring:
        _forget(name)
    return file


def _read(name: str, table: object, file: Path) -> Endpoint:
    where = f"{file}: endpoints.{name}"
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a table, got {table!r}", f"write [endpoints.{name}]")
    for what, value in table.items():
        kind = _FIELDS.get(what)
        if kind is None:
            hint = f"known are {', '.join(_FIELDS)}"
            if _SECRET.search(what):
                hint = "a key does not belong in a file: use key_env or keyring"
            raise UsageError(f"{where} has a field {what!r}", hint)
        if not isinstance(value, kind):
            raise UsageError(
                f"{where}: {what} cannot be {value!r}", "`qwen config endpoint list` shows what there is"
            )
    if "url" not in table:
        raise UsageError(f"{where} has no url", "add one")
    _check_secrets(table, where)
    return Endpoint(name=name, **table)


def _check_secrets(table: Mapping[str, Any], where: str) -> None:
    from urllib.parse import urlsplit

    if table.get("key_env") and table.get("keyring"):
        raise UsageError(f"{where}: the key is in the environment or in the keyring", "choose one")
    if (variable := table.get("key_env")) is not None and not _VARIABLE.fullmatch(variable):
        raise UsageError(
            f"{where}: key_env is the name of a variable, which {_hidden(variable)} cannot be",
            "put the key into a variable and name that",
        )
    if "@" in urlsplit(table["url"]).netloc:
        raise UsageError(f"{where}: the url holds a password", "leave it out; use key_env or a header")
    for header, value in table.get("headers", {}).items():
        if not _HEADER.fullmatch(header) or not isinstance(value, str) or not value.isprintable():
            raise UsageError(f"{where}: {header!r} is no header", "write NAME=VALUE")
        if _SECRET.search(header) and not value.startswith("$"):
            raise UsageError(
                f"{where}: {header} looks like a secret, which does not belong in a file",
                f"put it into a variable: {header}=$VARIABLE",
            )


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name.lower() == "localhost":
        raise UsageError(f"an endpoint cannot be called {name!r}", "use letters, digits, - and _")
    return name


def _hidden(text: str) -> str:
    """Return a text for what may be a key that was given in the wrong place: it is not shown again."""
    return f"a text of {len(text)} characters"


def _keyring() -> Any:
    """Return the system's keyring. Raises `QwenError` where there is none."""
    try:
        import keyring
    except ImportError:
        from qwen_cli import install_hint

        raise QwenError(
            "keys in the keyring need the package `keyring`",
            f"run `{install_hint.command('keyring')}`, or use `key_env`",
        ) from None
    return keyring


def _from_keyring(name: str) -> str | None:
    ring = _keyring()
    try:
        value = ring.get_password(_SERVICE, name)
    except ring.errors.KeyringError as fault:
        raise QwenError(f"the keyring cannot be read: {fault}", "unlock it, or use `key_env`") from fault
    return str(value) if value else None


def _forget(name: str) -> None:
    ring = _keyring()
    try:
        ring.delete_password(_SERVICE, name)
    except ring.errors.PasswordDeleteError:  # it was not there
        pass
    except ring.errors.KeyringError as fault:
        raise QwenError(f"the keyring cannot be changed: {fault}", "remove the key by hand") from fault


def base_url(endpoint: str) -> str:
    """Return the address that `/chat/completions` is appended to. Raises `UsageError`.

    A missing scheme is http, a missing path is `/v1`; another path is taken as it is, because hosted
    services have their own (`/compatible-mode/v1`, `/api/v1`).
    """
    text = endpoint.strip()
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        bad_port = parts.port == 0
    except ValueError:
        bad_port = True
    if parts.scheme not in ("http", "https") or not parts.hostname or bad_port or " " in text:
        raise UsageError(
            f"{endpoint!r} is not the address of a server", "give one like http://localhost:8000/v1"
        )
    path = re.sub(r"/(chat/completions|completions|models)$", "", parts.path.rstrip("/"))
    return urlunsplit((parts.scheme, parts.netloc, path or "/v1", "", ""))
