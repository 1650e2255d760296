"""Scaling decisions on their way into the cluster: written down first, then acted on; the least loaded go first."""

import asyncio

import pytest
from tests.waiting import until

from headrace_api.load import ModelLoad, Starting
from headrace_operator import adapter_load
from headrace_operator.kinds import watched
from headrace_operator.load_news import LoadNews
from headrace_operator.reconcile import Reconciler, Refused
from headrace_operator.scaling.autoscaler import Autoscaler
from headrace_operator.scaling.deletion_cost import ANNOTATION
from headrace_operator.world import SeenWorld

KEY = ("models", "sample")
NAME = "headrace/sample-chat"
POLICY = {
    "minReplicas": 0,
    "maxReplicas": 8,
    "metricsIntervalSeconds": 1,
    "lookBackPeriodSeconds": 1,
    "upscaleDelaySeconds": 0,
    "downscaleDelaySeconds": 0,
}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def autoscaler(clock, config):
    return Autoscaler(clock, lambda: f"2026-01-01T00:00:{clock.now:02.0f}Z", config.queue_url)


@pytest.fixture
def reconciler(cluster, config, autoscaler):
    cluster.model["spec"]["deployment"] = {"autoscaling": dict(POLICY)}
    return Reconciler(cluster, cluster, config, lambda: "2026-01-01T00:00:00Z", scaler=autoscaler)


def hear(cluster, autoscaler, clock, load):
    """The queue says `load`, and it stays so until the next count."""
    cluster.load = load
    autoscaler.hear({NAME: load})
    clock.now += 1
    autoscaler.count()
    clock.now += 1
    return autoscaler.count()


def replicas(cluster):
    return cluster.children["Deployment", "sample"]["spec"]["replicas"]


def scaling(cluster):
    return cluster.model["status"]["scaling"]


def pod(name, **metadata):
    return {"kind": "Pod", "metadata": {"name": name, "namespace": "models", **metadata}}


async def test_a_decision_is_written_down_before_it_is_acted_on(reconciler, cluster, autoscaler, clock):
    await reconciler.reconcile(KEY)
    assert replicas(cluster) == 0
    assert scaling(cluster)["decidedBy"] == "autoscaler"
    assert cluster.writes[-2:] == [("apply", "Deployment"), ("status", "InferenceModel")]
    assert cluster.writes.count(("status", "InferenceModel")) == 1
    cluster.writes.clear()
    hear(cluster, autoscaler, clock, ModelLoad(queued=3))
    await reconciler.reconcile(KEY)
    assert cluster.writes[:2] == [("status", "InferenceModel"), ("apply", "Deployment")]
    assert replicas(cluster) == scaling(cluster)["desiredReplicas"] == 3
    assert cluster.model["spec"]["replicas"] == 2  # as its author wrote it


async def test_a_killed_operator_goes_on_from_the_status(reconciler, cluster, autoscaler, clock, config):
    await reconciler.reconcile(KEY)

    async def dies(_):
        raise SystemExit

    cluster.apply, apply = dies, cluster.apply
    hear(cluster, autoscaler, clock, ModelLoad(queued=3))
    with pytest.raises(SystemExit):
        await reconciler.reconcile(KEY)
    assert (scaling(cluster)["desiredReplicas"], replicas(cluster)) == (3, 0)
    cluster.apply = apply
    anew = Autoscaler(clock, lambda: "T", config.queue_url)
    after = Reconciler(cluster, cluster, config, lambda: "2026-01-01T00:01:00Z", scaler=anew)
    await after.reconcile(KEY)
    assert replicas(cluster) == 3


async def test_the_number_stays_through_other_changes_and_a_wrong_spec(reconciler, cluster, autoscaler, clock):
    await reconciler.reconcile(KEY)
    hear(cluster, autoscaler, clock, ModelLoad(queued=3))
    await reconciler.reconcile(KEY)
    cluster.model["spec"]["deployment"]["autoscaling"] |= {"minReplicas": 9}
    await reconciler.reconcile(KEY)
    assert (scaling(cluster)["desiredReplicas"], replicas(cluster)) == (3, 3)
    cluster.model["spec"]["deployment"]["autoscaling"] |= {"minReplicas": 4}
    await reconciler.reconcile(KEY)
    assert (scaling(cluster)["desiredReplicas"], scaling(cluster)["reason"]) == (4, "minReplicas is 4")
    cluster.model["spec"]["deployment"] = {}
    await reconciler.reconcile(KEY)
    assert (scaling(cluster)["decidedBy"], replicas(cluster)) == ("spec.replicas", 2)


async def test_a_replica_count_of_somebody_else_is_undone(reconciler, cluster):
    await reconciler.reconcile(KEY)
    deployment = cluster.children["Deployment", "sample"]
    deployment["spec"]["replicas"] = 7
    deployment["metadata"]["generation"] += 1
    await reconciler.reconcile(KEY)
    assert replicas(cluster) == 0


async def test_at_rest_nothing_is_written(reconciler, cluster, autoscaler, clock):
    await reconciler.reconcile(KEY)
    hear(cluster, autoscaler, clock, ModelLoad(queued=2))
    for _ in range(3):
        await reconciler.reconcile(KEY)
    cluster.writes.clear()
    for _ in range(5):
        clock.now += 100
        autoscaler.count()
        await reconciler.reconcile(KEY)
    assert cluster.writes == []


async def test_before_a_scale_down_pods_get_their_cost_and_at_no_other_time(reconciler, cluster, autoscaler, clock):
    await reconciler.reconcile(KEY)
    hear(cluster, autoscaler, clock, ModelLoad(queued=4))
    await reconciler.reconcile(KEY)
    cluster.pods = (
        pod("a"),
        pod("b"),
        pod("idle"),
        pod("was-busy", annotations={ANNOTATION: "9"}),
        pod("going", deletionTimestamp="2026-01-01T00:00:00Z"),
    )
    busy = ModelLoad(running=2, workers=4, in_flight={"a": 5, "b": 1, "going": 3, "elsewhere": 7})
    assert hear(cluster, autoscaler, clock, busy) == [KEY]
    await reconciler.reconcile(KEY)
    cluster.writes.clear()
    hear(cluster, autoscaler, clock, busy)
    await reconciler.reconcile(KEY)
    assert replicas(cluster) == 2
    costs = {one["metadata"]["name"]: one["metadata"].get("annotations", {}).get(ANNOTATION) for one in cluster.pods}
    assert costs == {"a": "5", "b": "1", "idle": None, "was-busy": "0", "going": None}


async def test_costs_come_before_the_lower_number(reconciler, cluster, autoscaler, clock):
    await reconciler.reconcile(KEY)
    hear(cluster, autoscaler, clock, ModelLoad(queued=4))
    await reconciler.reconcile(KEY)
    cluster.pods = (pod("a"), pod("b"))
    cluster.writes.clear()
    hear(cluster, autoscaler, clock, ModelLoad(running=2, workers=4, in_flight={"a": 2}))
    await reconciler.reconcile(KEY)
    assert cluster.writes[:3] == [("status", "InferenceModel"), ("annotate", "a"), ("apply", "Deployment")]


async def test_costs_that_are_refused_do_not_keep_the_lower_number_from_being_written(
    reconciler, cluster, autoscaler, clock
):
    await reconciler.reconcile(KEY)
    hear(cluster, autoscaler, clock, ModelLoad(queued=4))
    await reconciler.reconcile(KEY)
    cluster.pods = (pod("a"), pod("b"))

    async def refuses(*_):
        raise Refused("pods is forbidden")

    cluster.annotate = refuses
    hear(cluster, autoscaler, clock, ModelLoad(running=2, workers=4, in_flight={"a": 2}))
    await reconciler.reconcile(KEY)
    assert replicas(cluster) == 2


async def test_replicas_are_taken_back_from_an_autoscaler_that_was_there_before_the_decision(reconciler, cluster):
    cluster.model["spec"] |= {"replicas": 2, "deployment": {}}
    await reconciler.reconcile(KEY)
    deployment = cluster.children["Deployment", "sample"]
    deployment["spec"]["replicas"] = 9
    deployment["metadata"] |= {"replicasOwner": "kube-controller-manager", "replicasOwnedSince": "2026-01-01T00:00:30Z"}
    deployment["metadata"]["generation"] += 1
    for _ in range(3):
        await reconciler.reconcile(KEY)
    assert replicas(cluster) == 9
    assert scaling(cluster) == {
        "desiredReplicas": 2,
        "decidedBy": "spec.replicas",
        "reason": "kube-controller-manager (a HorizontalPodAutoscaler of the Deployment) decides since "
        "2026-01-01T00:00:30Z, until this decision changes",
        "time": "2026-01-01T00:00:00Z",
    }
    object.__setattr__(reconciler, "now", lambda: "2026-01-01T00:01:00Z")
    reconciler.scaler._now = reconciler.now
    cluster.model["spec"]["replicas"] = 3
    await reconciler.reconcile(KEY)
    assert replicas(cluster) == 3
    assert (scaling(cluster)["desiredReplicas"], scaling(cluster)["reason"]) == (3, "spec.replicas is 3")


@pytest.mark.parametrize("load", [None, ModelLoad(running=1, workers=2, in_flight={"a": 1})])
async def test_no_costs_without_numbers_or_when_all_go(reconciler, cluster, load):
    cluster.model["spec"] |= {"replicas": 4, "deployment": {}}
    await reconciler.reconcile(KEY)
    cluster.pods = (pod("a"), pod("b"))
    cluster.load = load
    cluster.model["spec"]["replicas"] = 2 if load is None else 0
    await reconciler.reconcile(KEY)
    assert replicas(cluster) == cluster.model["spec"]["replicas"]
    assert ("annotate", "a") not in cluster.writes


async def test_a_first_request_wakes_its_model_just_after_another_models_numbers(reconciler, cluster, autoscaler):
    """What is shown waits its turn; what is decided does not."""
    await reconciler.reconcile(KEY)
    world, woken = SeenWorld(watched(pod_monitors=False)), []
    news = LoadNews(world, autoscaler, woken.append, seconds=3600)
    task = asyncio.create_task(news.run())
    other = {"metadata": {"name": "other", "namespace": "models", "uid": "2"}, "spec": {"engine": {"modelId": "o"}}}
    world.bind({"inferencemodels": {("models", "other"): [other], KEY: [cluster.model]}})
    news.hear({"o": ModelLoad(queued=1), NAME: ModelLoad()})
    await until(lambda: ("models", "other") in woken)
    woken.clear()
    news.hear({"o": ModelLoad(queued=2), NAME: ModelLoad(queued=1)})
    assert woken == [KEY]
    task.cancel()


async def test_requests_for_adapters_are_work_for_their_model(reconciler, cluster, autoscaler):
    cluster.model["spec"]["engine"]["adapters"] = [{"name": "legal", "source": "/legal"}]
    await reconciler.reconcile(KEY)
    world, woken = SeenWorld(watched(pod_monitors=False)), []
    news = LoadNews(world, autoscaler, woken.append)
    other = {"metadata": {"name": "other", "namespace": "models", "uid": "2"}, "spec": {"engine": {"modelId": "o:x"}}}
    world.bind({"inferencemodels": {("models", "other"): [other], KEY: [cluster.model]}})
    assert world.catalogue().models == sorted([NAME, f"{NAME}:legal", "o:x"])
    news.hear({NAME: ModelLoad(), f"{NAME}:legal": ModelLoad(), "o:x": ModelLoad(), "o": ModelLoad()})
    assert woken == []
    asked = {f"{NAME}:legal": ModelLoad(queued=1, running=2, taken=3), "o:x": ModelLoad(queued=1)}
    news.hear({NAME: ModelLoad(running=1, workers=1), "o": ModelLoad(), **asked})
    assert woken == [KEY]
    cluster.model["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    assert world.observe(KEY).load == ModelLoad(queued=1, running=3, workers=1, taken=3)


@pytest.mark.parametrize(
    ("engine", "names"),
    [
        ({}, []),
        ({"adapters": [{"name": "b"}, {"name": "a", "source": "/a"}]}, ["m:a", "m:b"]),
        ({"weightSetDirectories": ["/base", "/sets/polite/", "s3://bucket/rude"]}, ["m:polite", "m:rude"]),
        ({"weightSetDirectories": ["/base", "/sets/a"], "adapters": [{"name": "a", "source": "/a"}]}, ["m:a"]),
        ({"adapters": ["nonsense", {}, {"name": ""}], "weightSetDirectories": None}, []),
    ],
)
def test_further_weight_sets_are_adapters_too(engine, names):
    assert adapter_load.names({"spec": {"engine": engine}}, "m") == names
    assert adapter_load.names({"spec": {"engine": engine}}, "") == []


async def test_a_download_is_looked_at_every_twentieth_and_a_new_state_at_once(autoscaler, cluster):
    world, woken = SeenWorld(watched(pod_monitors=False)), []
    news = LoadNews(world, autoscaler, woken.append, seconds=0)
    task = asyncio.create_task(news.run())
    world.bind({"inferencemodels": {KEY: [cluster.model]}})
    news.hear({NAME: ModelLoad()})
    await until(lambda: woken)
    for done in range(1001):
        far = Starting(state="fetching", done_bytes=done * 14_000_000, total_bytes=14_000_000_000)
        news.hear({NAME: ModelLoad(starting={"w": far})})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await until(lambda: len(woken) == 1 + 21)
    news.hear({NAME: ModelLoad(starting={"w": Starting(state="loading")})})
    await until(lambda: len(woken) == 1 + 22)
    task.cancel()
