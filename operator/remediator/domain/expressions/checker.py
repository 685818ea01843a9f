"""
The compiler of one Runbook's or policy's expressions.

An expression is parsed (may these names stand here?), type-checked against the declared outputs, and
rewritten for evaluation. All of that happens once, when the object is accepted; a refusal says where
and what to write instead.
"""

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from cel_expr_python import cel
from pydantic import BaseModel

from remediator.domain.errors import InvalidExpression, Problem
from remediator.domain.expressions import lookup, syntax, templates
from remediator.domain.expressions.expression import RUNTIME, Expression, Result, extensions
from remediator.domain.expressions.functions import FOR_THE_COMPILER
from remediator.domain.expressions.growth import GrowsTooLarge, growth
from remediator.domain.expressions.paths import fields_of_messages, keys_of, paths_of
from remediator.domain.expressions.pitfalls import refuse_pitfalls
from remediator.domain.expressions.places import ALLOWED, Place
from remediator.domain.expressions.refusals import instead
from remediator.domain.expressions.rewriting import Rewriting
from remediator.domain.expressions.shapes import (
    ANYTHING,
    STRINGS,
    Catalogue,
    Dyn,
    Field,
    Kind,
    ListOf,
    MapOf,
    Message,
    Shape,
    type_name,
)
from remediator.domain.expressions.sources import Source
from remediator.domain.expressions.syntax import Node
from remediator.domain.expressions.templates import Rendering, Template
from remediator.domain.json import JSON

SECRET_REF: Final = "secretRef"  # noqa: S105 - the name of a type
_MAX_TEMPLATE: Final = 16_384
_MOST_PARTS: Final = 100
"""Each is compiled, which takes a millisecond or so."""
_DEEPEST_TREE: Final = 64

_NAMED: Final = frozenset({"diagnosis", "latest", "steps", "params", "variables"})

PARAMETER_SHAPES: Final[Mapping[str, Shape]] = {
    **dict.fromkeys(("string", "duration", "quantity", "enum"), Kind.STRING),
    "int": Kind.INT,
    "number": Kind.DOUBLE,
    "bool": Kind.BOOL,
    "list": ListOf(Kind.STRING),
    "reference": STRINGS,
}
"""What a parameter of each type is in an expression; a `secretRef` is nothing."""

_FITTING: Final[Mapping[Result, tuple[str, ...]]] = {
    Result.BOOL: ("BOOL",),
    Result.LIST: ("LIST",),
    Result.STRING: ("STRING",),
    Result.NUMBER: ("INT", "UINT", "DOUBLE"),
}


@dataclass(frozen=True)
class Scope:
    """
    What a Runbook or policy declares, and so what its expressions can name.

    `parameters` and `variables` map a name to its type and its expression, `diagnostics` and `steps`
    to the output model of the action; all in the order in which they stand. A diagnostic in
    `for_each` gives a list of outputs. `item` is the model of the element inside a `forEach`, True
    where it cannot be typed; `Checker.within` types it from the `forEach` itself.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    diagnostics: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    steps: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    item: type[BaseModel] | bool = False
    for_each: frozenset[str] = frozenset()


class Checker:
    """
    Compiles the expressions and templates of one scope.

    Raises:
        InvalidExpression: if a variable of the scope cannot be compiled.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._catalogue = catalogue = Catalogue()
        outputs = {name: self._output(name, model) for name, model in scope.diagnostics.items()}
        steps = {name: self._step(name, model) for name, model in scope.steps.items()}
        params = {
            name: Field(PARAMETER_SHAPES.get(kind, Dyn()))
            for name, kind in scope.parameters.items()
            if kind != SECRET_REF
        }
        alert = lookup.alert_shape(catalogue, STRINGS)
        single: dict[str, Shape] = {
            "alert": alert,
            "alerts": ListOf(alert),
            "inhibitor": alert,
            "target": lookup.target_shape(catalogue, STRINGS, ANYTHING),
            "namespaceObject": lookup.namespace_shape(catalogue, STRINGS),
            "run": lookup.run_shape(catalogue),
        }
        if scope.item:
            single["item"] = Dyn() if isinstance(scope.item, bool) else catalogue.model(scope.item)
        parameters = catalogue.message("Parameters", params)
        self._roots: dict[str, Message] = {
            "diagnosis": catalogue.message("Diagnosis", {name: Field(shape) for name, shape in outputs.items()}),
            "steps": catalogue.message("Steps", {name: Field(shape) for name, shape in steps.items()}),
            "params": parameters,
        }
        self._roots["latest"] = self._roots["diagnosis"]
        self._lookup = lookup.Lookup(outputs, steps, single, parameters)
        self._pool = catalogue.pool()
        self._types: dict[str, Any] = {name: cel.Type(type_name(shape)) for name, shape in self._roots.items()}
        self._types |= {name: self._type(shape) for name, shape in single.items()}
        self._types["now"] = cel.Type.TIMESTAMP
        self._variables: dict[str, Expression] = {}
        self._environment = self._compiler()
        self._add_variables()

    def within(self, for_each: Expression) -> "Checker":
        """The checker for the fields of a step or diagnostic with this `forEach`: `item` has its element's type."""
        inner = copy.copy(self)
        try:
            of = self._environment.compile(f"({for_each.text}\n)[0]").return_type()
        except RuntimeError:
            of = cel.Type.DYN
        single = {**self._lookup.single, "item": self._shape_named(of.name())}
        inner._lookup = copy.copy(self._lookup)
        inner._lookup.single = single
        inner._types = {**self._types, "item": of}
        inner._environment = inner._compiler()
        return inner

    def expression(
        self,
        text: str,
        *,
        place: Place,
        path: str,
        result: Result = Result.BOOL,
        earlier: Collection[str] | None = None,
    ) -> Expression:
        """
        Compile bare CEL.

        `earlier` names what stands before the expression, where not everything does: the diagnostics
        for a diagnostic, the steps for anything else; None means all of the scope.

        Raises:
            InvalidExpression: with the path, the position, and what to write instead.
        """
        return self._compile(Source(text, path), place, result, earlier)

    def template(self, text: str, *, place: Place, path: str, earlier: Collection[str] | None = None) -> Template:
        """
        Compile a string that may contain `${…}`; `$${` stands for the two characters themselves.

        Raises:
            InvalidExpression: with the path, the position, and what to write instead.
        """
        whole = Source(text, path)
        if len(text) > _MAX_TEMPLATE:
            raise whole.refused(0, f"a text of at most {_MAX_TEMPLATE:,} characters, this one has {len(text):,}")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise whole.refused(0, "the text is not valid Unicode") from None
        try:
            # of what has too many no more is read than shows it
            parts = list(islice(templates.split(text), 2 * _MOST_PARTS + 2))
        except templates.Unbalanced as error:
            raise whole.refused(error.offset, "'${' is not closed; write '$${' for the two characters") from None
        if sum(is_expression for _, _, is_expression in parts) > _MOST_PARTS:
            raise whole.refused(0, f"a text holds at most {_MOST_PARTS} expressions")
        alone = len(parts) == 1
        compiled: list[str | Expression] = []
        for part, offset, is_expression in parts:
            if not is_expression:
                compiled.append(part)
                continue
            source = Source(part, path, text, offset)
            made = self._compile(source, place, Result.ANY, earlier)
            if not alone and made.type.name().startswith(("LIST", "MAP", "remediator.", "TYPE", "BYTES")):
                raise source.refused(
                    0, "a list or map cannot stand inside a text; take a field of it, or join() a list of texts"
                )
            compiled.append(made)
        return Template(text, tuple(compiled))

    def render(self, tree: JSON, *, place: Place, path: str, earlier: Collection[str] | None = None) -> Rendering:
        """
        Compile all templates of a tree of parameters.

        Raises:
            InvalidExpression: with all that is wrong in the tree.
        """
        found: list[Problem] = []

        def compiled(below: JSON, at: str, depth: int) -> Rendering:
            if depth > _DEEPEST_TREE:
                found.append(Problem(at, f"nested more than {_DEEPEST_TREE} deep"))
                return Rendering(None)
            if isinstance(below, str) and templates.OPENING in below:
                try:
                    return Rendering(self.template(below, place=place, path=at, earlier=earlier))
                except InvalidExpression as error:
                    found.extend(error.problems)
                    return Rendering(None)
            if isinstance(below, list):
                return Rendering([compiled(each, f"{at}[{index}]", depth + 1) for index, each in enumerate(below)])
            if isinstance(below, dict):
                return Rendering({key: compiled(each, f"{at}.{key}", depth + 1) for key, each in below.items()})
            return Rendering(below)

        rendering = compiled(tree, path, 0)
        if found:
            raise InvalidExpression(found)
        return rendering

    def _output(self, name: str, model: type[BaseModel] | None) -> Shape:
        shape: Shape = self._catalogue.model(model) if model is not None else Dyn()
        return ListOf(shape) if name in self._scope.for_each else shape

    def _step(self, name: str, model: type[BaseModel] | None) -> Message:
        always = {"ran": Field(Kind.BOOL, optional=False), "ok": Field(Kind.BOOL, optional=False)}
        outputs = self._catalogue.model(model).fields if model is not None else {}
        # what a step did not leave behind is absent: it is our own record, which is never unread
        own = {key: Field(out.shape, none_is_unknown=out.none_is_unknown) for key, out in outputs.items()}
        kept = {key: own[key] for key in own if key not in ("known", "truncated")}
        return self._catalogue.message(f"Step_{name}", {**kept, **always})

    def _type(self, shape: Shape) -> Any:
        if isinstance(shape, Message):
            return cel.Type(type_name(shape))
        if isinstance(shape, ListOf):
            return cel.Type.List(self._type(shape.item))
        return cel.Type.DYN

    def _shape_named(self, name: str) -> Shape:
        if name.startswith("LIST<"):
            return ListOf(self._shape_named(name.removeprefix("LIST<").removesuffix(">")))
        if name.startswith("MAP<STRING, "):
            return MapOf(self._shape_named(name.removeprefix("MAP<STRING, ").removesuffix(">")))
        shapes: dict[str, Shape] = {kind.name: kind for kind in Kind}
        shapes |= {type_name(message): message for message in self._catalogue.messages.values()}
        return shapes.get(name, Dyn())

    def _compiler(self) -> Any:
        variables = {f"variables.{name}": made.type for name, made in self._variables.items()}
        return cel.NewEnv(
            descriptor_pool=self._pool,
            variables={**self._types, **variables},
            extensions=extensions(),
            functions=FOR_THE_COMPILER,
        )

    def _add_variables(self) -> None:
        found: list[Problem] = []
        for index, (name, text) in enumerate(self._scope.variables.items()):
            path = f"spec.variables[{index}].expression"
            source = Source(text, path)
            try:
                made = self._compile(source, Place.VARIABLE, Result.ANY, None)
                kind = made.type.name()
                inner = kind if "<" in kind else ""
                if any(of in inner for of in ("TIMESTAMP", "DURATION", "UINT", "BYTES", "TYPE")) or kind in (
                    "BYTES",
                    "TYPE",
                ):
                    raise source.refused(0, f"a variable cannot be {kind}; make it texts, numbers, or one time")
            except InvalidExpression as error:
                found.extend(error.problems)
                continue
            self._variables[name] = made
            self._lookup.variables[name] = made
            self._environment = self._compiler()
        if found:
            raise InvalidExpression(found)

    def _compile(self, source: Source, place: Place, result: Result, earlier: Collection[str] | None) -> Expression:
        source.refuse_unreadable()
        with source.translating(self._catalogue.messages):
            tree = syntax.parsed(_PARSER.compile(source.text, disable_check=True).serialize())
        names = self._names(source, tree, place, earlier)
        with source.translating(self._catalogue.messages):
            compiled = self._environment.compile(source.text)
            checked = syntax.checked(compiled.serialize())
            of = compiled.return_type()
        refuse_pitfalls(source, checked)
        self._refuse_other_results(source, of.name(), result)
        try:
            size = growth(checked, {name: made.growth for name, made in self._variables.items()})
        except GrowsTooLarge:
            raise source.refused(0, "it could make a value more than 100 times larger than its data") from None
        rewriting = Rewriting(
            {f"variables.{name}": made.type.name() for name, made in self._variables.items()},
            frozenset(f"{root}.{name}" for root in ("diagnosis", "latest") for name in self._scope.for_each),
        )
        paths, marked = dict(keys_of(checked.expr)), frozenset(fields_of_messages(checked))
        with source.translating(self._catalogue.messages):
            program = RUNTIME.deserialize(rewriting.apply(checked))
        untyped = rewriting.untyped or any(
            self._variables[name.removeprefix("variables.")].untyped for name in names if name.startswith("variables.")
        )
        return Expression(
            text=source.text,
            names=names,
            untyped=untyped,
            result=result,
            growth=size,
            type=of,
            _lookup=self._lookup,
            _program=program,
            _questions=tuple(sorted(rewriting.needs)),
            _paths=paths,
            _marked=marked,
        )

    def _names(self, source: Source, tree: Node, place: Place, earlier: Collection[str] | None) -> frozenset[str]:
        names: set[str] = set()
        found: list[Problem] = []
        for path, at in paths_of(tree.expr, frozenset()):
            wrong = self._objection(path, place, earlier)
            if wrong:
                found.append(source.problem(source.offset_of(tree, at), wrong))
                continue
            root = ".".join(path[:2]) if path[0] in _NAMED else path[0]
            names.add(root)
            if path[0] == "variables":
                names |= self._variables[path[1]].names
        if found:
            raise InvalidExpression(found)
        return frozenset(names)

    def _objection(self, path: tuple[str, ...], place: Place, earlier: Collection[str] | None) -> str:
        """Why the path may not stand in this place; empty if it may."""
        root = path[0]
        if root not in ALLOWED[place]:
            return f"'{root}' may not be used in {place}{instead(root, ALLOWED[place])}"
        if root == "item" and "item" not in self._types:
            return "'item' may be used only where forEach stands"
        if root not in _NAMED:
            return ""
        if len(path) == 1:
            return f"'{root}' alone is nothing; write {root}.NAME"
        name = path[1]
        if root == "variables":
            if name not in self._variables:
                later = " before this one" if name in self._scope.variables else ""
                return f"there is no variable '{name}'{later}{instead(name, self._variables)}"
            through = (self._objection(tuple(used.split(".")), place, earlier) for used in self._variables[name].names)
            return next((f"variables.{name} uses it: {wrong}" for wrong in through if wrong), "")
        if root == "params" and self._scope.parameters.get(name) == SECRET_REF:
            return f"params.{name} is a secretRef, which no expression may use"
        if name not in self._roots[root].fields:
            return f"there is no {_CALLED[root]} '{name}'{instead(name, self._roots[root].fields)}"
        limited = root == "diagnosis" if place is Place.DIAGNOSE else root == "steps"
        if limited and earlier is not None and name not in earlier:
            return f"{root}.{name} does not come before this{instead(name, earlier)}"
        return ""

    def _refuse_other_results(self, source: Source, of: str, result: Result) -> None:
        if of.startswith("optional_type"):
            raise source.refused(0, "the result may be absent; end with .orValue(…)")
        fitting = _FITTING.get(result)
        if fitting and of != "DYN" and not of.startswith(fitting):
            raise source.refused(0, f"must be {result}, is {of.replace('remediator.', '').lower()}")


_CALLED: Final = {"diagnosis": "diagnostic", "latest": "diagnostic", "steps": "step", "params": "parameter"}
_PARSER: Final = cel.NewEnv(extensions=extensions())
