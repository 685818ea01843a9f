"""An AlertPolicy that may start runs, or everything that keeps it from that."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from remediator.domain.errors import InvalidManifest, Problem
from remediator.domain.expressions import Checker, Place, Scope, Template
from remediator.domain.json import JSON, Object
from remediator.domain.matching import Matcher, parse_matchers
from remediator.domain.policies import MAX_POLICY_NAME, AlertPolicySpec, Mode, TargetRule
from remediator.engine.acceptance.accepted import AcceptedPolicy, AcceptedRunbook, CompiledInhibition, CompiledTarget
from remediator.engine.acceptance.confinement import confinement_problems
from remediator.engine.acceptance.consent import approval_problems
from remediator.engine.acceptance.sharing import is_shared
from remediator.engine.acceptance.writing import Writing, told
from remediator.engine.kinds import is_cluster_scoped, kind_objection
from remediator.engine.manifests import OPENING, join, one_of, parsed
from remediator.engine.parameters import resolve


def accept_policy(
    namespace: str,
    name: str,
    uid: str,
    generation: int,
    spec: JSON,
    runbook: AcceptedRunbook | None,
    operator_namespace: str,
    *,
    can_ask: bool,
    runbook_problem: str = "",
) -> AcceptedPolicy:
    """
    The policy, with its matchers and expressions ready.

    `can_ask` says whether an Alertmanager or a Prometheus is configured; `runbook_problem` says why
    `runbook` is None, where more is known than that it is not there.

    Raises:
        InvalidManifest: with every problem, its path, and what to write instead.
    """
    found = list(_name_problems(name))
    try:
        read = parsed(AlertPolicySpec, spec, "spec")
    except InvalidManifest as error:
        raise InvalidManifest([*found, *error.problems]) from None
    matchers = _matchers(read.matchers, "spec.matchers", found)
    found.extend(_mode_problems(read, namespace == operator_namespace, can_ask))
    found.extend(approval_problems(read.approval, "spec"))
    found.extend(_runbook_problems(read, namespace, runbook, runbook_problem))
    if runbook is not None and namespace != operator_namespace:
        found.extend(confinement_problems(runbook, namespace, "spec.runbookRef"))
    parameters = _parameters(read, runbook, found)
    writing = Writing(_checker(runbook))
    when = writing.expression(read.when, Place.POLICY_WHEN, "spec.when")
    target = _target(read.target, runbook, namespace, operator_namespace, writing)
    inhibitions = _inhibitions(read, runbook, can_ask, writing)
    found.extend(writing.problems)
    if found or runbook is None:
        raise InvalidManifest(dict.fromkeys(found))
    return AcceptedPolicy(
        namespace=namespace,
        name=name,
        uid=uid,
        generation=generation,
        spec=read,
        matchers=matchers,
        runbook=runbook,
        parameters=parameters,
        when=when,
        target=target,
        inhibitions=inhibitions,
        warnings=told(writing.warnings),
    )


def _name_problems(name: str) -> Iterator[Problem]:
    if len(name) > MAX_POLICY_NAME:
        message = (
            f"has at most {MAX_POLICY_NAME} characters, this one has {len(name)}: it becomes part of its runs' names"
        )
        yield Problem("metadata.name", message)


def _matchers(texts: Sequence[str], path: str, found: list[Problem]) -> tuple[Matcher, ...]:
    matchers: list[Matcher] = []
    for index, text in enumerate(texts):
        try:
            matchers.extend(parse_matchers(text))
        except ValueError as error:
            found.append(Problem(f"{path}[{index}]", str(error)))
    return tuple(matchers)


def _inhibitions(
    spec: AlertPolicySpec, runbook: AcceptedRunbook | None, can_ask: bool, writing: Writing
) -> tuple[CompiledInhibition, ...]:
    """Each with its condition compiled, which may name what the Runbook reads."""
    if spec.inhibited_by and not can_ask:
        message = (
            "neither Alertmanager nor Prometheus is configured, so nobody can be asked whether such an alert fires"
        )
        writing.problem("spec.inhibitedBy", message)
    if runbook is not None and any(one.when is not None for one in spec.inhibited_by):
        writing = replace(writing, checker=Checker(runbook.scope))
    compiled = []
    for index, one in enumerate(spec.inhibited_by):
        path = f"spec.inhibitedBy[{index}]"
        matchers = _matchers(one.matchers, f"{path}.matchers", writing.problems)
        if matchers and all(matcher.matches({}) for matcher in matchers):
            writing.problem(f"{path}.matchers", "every alert would hold the policy's runs: match some label's value")
        when = writing.expression(one.when, Place.INHIBITED_WHEN, f"{path}.when")
        compiled.append(CompiledInhibition(one, matchers, when))
    return tuple(compiled)


def _mode_problems(spec: AlertPolicySpec, is_operators: bool, can_ask: bool) -> Iterator[Problem]:
    acts = spec.mode.rank >= Mode.APPROVE.rank
    if spec.service_account_name is None and acts:
        message = f"{spec.mode} needs the account that reads and changes: name it, or write `mode: DryRun`"
        yield Problem("spec.serviceAccountName", message)
    elif spec.service_account_name is None and not is_operators:
        message = "outside of the operator's namespace an account is needed even to read: name a ServiceAccount of this namespace"
        yield Problem("spec.serviceAccountName", message)
    if acts and spec.fresh_for is None and not can_ask:
        message = (
            "neither Alertmanager nor Prometheus is configured, so nobody can be asked whether the alert still fires: "
            "write how old the last notification may be, such as 5m, or configure one of them"
        )
        yield Problem("spec.freshFor", message)


def _runbook_problems(
    spec: AlertPolicySpec, namespace: str, runbook: AcceptedRunbook | None, problem: str
) -> Iterator[Problem]:
    where = f"{spec.runbook_ref.namespace or namespace}/{spec.runbook_ref.name}"
    if runbook is None:
        yield Problem("spec.runbookRef", problem or f"there is no Runbook {where}")
    elif not is_shared(runbook.namespace, runbook.spec.shared_with, namespace):
        message = f"Runbook {where} is not shared with the namespace {namespace}: its `sharedWith` has to name it"
        yield Problem("spec.runbookRef", message)


def _parameters(spec: AlertPolicySpec, runbook: AcceptedRunbook | None, found: list[Problem]) -> Object:
    if runbook is None:
        return {}
    try:
        return resolve(runbook.spec.parameters, {}, spec.parameters)
    except InvalidManifest as error:
        found.extend(error.problems)
        return {}


def _checker(runbook: AcceptedRunbook | None) -> Checker:
    declared = runbook.spec.parameters if runbook is not None else []
    return Checker(Scope(parameters={parameter.name: str(parameter.type) for parameter in declared}))


def _target(
    rule: TargetRule | None,
    runbook: AcceptedRunbook | None,
    namespace: str,
    operator_namespace: str,
    writing: Writing,
) -> CompiledTarget | None:
    if rule is None:
        return None
    path = "spec.target"
    if OPENING not in rule.kind:
        objection = kind_objection(rule.kind)
        if not objection and runbook is not None and rule.kind not in runbook.spec.targets:
            objection = f"the Runbook is about {one_of(runbook.spec.targets)}, not about {rule.kind}"
        if objection:
            writing.problem(join(path, "kind"), objection)
    if namespace != operator_namespace:
        for objection_path, message in _foreign(rule, namespace):
            writing.problem(join(path, objection_path), message)

    def part(key: str, text: str | None) -> Template | None:
        at = join(path, key)
        made = writing.text(text, Place.POLICY_TARGET, at)
        others = sorted((made.names if made is not None else frozenset()) - {"alert"})
        if others:
            message = (
                f"{others[0]} may not be used in a policy's target, which is found from the alert alone: use `alert`"
            )
            writing.problem(at, message)
        return made

    return CompiledTarget(
        kind=part("kind", rule.kind), name=part("name", rule.name), namespace=part("namespace", rule.namespace)
    )


def _foreign(rule: TargetRule, namespace: str) -> Iterator[tuple[str, str]]:
    """What a policy outside of the operator's namespace may not be about."""
    if rule.namespace is not None and OPENING not in rule.namespace and rule.namespace != namespace:
        message = (
            f"a policy of the namespace {namespace} is about its own namespace only: write {namespace}, or leave it out"
        )
        yield "namespace", message
    if is_cluster_scoped(rule.kind):
        message = f"a {rule.kind} is in no namespace: only policies in the operator's namespace may be about one"
        yield "kind", message
