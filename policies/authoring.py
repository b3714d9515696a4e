"""Policies as people write them: YAML or TOML in, the same strict documents out.

Only a small part of YAML is read: mappings, lists, text, whole numbers, `true` and `false`. No floats, dates,
nulls, anchors, tags or repeated keys; `no` and `2026-01-01` are text. Fields that have a default may be left
out.

A template holds `${name}` where something is to be filled in; nothing is loaded while one remains.
"""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import cast

import yaml

from crypto.canonical import JsonValue
from policies.codec import D, from_json
from policies.errors import DocumentError
from policies.sharing import SharingPolicy

MAX_SOURCE_CHARS = 1_000_000
_PLACEHOLDER = re.compile(r"\$\{([a-z][a-z0-9_]*)\}")
_FILLING = re.compile(r"[^\x00-\x1f\x7f\"\\$]{1,300}")


class _Loader(yaml.SafeLoader):
    """The part of YAML that has one meaning."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own class attribute, filled below

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call] # types-PyYAML leaves it untyped
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise DocumentError(f"line {event.start_mark.line + 1}: anchors and aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise DocumentError(f"line {key.start_mark.line + 1}: names of fields are text")
            if key.value in seen:
                raise DocumentError(f"line {key.start_mark.line + 1}: {key.value!r} is given twice")
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep=deep))


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^(0|[1-9][0-9]{0,15})$"), list("0123456789")
)


def load_yaml(kind: type[D], text: str) -> D:
    """A document written in YAML; raises DocumentError with the line or the path."""
    _require_ready(text)
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        raise DocumentError(f"not readable as YAML: {error}") from error
    except RecursionError:
        raise DocumentError("not readable as YAML: nested too deeply") from None
    return from_json(kind, cast(JsonValue, value), fill_defaults=True)


def load_toml(kind: type[D], text: str) -> D:
    """A document written in TOML, its times as text; raises DocumentError with the line or the path."""
    _require_ready(text)
    try:
        value = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DocumentError(f"not readable as TOML: {error}") from error
    return from_json(kind, cast(JsonValue, value), fill_defaults=True)


def load_policy(text: str, file_name: str) -> SharingPolicy:
    """A sharing policy from a file's text; the ending of its name says which language it is in."""
    if file_name.endswith((".yaml", ".yml")):
        return load_yaml(SharingPolicy, text)
    if file_name.endswith(".toml"):
        return load_toml(SharingPolicy, text)
    raise DocumentError("a policy is written in a .yaml or .toml file")


def template_names() -> tuple[str, ...]:
    """The templates that come with the program."""
    folder = resources.files("policies") / "templates"
    return tuple(
        sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    )


def template(name: str) -> str:
    """The text of a template."""
    if name not in template_names():
        raise DocumentError(f"there is no template {name[:40]!r}; there are {', '.join(template_names())}")
    return (resources.files("policies") / "templates" / f"{name}.yaml").read_text(encoding="utf-8")


def placeholders(text: str) -> tuple[str, ...]:
    """What is still to be filled in, in order of appearance."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))


def fill(text: str, values: Mapping[str, str]) -> str:
    """The template with its placeholders filled; unknown and missing names are refused."""
    wanted = set(placeholders(text))
    if unknown := sorted(values.keys() - wanted):
        raise DocumentError(f"the template has no {', '.join(unknown)}")
    if missing := sorted(wanted - values.keys()):
        raise DocumentError(f"still to be filled in: {', '.join(missing)}")
    for name, value in values.items():
        if _FILLING.fullmatch(value) is None:
            raise DocumentError(
                f"{name}: one line of at most 300 characters without quotes, backslashes or $"
            )
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _require_ready(text: str) -> None:
    if len(text) > MAX_SOURCE_CHARS:
        raise DocumentError(f"the file is longer than {MAX_SOURCE_CHARS} characters")
    if remaining := placeholders(text):
        raise DocumentError(f"still to be filled in: {', '.join(remaining)}")
