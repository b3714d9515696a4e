"""Any database that SQLAlchemy can reach as a source of subjects and case records. It only ever reads.

The main table is streamed in the order of the subject's number; side tables are read for one chunk of
subjects at a time, so they want an index on that column. A number is found whatever spaces stand around it:
a table whose numbers are text is therefore read whole where one subject is asked for. Every question is a
transaction of its own, so it is answered from what was committed before it. No message shows the URL, which
may hold a password, nor a driver's own text, which may hold data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Engine,
    Enum,
    MetaData,
    String,
    Table,
    create_engine,
    func,
    inspect,
    select,
)
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, NoSuchTableError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from agency_node.mapping import SourceMapping, SqlSettings
from agency_node.mapping_toml import suggestion
from agency_node.sources.errors import SourceError, SourceStructureError
from agency_node.sources.joined import JoinedSource
from agency_node.sources.losses import TellLosses, log_losses
from agency_node.sources.rows import RawRow, RowBlock

_FETCH: Final = 1_000
_IN_LIST: Final = 500
_SPACES: Final = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
"""All that ``str.strip`` takes away, for numbers read from a table are stripped."""


class SqlSource(JoinedSource):
    """Reads tables or views by a synchronous engine; ``schema.table`` names a table of another schema."""

    def __init__(
        self,
        mapping: SourceMapping,
        *,
        today: date,
        work_folder: Path | None = None,
        tell: TellLosses = log_losses,
    ) -> None:
        if not isinstance(mapping.source, SqlSettings):
            raise TypeError("the mapping describes a folder of files, not a database")
        engine, self._where = _engine(mapping.source.url)
        self._engine: Engine = engine
        self._metadata = MetaData()
        super().__init__(mapping, today=today, work_folder=work_folder, tell=tell)

    def close(self) -> None:
        """Close every connection and delete the temporary index."""
        self._engine.dispose()
        super().close()

    def _scan(self, table: str, columns: tuple[str, ...], size: int) -> Iterator[RowBlock]:
        found = self._table(table, columns)
        # every rule lists the subject's number first
        query = select(*(found.c[name] for name in columns)).order_by(found.c[columns[0]])
        try:
            with self._connect() as connection:
                result = connection.execution_options(yield_per=_FETCH).execute(query)
                for number, rows in enumerate(result.partitions(size)):
                    cells = [[_text(table, n, v) for n, v in zip(columns, row, strict=True)] for row in rows]
                    lines = range(number * size + 1, number * size + len(rows) + 1)
                    yield RowBlock(table, columns, lines, tuple(zip(*cells, strict=True)))
        except SQLAlchemyError as error:
            raise self._failure(f"table {table} cannot be read", error) from None

    def _files(self) -> tuple[Path, ...]:
        return ()

    def _probe(self, table: str, columns: tuple[str, ...]) -> None:
        self._table(table, columns)

    def _find(
        self, table: str, subject_column: str, columns: tuple[str, ...], subjects: Sequence[str]
    ) -> dict[str, list[RawRow]]:
        found_table = self._table(table, columns)
        key = found_table.c[subject_column]
        keys = [value for subject in subjects if (value := _key_value(key, subject)) is not None]
        if not _is_text(key):
            return self._by_subject(found_table, columns, key, [key.in_(part) for part in _parts(keys)])
        bare = _bare(key, self._engine.dialect.name)
        if len(subjects) == 1:
            return self._by_subject(found_table, columns, key, [bare == keys[0]])
        found = self._by_subject(found_table, columns, key, [key.in_(part) for part in _parts(keys)])
        for subject, rows in self._spaced(found_table, columns, key, bare, subjects).items():
            found.setdefault(subject, []).extend(rows)
        return found

    def _spaced(
        self,
        table: Table,
        columns: tuple[str, ...],
        key: Column[object],
        bare: ColumnElement[str],
        subjects: Sequence[str],
    ) -> dict[str, list[RawRow]]:
        """The rows whose number has spaces around it. No index of the database finds those, so they are
        looked for once while subjects are read by the thousand, and kept."""
        kept = "\x1f".join((table.fullname, key.name, *columns))
        if not self._index.has(kept):
            found = self._by_subject(table, columns, key, [key != bare])
            self._index.load(kept, key.name, (row for rows in found.values() for row in rows))
        return self._index.find(kept, subjects)

    def _by_subject(
        self,
        table: Table,
        columns: tuple[str, ...],
        key: Column[object],
        conditions: Iterable[ColumnElement[bool]],
    ) -> dict[str, list[RawRow]]:
        """The rows that meet one of the conditions, by their subject's number."""
        found: dict[str, list[RawRow]] = {}
        order = [key, *(column for column in table.primary_key.columns if column is not key)]
        try:
            with self._connect() as connection:
                for condition in conditions:
                    query = select(*(table.c[name] for name in columns)).where(condition).order_by(*order)
                    for line, row in enumerate(connection.execute(query), start=1):
                        cells = _cells(table.fullname, columns, tuple(row))
                        found.setdefault(cells[key.name].strip(), []).append(
                            RawRow(table.fullname, line, cells)
                        )
        except SQLAlchemyError as error:
            raise self._failure(f"table {table.fullname} cannot be searched", error) from None
        return found

    def _connect(self) -> Connection:
        try:
            return self._engine.connect()
        except SQLAlchemyError as error:
            raise self._failure("no connection", error) from None

    def _table(self, name: str, columns: tuple[str, ...]) -> Table:
        """The reflected table, with every wanted column in it."""
        schema, _, plain = name.rpartition(".")
        try:
            table = Table(plain, self._metadata, schema=schema or None, autoload_with=self._engine)
        except NoSuchTableError:
            names = inspect(self._engine)
            known = [*names.get_table_names(schema or None), *names.get_view_names(schema or None)]
            raise SourceStructureError(f'there is no table "{name}"{suggestion(plain, known)}') from None
        except SQLAlchemyError as error:
            raise self._failure("no connection", error) from None
        for column in columns:
            if column not in table.c:
                hint = suggestion(column, table.c.keys())
                raise SourceStructureError(f'table {name}: there is no column "{column}"{hint}')
        return table

    def _failure(self, what: str, error: SQLAlchemyError) -> SourceError:
        return SourceError(
            f"{self._where}: {what} ({type(error).__name__}). "
            "Check that the database is reachable, and that the account may read the tables."
        )


def _engine(url: str) -> tuple[Engine, str]:
    """The engine, and how to speak of the database without any secret."""
    try:
        parsed = make_url(url)
        where = f"database {parsed.get_backend_name()}" + (f" at {parsed.host}" if parsed.host else "")
        # a file that was put in the database's place is seen by new connections only
        is_file = parsed.get_backend_name() == "sqlite"
        options: dict[str, object] = {"poolclass": NullPool} if is_file else {"pool_pre_ping": True}
        return create_engine(parsed, hide_parameters=True, **options), where
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise SourceError(
            "the database URL cannot be read; its form is dialect+driver://user:password@host/name"
        ) from None
    except ImportError as error:
        raise SourceError(f"the database driver {error.name} is not installed; install it") from None


def _key_value(column: Column[object], subject: str) -> object | None:
    """The subject's number in the column's own type, so that its index is used, or None."""
    try:
        python_type: type = column.type.python_type
    except NotImplementedError:
        return subject
    if python_type is str:
        return subject
    try:
        value: object = python_type(subject)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return value


def _is_text(column: Column[object]) -> bool:
    return isinstance(column.type, String) and not isinstance(column.type, Enum)


def _bare(column: Column[object], dialect: str) -> ColumnElement[str]:
    """The text without spaces around it; where the database can, without all that Python counts as such."""
    return func.trim(column, _SPACES) if dialect in ("sqlite", "postgresql") else func.trim(column)


def _parts(keys: Sequence[object]) -> Iterator[Sequence[object]]:
    return (keys[start : start + _IN_LIST] for start in range(0, len(keys), _IN_LIST))


def _cells(table: str, columns: tuple[str, ...], values: tuple[object, ...]) -> dict[str, str]:
    return {name: _text(table, name, value) for name, value in zip(columns, values, strict=True)}


def _text(table: str, column: str, value: object) -> str:
    """A database value as the text that a file would hold."""
    match value:
        case None:
            return ""
        case str():
            return value.replace("\0", "")
        case bool():
            return "true" if value else "false"
        case datetime() | date() | time():
            return value.isoformat()
        case float() if value.is_integer():
            return str(int(value))
        case Decimal():
            return format(value, "f")
        case bytes() | bytearray() | memoryview():
            raise SourceStructureError(f"table {table}: column {column} holds bytes, not text")
        case _:
            return str(value)
