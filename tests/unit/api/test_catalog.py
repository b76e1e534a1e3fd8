"""Names and parameters of built-ins, checked without torch."""

from __future__ import annotations

import pytest

from fljob_api.catalog import parse

CATALOG = parse(
    {
        "models": {
            "ncf": {
                "description": "Collaborative filtering.",
                "properties": {
                    "mode": {"$ref": "#/$defs/Mode"},
                    "factors": {"type": "integer", "minimum": 1, "maximum": 512},
                    "dropout": {"anyOf": [{"type": "number", "exclusiveMaximum": 1}, {"type": "null"}]},
                    "bias": {"type": "boolean"},
                    "layers": {"type": "string", "pattern": "^[0-9]+(,[0-9]+)*$"},
                    "sizes": {
                        "type": ["string", "integer"],
                        "items": {"type": "integer", "exclusiveMinimum": 0},
                        "maxItems": 3,
                    },
                },
                "required": ["mode"],
                "$defs": {"Mode": {"type": "string", "enum": ["GMF", "MLP"]}},
            }
        }
    }
)


def _faults(name: str = "ncf", parameters: dict[str, str | int] | None = None, *, others: bool = False) -> list[str]:
    problems = CATALOG.check("models", name, {"mode": "MLP", **(parameters or {})}, path="spec.model", others=others)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("mode", "GMF"),
        ("factors", 8),
        ("factors", "512"),
        ("dropout", "0.5"),
        ("bias", "true"),
        ("layers", "64,32"),
        ("layers", 64),
        ("sizes", "3, 2,1"),
        ("sizes", 3),
    ],
)
def test_a_parameter_within_its_schema_passes(parameter: str, value: str | int) -> None:
    assert _faults(parameters={parameter: value}) == []


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ("mode", "GMFF", "spec.model.parameters.mode: must be one of GMF, MLP Did you mean `GMF`?"),
        ("factors", 0, "spec.model.parameters.factors: must be at least 1"),
        ("factors", 513, "spec.model.parameters.factors: must be at most 512"),
        ("factors", "eight", "spec.model.parameters.factors: must be an integer, not 'eight'"),
        ("dropout", "1", "spec.model.parameters.dropout: must be less than 1"),
        ("dropout", "much", "spec.model.parameters.dropout: must be a number, not 'much'"),
        ("bias", "yes", 'spec.model.parameters.bias: must be "true" or "false"'),
        ("layers", "64;32", "spec.model.parameters.layers: must match ^[0-9]+(,[0-9]+)*$"),
        ("dropout", "-inf", "spec.model.parameters.dropout: must be finite, not '-inf'"),
        ("sizes", "1,2,3,4", "spec.model.parameters.sizes: must have at most 3 items"),
        ("sizes", "3,0", "spec.model.parameters.sizes: must be more than 0"),
    ],
)
def test_a_parameter_out_of_its_schema_is_refused_with_its_path(parameter: str, value: str | int, words: str) -> None:
    assert _faults(parameters={parameter: value}) == [words]


def test_an_unknown_parameter_is_refused_with_those_that_exist() -> None:
    (fault,) = _faults(parameters={"factor": 8})

    assert fault.startswith("spec.model.parameters.factor: ncf has no such parameter; it has: bias, dropout, factors")
    assert fault.endswith("Did you mean `factors`?")


def test_a_missing_parameter_is_refused() -> None:
    (problem,) = CATALOG.check("models", "ncf", {}, path="spec.model", others=False)

    assert (problem.path, problem.message) == ("spec.model.parameters.mode", "is required by ncf")


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    (fault,) = _faults("nfc")

    assert fault.startswith("spec.model.name: unknown name 'nfc'; built in: ncf")


def test_an_unknown_name_passes_when_the_user_imports_modules() -> None:
    assert _faults("my-model", others=True) == []


def test_a_built_in_is_checked_even_when_the_user_imports_modules() -> None:
    assert _faults(parameters={"factors": 0}, others=True) == ["spec.model.parameters.factors: must be at least 1"]
