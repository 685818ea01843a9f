"""
The parameters of a Runbook: what a declaration may say, and which value counts.

The run's value beats the policy's, the policy's the default. Values stay JSON, as expressions see
them: a duration is Go's string, a quantity a string, a reference a map.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from remediator.domain.durations import parse_duration
from remediator.domain.errors import InvalidManifest, Problem
from remediator.domain.expressions import RESERVED
from remediator.domain.json import JSON, Object
from remediator.domain.matching import Matcher, Operator
from remediator.domain.names import is_object_name
from remediator.domain.objects import BUILT_IN
from remediator.domain.quantities import parse_quantity
from remediator.domain.runbooks import Parameter, ParameterType
from remediator.engine.kinds import kind_objection
from remediator.engine.manifests import OPENING, join, nearest, one_of, shown, wrong_type

MAX_LIST: Final = 1_000
MAX_TEXT: Final = 16_384
_INT64: Final = range(-(2**63), 2**63)

NO_TEMPLATES: Final = "`${…}` is not read in a parameter's value; write the value, or use the expression in the Runbook"


def resolve(declared: Sequence[Parameter], run: Mapping[str, JSON], policy: Mapping[str, JSON] | None = None) -> Object:
    """
    The value of every parameter that has one.

    Raises:
        InvalidManifest: with the path `spec.parameters.NAME` of each value that does not fit, is not
            declared or is missing.
    """
    given = {**(policy or {}), **run}
    found: list[Problem] = []
    resolved: Object = {}
    names = [parameter.name for parameter in declared]
    for name in given:
        if name not in names:
            hint = nearest(name, names) if names else "; it has none"
            found.append(Problem(join("spec.parameters", name), f"the Runbook has no such parameter{hint}"))
    for parameter in declared:
        path = join("spec.parameters", parameter.name)
        if parameter.name in given:
            try:
                resolved[parameter.name] = fitting(parameter, given[parameter.name])
            except ValueError as error:
                found.append(Problem(path, str(error)))
        elif parameter.default is not None:
            resolved[parameter.name] = fitting(parameter, parameter.default)
        elif parameter.required:
            what = f": {parameter.description}" if parameter.description else ""
            found.append(Problem(path, f"is required{what}"))
    if found:
        raise InvalidManifest(found)
    return resolved


def declaration_problems(parameters: Sequence[Parameter], path: str) -> Iterator[Problem]:
    """What is wrong with the declarations themselves, before anybody gives a value."""
    seen: set[str] = set()
    for index, parameter in enumerate(parameters):
        at = join(path, index)
        if parameter.name in seen:
            yield Problem(
                join(at, "name"), f"{parameter.name} is declared twice; give each parameter a name of its own"
            )
        if parameter.name in RESERVED:
            yield Problem(join(at, "name"), f"{parameter.name} is a word of CEL; choose another name")
        seen.add(parameter.name)
        yield from _wrong_bounds(parameter, at)
        yield from _wrong_values(parameter, at)
        if parameter.required and parameter.default is not None:
            yield Problem(join(at, "required"), "a parameter with a default is never missing; write one or the other")


def fitting(parameter: Parameter, value: Any) -> JSON:
    """
    The value as expressions see it.

    Raises:
        ValueError: with a sentence that says what the value must be.
    """
    if isinstance(value, str) and OPENING in value:
        raise ValueError(NO_TEMPLATES)
    read = _READERS[parameter.type](parameter, value)
    if parameter.type in _ORDERED:
        _refuse_outside(parameter, read)
    return read


def _string(parameter: Parameter, value: Any) -> JSON:
    if not isinstance(value, str):
        raise ValueError(wrong_type("a string", value))
    if len(value) > MAX_TEXT:
        raise ValueError(f"has at most {MAX_TEXT:,} characters, this one has {len(value):,}")
    if parameter.pattern is not None:
        whole = Matcher("value", Operator.MATCHES, parameter.pattern)
        if not whole.matches({"value": value}):
            raise ValueError(f"must match {parameter.pattern} as a whole, is {shown(value)}")
    return value


def _int(parameter: Parameter, value: Any) -> JSON:  # noqa: ARG001 - all readers are called alike
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(wrong_type("a whole number", value))
    if value not in _INT64:
        raise ValueError("must fit into 64 bits")
    return value


def _number(parameter: Parameter, value: Any) -> JSON:  # noqa: ARG001
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(wrong_type("a number", value))
    number = float(value) if abs(value) <= 1e300 else float("nan")
    if number != number:
        raise ValueError("must be a finite number")
    return number


def _bool(parameter: Parameter, value: Any) -> JSON:  # noqa: ARG001
    if not isinstance(value, bool):
        raise ValueError(wrong_type("true or false", value))
    return value


def _duration(parameter: Parameter, value: Any) -> JSON:  # noqa: ARG001
    if not isinstance(value, str):
        raise ValueError(wrong_type('a duration in quotes, such as "90s"', value))
    parse_duration(value)
    return value


def _quantity(parameter: Parameter, value: Any) -> JSON:  # noqa: ARG001
    return value if parse_quantity(value) is not None and isinstance(value, str) else str(value)


def _enum(parameter: Parameter, value: Any) -> JSON:
    if not isinstance(value, str):
        raise ValueError(wrong_type("a string", value))
    if value not in parameter.values:
        raise ValueError(f"must be {one_of(parameter.values)}, is {shown(value)}{nearest(value, parameter.values)}")
    return value


def _list(parameter: Parameter, value: Any) -> JSON:  # noqa: ARG001
    if not isinstance(value, list):
        raise ValueError(wrong_type("a list of strings", value))
    if len(value) > MAX_LIST:
        raise ValueError(f"has at most {MAX_LIST:,} entries, this one has {len(value):,}")
    for index, element in enumerate(value):
        if not isinstance(element, str):
            raise ValueError(f"entry {index} {wrong_type('a string', element)}")
        if OPENING in element:
            raise ValueError(f"entry {index}: {NO_TEMPLATES}")
    return list(value)


def _reference(parameter: Parameter, value: Any) -> JSON:  # noqa: ARG001
    found = _texts(value, required=("kind", "name"), optional=("namespace",))
    objection = kind_objection(found["kind"])
    if objection:
        raise ValueError(f"kind: {objection}")
    for key in ("name", "namespace"):
        if key in found and not is_object_name(found[key]):
            raise ValueError(f"{key}: {shown(found[key])} is no object's name")
    built_in = BUILT_IN.get(found["kind"])
    if built_in is not None and not built_in.namespaced and "namespace" in found:
        raise ValueError(f"namespace: a {built_in.kind} is in no namespace; leave it out")
    return dict(found)


def _secret_ref(parameter: Parameter, value: Any) -> JSON:  # noqa: ARG001
    return dict(_texts(value, required=("name", "key"), optional=()))


def _texts(value: Any, *, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, str]:
    """A map of these keys, each a string without a template."""
    shape = f"{{{', '.join((*required, *optional))}}}"
    if not isinstance(value, dict):
        raise ValueError(wrong_type(f"a map {shape}", value))
    for key, element in value.items():
        if key not in (*required, *optional):
            raise ValueError(f"{key}: there is no such field; write {shape}")
        if not isinstance(element, str) or not element:
            raise ValueError(f"{key}: {wrong_type('a string', element)}")
        if OPENING in element:
            raise ValueError(f"{key}: {NO_TEMPLATES}")
    for key in required:
        if key not in value:
            raise ValueError(f"{key} is required; write {shape}")
    return dict(value)


_READERS: Final[Mapping[ParameterType, Callable[[Parameter, Any], JSON]]] = {
    ParameterType.STRING: _string,
    ParameterType.INT: _int,
    ParameterType.NUMBER: _number,
    ParameterType.BOOL: _bool,
    ParameterType.DURATION: _duration,
    ParameterType.QUANTITY: _quantity,
    ParameterType.ENUM: _enum,
    ParameterType.LIST: _list,
    ParameterType.REFERENCE: _reference,
    ParameterType.SECRET_REF: _secret_ref,
}


def _decimal(value: Any) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{shown(value)} is not a number") from None
    if not number.is_finite():
        raise ValueError(f"{shown(value)} is not a finite number")
    return number


_ORDERED: Final[Mapping[ParameterType, Callable[[Any], Any]]] = {
    ParameterType.INT: _decimal,
    ParameterType.NUMBER: _decimal,
    ParameterType.DURATION: parse_duration,
    ParameterType.QUANTITY: parse_quantity,
}
"""The types that have a smallest and a largest value, and how values are compared."""


def _refuse_outside(parameter: Parameter, value: Any) -> None:
    order = _ORDERED[parameter.type]
    if parameter.minimum is not None and order(value) < order(parameter.minimum):
        raise ValueError(f"must be at least {parameter.minimum}, is {value}")
    if parameter.maximum is not None and order(value) > order(parameter.maximum):
        raise ValueError(f"must be at most {parameter.maximum}, is {value}")


def _wrong_bounds(parameter: Parameter, path: str) -> Iterator[Problem]:
    bounds = {"minimum": parameter.minimum, "maximum": parameter.maximum}
    read: dict[str, Any] = {}
    for key, text in bounds.items():
        if text is None:
            continue
        if parameter.type not in _ORDERED:
            yield Problem(
                join(path, key),
                f"a value of type {parameter.type} has no {key}; those of type {one_of(map(str, _ORDERED))} have",
            )
            continue
        try:
            read[key] = _ORDERED[parameter.type](text)
        except ValueError as error:
            yield Problem(join(path, key), str(error))
    if len(read) == 2 and read["minimum"] > read["maximum"]:
        message = f"{parameter.minimum} is above the maximum, {parameter.maximum}: no value would fit"
        yield Problem(join(path, "minimum"), message)


def _wrong_values(parameter: Parameter, path: str) -> Iterator[Problem]:
    is_enum = parameter.type is ParameterType.ENUM
    if is_enum and not parameter.values:
        yield Problem(join(path, "values"), "an enum needs its values, such as [low, high]")
        return
    if parameter.values and not is_enum:
        yield Problem(
            join(path, "values"),
            f"only an enum has values; write `type: enum`, or leave them out of a {parameter.type}",
        )
    if parameter.pattern is not None:
        if parameter.type is not ParameterType.STRING:
            yield Problem(join(path, "pattern"), f"only a string has a pattern, not a value of type {parameter.type}")
        try:
            Matcher("value", Operator.MATCHES, parameter.pattern)
        except ValueError as error:
            yield Problem(join(path, "pattern"), str(error))
            return
    if parameter.default is not None:
        if parameter.type is ParameterType.SECRET_REF:
            yield Problem(
                join(path, "default"), "a secretRef has no default: it names a Secret of who uses the Runbook"
            )
            return
        yield from _wrong_default(parameter, join(path, "default"))


def _wrong_default(parameter: Parameter, path: str) -> Iterator[Problem]:
    try:
        fitting(parameter, parameter.default)
    except ValueError as error:
        bounds = (parameter.minimum, parameter.maximum)
        if any(bound is not None and _unreadable(parameter.type, bound) for bound in bounds):
            return  # the bound itself is what is wrong, and that is said
        yield Problem(path, str(error))


def _unreadable(kind: ParameterType, bound: str) -> bool:
    try:
        _ORDERED[kind](bound)
    except (KeyError, ValueError):
        return True
    return False
