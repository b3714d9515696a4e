"""Reading a TOML document strictly: typed keys, unknown keys refused, messages that say where."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeVar

_T = TypeVar("_T", bound=str)
_HEADER: Final = re.compile(r"^\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"^\s*\"?([A-Za-z0-9_-]+)\"?\s*=")


class MappingError(Exception):
    """A mapping file is wrong; the message says where, what, and what to do."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` where one of the known words is near, else ""."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f'; did you mean "{by_lower[close[0]]}"?' if close else ""


class TomlTable:
    """One table of a document. Every key must be asked for before :meth:`finish`, which refuses the rest."""

    def __init__(self, values: dict[str, object], path: str, file: TomlFile) -> None:
        self._values = values
        self._path = path
        self._file = file
        self._asked: dict[str, None] = {}

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys present, in file order."""
        return tuple(self._values)

    def fail(self, key: str, what: str) -> MappingError:
        """The error for ``key``, with its place in the file."""
        path = f"{self._path}.{key}".strip(".")
        return MappingError(f"{self._file.place(path)}: {what}")

    def has(self, key: str) -> bool:
        """Whether the key is present; asking counts as known."""
        self._asked[key] = None
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str:
        """A non-empty string, or the default where there is one."""
        if not self.has(key):
            if default is None:
                raise self.fail(key, "is missing; a text is needed here")
            return default
        value = self._values[key]
        if not isinstance(value, str) or not value:
            raise self.fail(key, "must be a text in quotes, not empty")
        return value

    def choice(self, key: str, options: tuple[_T, ...], default: _T) -> _T:
        """One of a few words."""
        value = self.text(key, default)
        for option in options:
            if option == value:
                return option
        raise self.fail(key, f"must be one of {', '.join(options)}{suggestion(value, options)}")

    def number(self, key: str, default: int) -> int:
        """A whole number."""
        if not self.has(key):
            return default
        value = self._values[key]
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.fail(key, "must be a whole number")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """``true`` or ``false``."""
        if not self.has(key):
            return default
        value = self._values[key]
        if not isinstance(value, bool):
            raise self.fail(key, "must be true or false, without quotes")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty where the key is absent."""
        if not self.has(key):
            return ()
        value = self._values[key]
        if (
            not isinstance(value, list)
            or not value
            or not all(isinstance(item, str) and item for item in value)
        ):
            raise self.fail(key, "must be a list of texts in quotes, not empty")
        return tuple(str(item) for item in value)

    def translations(self, key: str) -> dict[str, str]:
        """A table of text to text; empty where the key is absent."""
        if not self.has(key):
            return {}
        value = self._values[key]
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self.fail(key, 'must be a table of texts, as { "1" = "M", "2" = "F" }')
        return {str(name): str(item) for name, item in value.items()}

    def table(self, key: str) -> TomlTable | None:
        """A sub-table, or None where it is absent."""
        if not self.has(key):
            return None
        value = self._values[key]
        if not isinstance(value, dict):
            raise self.fail(key, "must be a table")
        return TomlTable(value, f"{self._path}.{key}".strip("."), self._file)

    def tables(self, key: str) -> list[TomlTable]:
        """An array of tables (``[[key]]``), empty where it is absent."""
        if not self.has(key):
            return []
        value = self._values[key]
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.fail(key, f"must be written as [[{key}]]")
        path = f"{self._path}.{key}".strip(".")
        return [TomlTable(item, f"{path}[{i}]", self._file) for i, item in enumerate(value, start=1)]

    def text_or_table(self, key: str) -> str | TomlTable:
        """A string (a column name, usually) or an inline table that says more."""
        if self.has(key) and isinstance(self._values[key], str):
            return self.text(key)
        found = self.table(key)
        if found is None:
            raise self.fail(key, "is missing")
        return found

    def absent(self) -> TomlTable:
        """An empty table, to read the defaults of one that is left out."""
        return TomlTable({}, "", self._file)

    def finish(self) -> None:
        """Refuse every key that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                raise self.fail(key, f"is not a known key{suggestion(key, self._asked)}")


class TomlFile:
    """A TOML file with its text, so that an error can name a line."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise MappingError(f"{path}: cannot be read ({error.strerror})") from None
        try:
            self._text = data.decode("utf-8-sig")
            self._values: dict[str, object] = tomllib.loads(self._text)
        except UnicodeDecodeError as error:
            raise MappingError(f"{path.name}: is not UTF-8 text (byte {error.start + 1})") from None
        except tomllib.TOMLDecodeError as error:
            raise MappingError(f"{path.name}: is not valid TOML: {error}") from None

    @property
    def root(self) -> TomlTable:
        """The top-level table."""
        return TomlTable(self._values, "", self)

    def place(self, path: str) -> str:
        """``mapping.toml, line 12, people.fields.sex``; without the line where it cannot be told."""
        line = self._line_of(path)
        return f"{self._name}, line {line}, {path}" if line else f"{self._name}, {path}"

    def _line_of(self, path: str) -> int | None:
        """The line on which the key of ``path``, or the nearest table around it, is written."""
        best: tuple[int, int] | None = None
        seen: dict[str, int] = {}
        header = ""
        for number, line in enumerate(self._text.splitlines(), start=1):
            if match := _HEADER.match(line):
                header = ".".join(part.strip().strip('"') for part in match[1].split("."))
                if line.lstrip().startswith("[["):
                    seen[header] = seen.get(header, 0) + 1
                current = self._numbered(header, seen)
            elif match := _KEY.match(line):
                current = f"{self._numbered(header, seen)}.{match[1]}".strip(".")
            else:
                continue
            if (path == current or path.startswith((current + ".", current + "["))) and (
                best is None or len(current) > best[0]
            ):
                best = (len(current), number)
        return best[1] if best else None

    @staticmethod
    def _numbered(header: str, seen: dict[str, int]) -> str:
        """The header with the index of each array of tables on its way, as ``records[2].fields``."""
        path = plain = ""
        for part in header.split(".") if header else []:
            plain = f"{plain}.{part}".strip(".")
            path = f"{path}.{part}".strip(".") + (f"[{seen[plain]}]" if plain in seen else "")
        return path
