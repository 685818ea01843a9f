"""
From a pydantic model to a structural schema, as CRDs want it.

A structural schema has no references, no unions and one type everywhere. What pydantic writes
otherwise is turned into what the API server takes, and anything that cannot be turned is an error
here, not a schema that quietly allows more.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from remediator.domain.durations import format_duration
from remediator.generate.rules import IMPORTANT_LISTS, PATTERNS, RULES, Rule, quoted

Schema = dict[str, Any]

_MODEL: Final = "x-model"
_ORDER: Final = (
    "type",
    "x-kubernetes-int-or-string",
    "anyOf",
    "x-kubernetes-preserve-unknown-fields",
    "format",
    "description",
    "default",
    "enum",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
    "required",
    "properties",
    "additionalProperties",
    "items",
)
"""How a reader takes a field in: what it is, what it means, what it may be, what is in it."""
_KEPT: Final = frozenset(_ORDER) - {"properties", "additionalProperties", "items", "anyOf", "default"}
_DROPPED: Final = frozenset({"title", "examples", _MODEL})


class NotStructural(Exception):
    """A model says something that a CRD cannot; the message names the place."""


class _WithModels(GenerateJsonSchema):
    """Marks every object with its model, and writes durations as people do."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return {**super().model_schema(schema), _MODEL: model_id(schema["cls"])}

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def model_id(model: type[BaseModel]) -> str:
    """What tells models of one name apart."""
    return f"{model.__module__}.{model.__qualname__}"


_RULES: Final = {model_id(model): rules for model, rules in RULES.items()}
_LISTS: Final = {(model_id(model), name): keys for (model, name), keys in IMPORTANT_LISTS.items()}


def structural(model: type[BaseModel], *, record: bool = False) -> Schema:
    """
    The model's schema, whole in itself.

    A default becomes part of the stored object, where people see it. In a `record`, which the
    operator writes and keeps small, that is done for words of a fixed set only; and a pattern is a bare one
    there: nobody reads its words, and for a single rule in CEL the API server goes through all of the record
    at each write.
    """
    written = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_WithModels)
    definitions = written.pop("$defs", {})
    return _Translation(definitions, record=record).of(written, model.__name__)


def in_reading_order(schema: Schema) -> Schema:
    """The same schema, with what a field is before what is in it."""
    ordered = {}
    for key in sorted(schema, key=_ORDER.index):
        value = schema[key]
        if key == "properties":
            value = {name: in_reading_order(one) for name, one in value.items()}
        elif key in ("items", "additionalProperties"):
            value = in_reading_order(value)
        ordered[key] = value
    return ordered


class _Translation:
    def __init__(self, definitions: Mapping[str, Schema], *, record: bool) -> None:
        self.definitions = definitions
        self.record = record
        self.open: list[str] = []

    def of(self, written: Schema, path: str) -> Schema:
        """One schema at one place."""
        if "$ref" in written:
            return self._referenced(written, path)
        if "anyOf" in written and not written.get("x-kubernetes-int-or-string"):
            return self._optional(written, path)
        result: Schema = {}
        keys: Schema = {}
        for key, value in written.items():
            match key:
                case "properties" if not value:
                    pass  # the API server drops it, and `kubectl apply` would see a difference each time
                case "properties":
                    result["properties"] = {name: self.of(one, f"{path}.{name}") for name, one in value.items()}
                case "items":
                    result["items"] = self.of(value, f"{path}[]")
                case "additionalProperties":
                    if isinstance(value, Mapping):
                        result["additionalProperties"] = self.of(dict(value), f"{path}{{}}")
                    # False: the API server prunes or refuses what is not named anyway
                    elif value is True and "properties" not in written:
                        result["x-kubernetes-preserve-unknown-fields"] = True
                case "propertyNames":
                    keys = {**keys, **value}
                case "patternProperties":
                    ((pattern, values),) = value.items()
                    result["additionalProperties"] = self.of(values, f"{path}{{}}")
                    keys = {"pattern": pattern}
                case "const":
                    result["enum"] = [value]
                case "exclusiveMinimum" | "exclusiveMaximum":
                    result["minimum" if key.endswith("Minimum") else "maximum"] = value
                    result[key] = True
                case "uniqueItems":
                    result["x-kubernetes-list-type"] = "set"
                case "pattern" if value in PATTERNS and not self.record:
                    _add_rule(result, PATTERNS[value])
                case "default":
                    if self._is_stored(written):
                        result["default"] = value
                case "anyOf":
                    result["anyOf"] = [{"type": one["type"]} for one in value]
                case "x-kubernetes-validations":
                    result.setdefault(key, []).extend(value)
                case _ if key in _KEPT:
                    result[key] = value
                case _ if key in _DROPPED:
                    pass
                case _:
                    raise NotStructural(f"{path}: a CRD cannot say {key!r}: {value!r}")
        # CEL has no type for a map whose values have none; those keys the operator checks alone.
        if keys and "type" in result["additionalProperties"]:
            _add_rule(result, _rule_for_keys(keys, path))
        self._complete(result, written, path)
        return result

    def _complete(self, result: Schema, written: Schema, path: str) -> None:
        model = written.get(_MODEL, "")
        for rule in _RULES.get(model, ()):
            _add_rule(result, rule)
        for name, one in result.get("properties", {}).items():
            keys = _LISTS.get((model, name))
            if keys is not None:
                one["x-kubernetes-list-type"] = "map" if keys else "set"
                if keys:
                    one["x-kubernetes-list-map-keys"] = list(keys)
        if description := result.get("description"):
            result["description"] = _one_line(description)
        if self._says_default(result, written):
            result["description"] = f"{result['description']} Default: {_spoken(written['default'])}."
        if result.get("x-kubernetes-int-or-string"):
            result.pop("type", None)
        elif "type" not in result and not result.get("x-kubernetes-preserve-unknown-fields"):
            raise NotStructural(f"{path}: has no type: {written!r}")

    def _referenced(self, written: Schema, path: str) -> Schema:
        name = written["$ref"].rpartition("/")[2]
        if name in self.open:
            raise NotStructural(f"{path}: {name} contains itself")
        self.open.append(name)
        try:
            return self.of({**self.definitions[name], **{k: v for k, v in written.items() if k != "$ref"}}, path)
        finally:
            self.open.pop()

    def _optional(self, written: Schema, path: str) -> Schema:
        choices = [one for one in written["anyOf"] if one.get("type") != "null"]
        if len(choices) != 1:
            raise NotStructural(f"{path}: a CRD cannot say that a value has one of several types")
        beside = {key: value for key, value in written.items() if key != "anyOf"}
        if beside.get("default") is None:
            beside.pop("default", None)
        return self.of({**choices[0], **beside}, path)

    def _is_stored(self, written: Schema) -> bool:
        if _says_nothing(written["default"]):
            return False
        return "enum" in written if self.record else True

    def _says_default(self, result: Schema, written: Schema) -> bool:
        """Defaults stand in every description of what people write, as `kubectl explain` shows nothing else."""
        if self.record or _says_nothing(written.get("default")) or "description" not in result:
            return False
        return "default" not in result["description"].lower()


def _rule_for_keys(names: Schema, path: str) -> Rule:
    pattern = names.get("pattern")
    if pattern is None:
        longest = names.get("maxLength")
        if longest is None:
            raise NotStructural(f"{path}: keys are limited by neither pattern nor length")
        return Rule(f"self.all(key, key.size() <= {longest})", f"a key has at most {longest} characters")
    known = PATTERNS.get(pattern)
    message = known.message if known is not None else f"every key must match {pattern}"
    return Rule(f"self.all(key, key.matches({quoted(pattern)}))", message)


def _add_rule(schema: Schema, rule: Rule) -> None:
    schema.setdefault("x-kubernetes-validations", []).append(rule.as_json())


def _one_line(text: str) -> str:
    """The first paragraph: what follows it in a docstring is for people who read the code."""
    return " ".join(text.strip().partition("\n\n")[0].split())


def _says_nothing(default: Any) -> bool:
    """Whether a field that is left out reads the same: false, zero, empty."""
    return not default


def _spoken(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
