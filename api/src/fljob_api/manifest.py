"""Reading an FLJob manifest from YAML, strictly, with the line of every field.

Used by the command line. Reads one document into plain data and judges its form only: duplicate keys, several
documents, merge keys, values that JSON cannot hold. What the fields mean is for `validation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from fljob_api.problems import Problem, child

MAX_BYTES = 1 << 20
_MAX_NODES = 100_000
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null"))


class ManifestError(ValueError):
    """A text that is no manifest; `problems` says why, with paths and lines."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True)
class Manifest:
    """One document: its plain data, and the line (from 1) on which each path begins."""

    value: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)

    def line_of(self, path: str) -> int:
        """Return the line of a path, or of the nearest thing around it that is there; at least 1."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, 1)


class Loader(yaml.SafeLoader):
    """The safe loader without dates: Kubernetes has none, JSON neither."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - pyyaml's own attribute
        first: [(tag, pattern) for tag, pattern in rules if tag != _TIMESTAMP]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read(text: str) -> Manifest:
    """Parse one YAML (or JSON) document.

    Raises ManifestError for broken YAML, none or several documents, a document that is no mapping, duplicate
    or non-text keys, merge keys, tags, and texts past 1 MiB or 100,000 values.
    """
    if len(text.encode()) > MAX_BYTES:
        raise _refused("", f"the manifest is larger than {MAX_BYTES} bytes")
    loader = Loader(text)
    try:
        reader = _Reader(loader)
        value = reader.document()
    except yaml.YAMLError as error:
        raise _refused("", f"not valid YAML: {_words(error)}") from error
    finally:
        loader.dispose()
    if reader.problems:
        raise ManifestError(tuple(reader.problems))
    return Manifest(value, reader.lines)


class _Reader:
    """Turns the nodes of one document into plain data; collects lines and problems on the way."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._nodes = 0
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []

    def document(self) -> dict[str, Any]:
        if not self._loader.check_node():
            raise _refused("", "the manifest is empty")
        root = self._loader.get_node()
        if self._loader.check_node():
            raise _refused("", f"line {self._loader.line + 1}: a second document begins; give one FLJob per file")
        if not isinstance(root, yaml.MappingNode):
            raise _refused("", "the manifest must be a mapping with apiVersion, kind, metadata and spec")
        return self._mapping(root, "")

    def _value(self, node: yaml.Node, path: str) -> Any:  # noqa: ANN401 - plain data
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _refused(path, f"more than {_MAX_NODES} values (aliases count each time)")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, child(path, index)) for index, item in enumerate(node.value)]
        if node.tag not in _PLAIN_TAGS:
            self._problem(node, path, f"the tag {node.tag} has no meaning here")
            return None
        return self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key in value:
                self._problem(key_node, child(path, key), "the key is given twice")
            self.lines[child(path, key)] = key_node.start_mark.line + 1
            value[key] = self._value(value_node, child(path, key))
        return value

    def _key(self, node: yaml.Node, path: str) -> str:
        if node.tag == "tag:yaml.org,2002:merge":
            self._problem(node, path, "merge keys (<<) are not supported; write the fields out")
        elif node.tag != "tag:yaml.org,2002:str":
            self._problem(node, path, f"the key {node.value!r} is not text; quote it")
        return str(node.value)

    def _problem(self, node: yaml.Node, path: str, message: str) -> None:
        self.problems.append(Problem(path, f"line {node.start_mark.line + 1}: {message}"))


def _refused(path: str, message: str) -> ManifestError:
    return ManifestError((Problem(path, message),))


def _words(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or error.context}"
    return str(error).splitlines()[0]
