"""A process that believes to lead: the shell that carries runs on, with fakes for all but the API server."""

from collections.abc import Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any

from known import Given
from model.histories import Session
from model.server import OPERATOR_NAMESPACE
from remediator.adapters.locks import LeaseLocks
from remediator.domain.json import Object
from remediator.domain.locks import LockState
from remediator.domain.runs import Run
from remediator.engine.acceptance import AcceptedRunbook
from remediator.handlers.accept import Books
from remediator.handlers.accounts import Accounts
from remediator.handlers.acting import Register
from remediator.handlers.announce import Announcer
from remediator.handlers.diagnose import Diagnostician
from remediator.handlers.epochs import Epochs
from remediator.handlers.gather import Gatherer
from remediator.handlers.later import Later
from remediator.handlers.leading import Alone, Leading, Mandate
from remediator.handlers.outside import Outside
from remediator.handlers.perform import Performer
from remediator.handlers.queue import Key
from remediator.handlers.replies import Replies
from remediator.handlers.runs import Admission as Asked
from remediator.handlers.runs import Reconciler
from remediator.handlers.switch import Switch
from remediator.ports import Locks
from remediator.testing.fakes import (
    FakeEvents,
    FakeEvidence,
    FakeLocks,
    FakeMetrics,
    FakeNotifier,
    FakeStorms,
    FakeWeb,
)

NAMESPACE = "shop"


@dataclass
class Parts:
    """What such a process is made of."""

    reconciler: Reconciler
    switch: Switch
    said: list[str] = field(default_factory=list)
    """What it knows of the switch, as the watch has brought it."""


@dataclass(frozen=True)
class Leader:
    """
    Carries runs on.

    Between two pieces of work it forgets everything but what its watch of the switch has brought. Locks are
    held by the run from the beginning where `held` names them, and nobody else asks for them.
    """

    known: Given
    book: AcceptedRunbook
    content: str
    held: tuple[LockState, ...] = ()
    epoch: int = 0
    """0: nobody counts, and the API server refuses nobody."""

    def build(self, session: Session, memory: Hashable) -> Parts:
        switch = Switch(session.cluster, OPERATOR_NAMESPACE)
        parts = Parts(self.reconciler(self.outside(session, switch)), switch)
        switch.heard("SYNCED", {})
        return parts

    def outside(self, session: Session, switch: Switch) -> Outside:
        replies = Replies()
        replies.changed("SYNCED", {})
        locks = FakeLocks()
        locks.states = {state.name: state for state in self.held}
        return Outside(
            cluster=session.cluster,
            metrics=FakeMetrics(),
            web=FakeWeb(),
            alerts=session.alerts,
            locks=self.locks(session, locks),
            notifier=FakeNotifier("default"),
            events=FakeEvents(),
            evidence=FakeEvidence(),
            clock=session.clock,
            accounts=Accounts(session.cluster, session.clock, operator_namespace=OPERATOR_NAMESPACE),
            definitions=self.known,
            said=replies,
            storms=FakeStorms(),
            switch=switch,
            namespace=OPERATOR_NAMESPACE,
            acting=Register(session.clock),
            later=Later(session.clock),
            leading=self.mandate(session),
        )

    def mandate(self, session: Session) -> Leading:
        """
        One that has been counted, and whose Lease never ends: what is asked of it locally is always true.

        So no property here rests on a process that stops because its Lease has ended.
        """
        if not self.epoch:
            return Alone()
        epochs = Epochs(session.cluster, OPERATOR_NAMESPACE, session.clock)
        mandate = Mandate(session.clock, epochs.latest)
        mandate.extend(float("inf"))
        mandate.epoch = self.epoch
        return mandate

    def locks(self, session: Session, uncontended: FakeLocks) -> Locks:
        return uncontended

    def reconciler(self, outside: Outside, admission: Asked | None = None) -> Reconciler:
        diagnostician = Diagnostician(outside)
        gatherer = Gatherer(outside, diagnostician)
        books = Books(outside)
        books._remember(self.content, self.book)  # compiling it takes longer than everything else here
        performer = Performer(outside, diagnostician, gatherer)
        return Reconciler(outside, books, gatherer, performer, Silent(outside), admission or _admitted)

    def work(self, session: Session, work: Key) -> Coroutine[Any, Any, Any]:
        return session.parts.reconciler.reconcile(work)

    def hear(self, session: Session, what: str, obj: Object) -> None:
        pass

    def memory(self, session: Session) -> Hashable:
        return ()


@dataclass(frozen=True)
class LockingLeader(Leader):
    """One that takes the target's lock as a Lease, which others take too."""

    def locks(self, session: Session, uncontended: FakeLocks) -> Locks:
        return FirstKnown(session.cluster, OPERATOR_NAMESPACE)


class FirstKnown(LeaseLocks):
    """Leases whose watch has brought nothing since there was none: as old as what is known of them can be."""

    def known(self, name: str) -> LockState | None:
        return LockState(name)


class Silent(Announcer):
    """Posts no Kubernetes events; nothing rests on them."""

    async def progressed(self, before: Run, after: Run) -> None:
        pass

    async def ended(self, run: Run) -> None:
        pass


async def _admitted(run: Run) -> None:
    return None
