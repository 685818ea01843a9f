"""
Playing a playbook's scenarios: alert in, transcript out, the whole operator on fakes.

The folder's own `runbook.yaml` and `policy.yaml` (or `run.yaml`, for what is asked for by hand) are
accepted as the operator accepts them; alerts go through intake; the clock moves when there is nothing
left to do. What comes out is a text that a person reviews in a diff. `script` describes the file.

    result = await run_scenario(Path("playbooks/pod-crash-loop/scenario.yaml"), "panic-after-a-release")
    print(result.transcript)
"""

import copy
import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml

from remediator.actions import registry
from remediator.domain.actions import ActionClass
from remediator.domain.alerts import Alert, fingerprint_of
from remediator.domain.durations import format_duration, parse_duration
from remediator.domain.errors import InvalidManifest
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import GUARDRAIL, POLICY, RUN, RUNBOOK, ObjectRef
from remediator.domain.receipts import Receipt
from remediator.domain.replies import ReplyType
from remediator.domain.runs import Run, RunOutcome
from remediator.engine.recurrence import has_something_left
from remediator.handlers.definitions import Definitions
from remediator.handlers.freshness import Freshness, Heard
from remediator.handlers.keeping import Keeper
from remediator.handlers.resolving import Resolver
from remediator.handlers.run_index import RunIndex
from remediator.handlers.taking import Taker
from remediator.testing.clock import NOON, StoppedClock
from remediator.testing.cluster import FakeCluster, Write
from remediator.testing.fakes import Sent
from remediator.testing.script import Firing, Moment, Refusal, Scenario, Script, Setting, Word, read_script
from remediator.testing.stage import Moments, ScriptedMetrics, Stage
from remediator.testing.world import OPERATOR_NAMESPACE, World

USER: Final = f"system:serviceaccount:{OPERATOR_NAMESPACE}:remediator"
MARGIN: Final = " " * 20
LOOKS: Final = 5_000
STAMPS: Final = ("/metadata/annotations/remediator.dev~1", "remediator.dev/run", "remediator.dev/step")


@dataclass(frozen=True)
class Result:
    """What a scenario came to."""

    name: str
    transcript: str
    runs: tuple[Run, ...]
    """In the order in which they were made."""
    writes: tuple[Write, ...]
    """The operator's writes to what is not its own; dry runs included."""
    messages: tuple[Sent, ...]
    receipts: Mapping[Receipt, int]

    @property
    def outcome(self) -> RunOutcome | None:
        """How the first run ended; None for no run, and for one that is still open."""
        return self.runs[0].status.outcome if self.runs else None

    @property
    def remedy(self) -> str:
        return self.runs[0].status.remedy if self.runs else ""

    @property
    def reason(self) -> str:
        ending = self.runs[0].status.ending if self.runs else None
        return ending.reason if ending is not None else ""

    @property
    def changes(self) -> tuple[str, ...]:
        """The writes that left a trace, as text."""
        return tuple(str(write) for write in self.writes if not write.dry_run)


async def run_scenario(path: Path, name: str = "", *, scenario: Scenario | None = None, **spec: Any) -> Result:
    """
    The story of one scenario of the file; without a name, of its only one.

    `scenario` is played instead, in the file's world. `spec` goes into the policy or the run by hand
    after all else: `mode="Diagnose"`.

    Raises InvalidManifest where the playbook is not accepted, KeyError for a name that is not there.
    """
    script = read_script(path)
    play = _Play(path.parent, script, scenario or script.scenario(name), spec)
    await play.begin()
    return await play.played()


def with_durations(manifest: Object, factor: float) -> Object:
    """
    A copy of a Runbook or AlertPolicy whose waits are so many times as long, for tests on real clusters.

    Grace, cooldown, timeouts, waits and the times of checks are Go durations that take no parameter.
    What says how far to look back (`since`, `maxAge`) stays, and nothing but 0s becomes shorter than 1s.
    """
    changed = copy.deepcopy(manifest)
    spec: Any = changed.get("spec", {})
    _stretch(spec, ("grace", "freshFor"), factor)
    _stretch(spec.get("limits"), ("cooldown",), factor)
    checks = list(spec.get("verify", ()))
    for remedy in spec.get("remedies", ()):
        _stretch(remedy, ("timeout",), factor)
        checks += remedy.get("verify", ())
        for step in remedy.get("steps", ()):
            _stretch(step, ("timeout",), factor)
            _stretch(step.get("wait"), ("within", "for"), factor)
    for check in checks:
        for part in check.values():
            _stretch(part, ("within", "for", "quietFor", "every"), factor)
    return changed


def _stretch(part: Any, keys: tuple[str, ...], factor: float) -> None:
    for key in keys:
        if isinstance(part, dict) and isinstance(part.get(key), str):
            length = parse_duration(part[key])
            part[key] = format_duration(max(length * factor, timedelta(seconds=1))) if length else part[key]


def _merged(base: Any, patch: Any) -> Any:
    """A JSON merge patch: null removes, maps are merged, the rest is replaced."""
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    made = {key: value for key, value in base.items() if patch.get(key, value) is not None}
    return {**made, **{key: _merged(made.get(key), value) for key, value in patch.items() if value is not None}}


def _manifest(path: Path) -> Object:
    found: Object = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@dataclass
class _Line:
    """One line of the transcript, with what belongs under it."""

    at: datetime
    word: str
    text: str
    under: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = f"{self.at:%H:%M:%S}  {self.word:<10}{self.text}".rstrip()
        return "\n".join([head, *(f"{MARGIN}{line}".rstrip() for line in self.under)])


class _Story:
    """The transcript as it grows: what the world did, and what the operator said of it."""

    def __init__(self) -> None:
        self.lines: list[_Line] = []
        self._told: dict[str, list[Any]] = {}
        self._writes = 0
        self._sent = 0

    def say(self, at: datetime, word: str, text: str) -> None:
        self.lines.append(_Line(at, word, text))

    def follow(self, run: Run, writes: list[Write], sent: list[Sent], *, prefix: str) -> None:
        """What is new on the run's record, each change and message under the line that tells of it."""
        told = self._told.get(run.uid, [])
        entries = [(one.at, one.what, one.message) for one in run.status.timeline]
        for entry in _after(told, entries):
            line = _Line(entry[0], entry[1], f"{prefix}{entry[2]}")
            if entry[1] in ("start", "rehearse"):
                self._put_writes(line, writes, 1 if entry[1] == "start" else len(writes))
            if ": told " in entry[2]:
                self._put_messages(line, sent, 1)
            self.lines.append(line)
        self._told[run.uid] = entries
        if self.lines:
            self._put_writes(self.lines[-1], writes, len(writes))
            self._put_messages(self.lines[-1], sent, len(sent))

    def _put_writes(self, line: _Line, writes: list[Write], count: int) -> None:
        for write in writes[self._writes :][:count]:
            line.under += [f"{write}, as {write.identity.account.rpartition(':')[2]}", *_operations(write)]
            self._writes += 1

    def _put_messages(self, line: _Line, sent: list[Sent], count: int) -> None:
        for message in sent[self._sent :][:count]:
            line.under.append(f"to {message.receiver}: {message.subject}")
            line.under += [f"  | {text}" for text in _said(message.body)]
            self._sent += 1

    def text(self, tokens: set[str]) -> str:
        whole = "\n".join(map(str, self.lines)) + "\n"
        whole = re.sub(r"\(token [0-9a-f]+\)", "(token …)", whole)
        for token in sorted(tokens):
            whole = whole.replace(token, "<token>")
        return whole


def _after(told: list[Any], entries: list[Any]) -> list[Any]:
    """The entries that are not told yet, also where the middle of a long story was dropped."""
    for length in range(len(told), 0, -1):
        for start in range(len(entries) - length, -1, -1):
            if entries[start : start + length] == told[-length:]:
                return entries[start + length :]
    return entries


def _operations(write: Write) -> list[str]:
    """What a write altered, without what it tested and without our stamps."""
    lines = []
    for operation in write.operations:
        path, value = str(operation.get("path")), operation.get("value")
        if operation.get("op") == "test" or path.startswith(STAMPS[0]):
            continue
        if path == "/metadata/annotations" and isinstance(value, dict):
            value = {key: one for key, one in value.items() if key not in STAMPS}
            if not value:
                continue
        shown = "" if operation.get("op") == "remove" else f" {json.dumps(value, ensure_ascii=False)}"
        lines.append(f"  {operation.get('op')} {path}{shown}")
    return lines


def _said(body: str) -> list[str]:
    """A message as it arrives; of the story that it repeats only how much of it."""
    lines = body.splitlines()
    kept, repeated = [], 0
    for line in lines:
        if re.match(r"\d\d:\d\d:\d\dZ ", line):
            repeated += 1
        else:
            if repeated:
                kept.append(f"({repeated} lines of the story)")
                repeated = 0
            kept.append(line)
    return kept


class _Play:
    """One scenario while it is played."""

    def __init__(self, folder: Path, script: Script, scenario: Scenario, spec: Mapping[str, Any]) -> None:
        self._folder = folder
        self._scenario = scenario
        self._spec = dict(spec)
        self._setting: Setting = script.world.with_(scenario.world)
        self._to_fire = sorted(scenario.alerts or script.alerts, key=lambda one: one.at)
        self._fired: list[Alert] = []
        self._to_happen = list(scenario.meanwhile)
        self._resolved = False
        self._receipts: dict[Receipt, int] = {}
        self._story = _Story()
        longest = max((one.ago for one in self._setting.releases), default=timedelta(0))
        self._clock = StoppedClock(NOON - longest - timedelta(days=1))
        self._definitions = Definitions(self._clock, operator_namespace=OPERATOR_NAMESPACE, can_ask=True)
        self._world = World(self._definitions, clock=self._clock)
        self._cluster: FakeCluster = self._world.cluster
        self._moments = Moments(self._cluster, self._clock, NOON)
        self._stage = Stage(self._cluster, self._clock, self._setting, self._moments)
        self._index = RunIndex(self._clock)
        self._asked = 0

    # before it begins

    async def begin(self) -> None:
        """The world as it is at noon, with its past behind it and the playbook installed."""
        setting = self._setting
        self._cluster.add(*(copy.deepcopy(obj) for obj in setting.objects))
        self._stage.settle()
        for release in sorted(setting.releases, key=lambda one: one.ago, reverse=True):
            self._wait_for(NOON - release.ago)
            self._stage.release(release)
            self._stage.settle()
        self._wait_for(NOON)
        self._stage.settle()
        self._world.notifier.receivers = set(setting.receivers or ("default",))
        self._world.alerts.unreachable = not setting.alertmanager
        for refusal in setting.refused:
            self._cluster.refuse_when(_refusing(refusal))
        metrics = ScriptedMetrics(setting.metrics, self._moments, reachable=setting.prometheus)
        self._world.outside = dataclasses.replace(self._world.outside, metrics=metrics)
        await self._install()
        self._new_operator()

    async def _install(self) -> None:
        setting = self._setting
        fence: dict[str, Any] = {
            "allow": setting.allow if setting.allow is not None else [*registry.names(ActionClass.CHANGE)]
        }
        if setting.max_mode:
            fence["maxMode"] = setting.max_mode
        self._cluster.add(
            {"apiVersion": GUARDRAIL.api_version, "kind": "Guardrail", "metadata": {"name": "fence"}, "spec": fence}
        )
        self._cluster.add(_manifest(self._folder / "runbook.yaml"))
        if self._is_by_hand:
            account, namespace = self._account(self._run_manifest())
        else:
            policy = self._policy_manifest()
            self._cluster.add(policy)
            account, namespace = self._account(policy)
        for denial in setting.denied:
            self._cluster.forbid(f"system:serviceaccount:{namespace}:{account}", denial.verb, denial.resource)
        await self._definitions.load(self._cluster)
        for kind in (RUNBOOK, POLICY):
            for known in self._definitions.all(kind):
                if known.problems:
                    raise InvalidManifest(known.problems)
        await self._index.changed("SYNCED", {})

    @property
    def _is_by_hand(self) -> bool:
        return not (self._folder / "policy.yaml").exists()

    def _policy_manifest(self) -> Object:
        manifest = _manifest(self._folder / "policy.yaml")
        manifest["spec"] = _merged(manifest["spec"], {"mode": "Automatic", **self._scenario.policy, **self._spec})
        return manifest

    def _run_manifest(self) -> Object:
        manifest = _manifest(self._folder / "run.yaml")
        manifest["spec"] = _merged(manifest["spec"], {"mode": "Automatic", **self._scenario.run, **self._spec})
        return manifest

    @staticmethod
    def _account(manifest: Object) -> tuple[str, str]:
        return dig_text(manifest, "spec", "serviceAccountName"), dig_text(manifest, "metadata", "namespace")

    def _new_operator(self) -> None:
        self._world.new_operator()
        heard = Heard(self._clock)
        heard.follow(POLICY, lambda: self._definitions.last_event(POLICY), lambda: self._definitions.synced(POLICY))
        keeper = Keeper(
            self._cluster,
            self._index,
            self._clock,
            self._world.switch,
            operator_namespace=OPERATOR_NAMESPACE,
            user=USER,
            merged_seconds=0.0,
        )
        self._taker = Taker(
            self._definitions,
            Freshness(self._cluster, self._definitions, self._index, heard),
            Resolver(self._cluster, self._clock),
            keeper,
            self._world.suspended,
            self._clock,
            OPERATOR_NAMESPACE,
        )

    def _wait_for(self, moment: datetime) -> None:
        self._clock.advance(moment - self._clock.now())

    # while it is played

    async def played(self) -> Result:
        """Until every run has ended and owes nothing, or the time is over."""
        until = NOON + self._scenario.within
        for _ in range(LOOKS):
            await self._happen()
            self._stage.settle()
            self._moments.look(self._awaited())
            waits = [await self._look(run) for run in self._runs() if not run.is_ended or has_something_left(run)]
            self._moments.look(self._awaited())
            due = min([*self._dates(waits), until])
            if self._is_over() or self._clock.now() >= until:
                break
            self._wait_for(max(due, self._clock.now() + timedelta(milliseconds=200)))
        return self._result()

    async def _happen(self) -> None:
        if self._is_by_hand:
            await self._ask()
        firing = [one for one in self._to_fire if NOON + one.at <= self._clock.now()]
        if firing:
            self._to_fire = [one for one in self._to_fire if one not in firing]
            await self._fire(firing)
        for happening in [one for one in self._to_happen if self._moments.has_come(one.when)]:
            self._to_happen.remove(happening)
            self._story.say(self._clock.now(), "meanwhile", happening.says)
            await self._stage.happen(happening)
            if happening.reply is not None:
                await self._reply(happening.reply)
            if happening.restart_operator:
                self._new_operator()
        if self._scenario.resolves is not None and self._moments.has_come(self._scenario.resolves):
            await self._resolve()

    async def _reply(self, word: Word) -> None:
        """A person's word to the run that is open."""
        run = next(run for run in reversed(self._runs()) if not run.is_ended)
        asked = [one for attempt in run.status.attempts for one in attempt.approvals if one.state == "Waiting"]
        spec: Object = {"step": word.step, "answer": word.answer, "reason": word.reason}
        if word.type in (ReplyType.APPROVE, ReplyType.DENY) and asked:
            spec |= {"planHash": asked[-1].plan_hash, "step": asked[-1].step}
        given = {name: value for name, value in spec.items() if value}
        await self._world.say(run, word.type, word.user, *word.groups, **given)

    async def _ask(self) -> None:
        """The run by hand, and once more where the scenario says so."""
        dates = [NOON, *([NOON + self._scenario.again] if self._scenario.again is not None else [])]
        for number, date in enumerate(dates, 1):
            if number <= self._asked or date > self._clock.now():
                continue
            self._asked = number
            manifest = self._run_manifest()
            name = dig_text(manifest, "metadata", "name") or dig_text(manifest, "metadata", "generateName").rstrip("-")
            metadata: Object = {"namespace": dig_text(manifest, "metadata", "namespace"), "name": f"{name}-{number}"}
            run = Run.parse(await self._cluster.create(RUN, {**manifest, "metadata": metadata}))
            asked = json.dumps(run.spec.parameters, ensure_ascii=False)
            self._story.say(self._clock.now(), "asked", f"{run.spec.requested_by} makes run {run.full_name}, {asked}")

    async def _fire(self, firing: list[Firing]) -> None:
        now = self._clock.now()
        alerts = [
            Alert(
                fingerprint=fingerprint_of(one.labels),
                status="firing",
                labels=one.labels,
                annotations=one.annotations,
                starts_at=now - one.since,
            )
            for one in firing
        ]
        for alert in alerts:
            labels = ", ".join(f"{key}={value}" for key, value in alert.labels.items() if key != "alertname")
            self._story.say(now, "alert", f"{alert.name} ({labels})")
            self._world.alerts.fire(alert)
        self._fired += alerts
        await self._notify(alerts)

    async def _resolve(self) -> None:
        if self._resolved or not self._fired or self._to_fire:
            return
        self._resolved = True
        now = self._clock.now()
        self._world.alerts.resolve()
        names = ", ".join(dict.fromkeys(alert.name for alert in self._fired))
        self._story.say(now, "resolved", names)
        await self._notify([_ended(alert, now) for alert in self._fired])

    async def _notify(self, alerts: list[Alert]) -> None:
        answer = await self._taker.take(alerts)
        for receipt, count in answer.receipts.items():
            self._receipts[receipt] = self._receipts.get(receipt, 0) + count
        receipts = ", ".join(f"{receipt} {count}" for receipt, count in sorted(answer.receipts.items()))
        runs = f"; run {', '.join(sorted(answer.runs))}" if answer.runs else ""
        self._story.say(self._clock.now(), "intake", f"{receipts}{runs}")

    async def _look(self, run: Run) -> float | None:
        again = await self._world.look(run)
        seen = self._world.run(run)
        if seen.spec.episode is not None:
            await self._index.changed("MODIFIED", self._cluster.get(_ref(seen)))
        prefix = f"{seen.name}: " if len(self._runs()) > 1 else ""
        self._story.follow(seen, self._writes(), self._world.notifier.sent, prefix=prefix)
        return again

    def _runs(self) -> list[Run]:
        found = [Run.parse(obj) for obj in self._cluster.objects(RUN)]
        return sorted(found, key=lambda run: (run.created_at, run.name))

    def _writes(self) -> list[Write]:
        return [write for write in self._cluster.writes if write.identity.account]

    def _awaited(self) -> list[Moment]:
        """Every moment that something waits for."""
        setting, resolves = self._setting, self._scenario.resolves
        moments = [one.when for one in self._to_happen] + ([resolves] if resolves is not None else [])
        moments += [m for one in setting.pods for m in (one.since, one.until, one.cured) if m is not None]
        return moments + [one.since for one in setting.metrics if one.since is not None]

    def _dates(self, waits: list[float | None]) -> list[datetime]:
        now = self._clock.now()
        dates = [now + timedelta(seconds=wait) for wait in waits if wait is not None]
        dates += [NOON + one.at for one in self._to_fire]
        dates += [NOON + self._scenario.again] if self._scenario.again is not None else []
        moments = [one.when for one in self._to_happen]
        if self._scenario.resolves is not None and not self._resolved:
            moments.append(self._scenario.resolves)
        dates += [due for due in (self._moments.due(moment) for moment in moments) if due is not None]
        return [date for date in dates if date > now]

    def _is_over(self) -> bool:
        asked_for_all = self._asked == 2 or self._scenario.again is None
        return not self._to_fire and asked_for_all and all(run.is_ended and not run.owes for run in self._runs())

    def _result(self) -> Result:
        runs = tuple(self._runs())
        tokens = {
            step.token
            for run in runs
            for attempt in run.status.attempts
            for step in (*attempt.steps, *attempt.undo)
            if step.token
        }
        ends = [f"{run.full_name}: {run.status.outcome or f'open, {run.status.message}'}" for run in runs]
        head = f"# {self._scenario.title}\n\n"
        end = "\n" + "\n".join(ends or ["no run"]) + "\n"
        return Result(
            name=self._scenario.name,
            transcript=head + self._story.text(tokens) + end,
            runs=runs,
            writes=tuple(self._writes()),
            messages=tuple(self._world.notifier.sent),
            receipts=dict(self._receipts),
        )


def _ref(run: Run) -> ObjectRef:
    return ObjectRef(RUN.group, RUN.kind, run.namespace, run.name)


def _refusing(refusal: Refusal) -> Callable[[Write, Object | None], str]:
    def refuse(write: Write, _: Object | None) -> str:
        return refusal.message if write.ref.kind == refusal.kind else ""

    return refuse


def _ended(alert: Alert, now: datetime) -> Alert:
    return dataclasses.replace(alert, status="resolved", ends_at=now)
