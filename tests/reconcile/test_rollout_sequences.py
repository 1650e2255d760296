"""Any sequence of edits, failures, upgrades, approvals and hand edits: what holds after each, and at the end."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.reconcile.rollout_fleet import Fleet, ready, revisions

pytestmark = pytest.mark.slow


class Sequences(RuleBasedStateMachine):
    """One model; after each step operator and controller come to rest."""

    def __init__(self):
        super().__init__()
        self.fleet = Fleet()
        self.fleet.settle()
        self.may_wane = False

    def _serving(self):
        return len(ready(self.fleet.pods))

    def _keep_serving(self, before):
        """Surge and no fewer workers asked for: at no moment fewer are ready."""
        spec = self.fleet.model["spec"]
        surge = spec.get("rollout", {}).get("strategy", "Surge") == "Surge"
        if surge:
            assert self.fleet.least_ready >= min(before, spec["replicas"])

    @rule(name=st.sampled_from(["a", "b", "broken", "broken-too"]))
    def edit(self, name):
        before = self._serving()
        self.fleet.edit(template={"spec": {"priorityClassName": name}})
        self._keep_serving(before)

    @rule(name=st.sampled_from(["a", "broken"]), tokens=st.integers(64, 66))
    def edit_twice_before_anything_happened(self, name, tokens):
        self.fleet.model["spec"]["template"] = {"spec": {"priorityClassName": "c"}}
        self.fleet.operate()
        engine = {**self.fleet.model["spec"]["engine"], "maxTotalTokens": tokens}
        self.fleet.edit(engine=engine, template={"spec": {"priorityClassName": name}})

    @rule(replicas=st.integers(0, 3))
    def scale(self, replicas):
        running = revisions(self.fleet.pods)
        self.fleet.edit(replicas=replicas)
        if replicas and running:
            assert revisions(self.fleet.pods) & running

    @rule(strategy=st.sampled_from(["Surge", "Replace"]), policy=st.sampled_from(["Stop", "RollBack"]))
    def change_the_rules(self, strategy, policy):
        self.fleet.edit(rollout={"strategy": strategy, "onFailure": policy})

    @rule(tag=st.sampled_from(["1", "2", "3", "broken"]))
    def upgrade(self, tag):
        before, names = self._serving(), set(self.fleet.names)
        self.fleet.upgrade(tag)
        if before == len(names):
            assert names <= set(self.fleet.names)

    @rule()
    def approve(self):
        if pending := self.fleet.pending:
            before = self._serving()
            self.fleet.approve(pending["revision"])
            self._keep_serving(before)
            assert not self.fleet.pending

    @rule()
    def the_deadline_passes(self):
        before = self._serving()
        self.fleet.settle(late=True)
        assert self._serving() >= before

    @rule(enabled=st.booleans())
    def switch(self, enabled):
        self.fleet.edit(enabled=enabled)
        assert bool(self.fleet.pods) == (enabled and self.fleet.model["spec"]["replicas"] > 0)

    @rule(data=st.data())
    def delete_a_child(self, data):
        kinds = sorted(key for key in self.fleet.children if key[0] != "ConfigMap")
        if kinds:
            key = data.draw(st.sampled_from(kinds))
            before, waits = self.fleet.rollout, self.fleet.pending
            del self.fleet.children[key]
            if key[0] == "Deployment":  # the garbage collector takes its pods
                self.fleet.pods = []
            self.fleet.settle()
            assert key in self.fleet.children
            if before["failedRevision"] and before["revision"] == before["readyRevision"] and not waits:
                assert self.fleet.rollout == before

    @invariant()
    def every_pod_has_its_config_map(self):
        assert {f"m-{name}" for name in revisions(self.fleet.pods)} <= self.fleet.config_maps

    @invariant()
    def nothing_is_kept_that_nobody_needs(self):
        assert len(self.fleet.config_maps) <= 3 + len(revisions(self.fleet.pods))

    @invariant()
    def a_second_look_writes_nothing(self):
        decision = self.fleet.plan()
        assert (decision.apply, decision.delete) == ((), ())

    @invariant()
    def conditions_agree(self):
        ready_one, stalled, reconciling = (
            self.fleet.condition(kind)["status"] for kind in ("Ready", "Stalled", "Reconciling")
        )
        assert [ready_one, stalled, reconciling].count("True") == 1

    def teardown(self):
        """Whatever came before: a sound spec, an approved rendering and time make everything as it is rendered."""
        self.fleet.upgrade("9")
        self.fleet.edit(template={"spec": {"priorityClassName": "last"}}, enabled=True, replicas=2)
        self.fleet.settle(late=True)
        assert len(ready(self.fleet.pods)) == 2
        assert revisions(self.fleet.pods) == {self.fleet.rollout["readyRevision"]}
        assert self.fleet.config_maps == {f"m-{self.fleet.rollout['revision']}"}
        assert self.fleet.condition("Ready")["status"] == self.fleet.condition("UpToDate")["status"] == "True"
        containers = self.fleet.deployment["spec"]["template"]["spec"]["containers"]
        assert containers[0]["image"] == "e.org/i:9"


Sequences.TestCase.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)
TestSequences = Sequences.TestCase
