"""The one reconcile, over a cluster in memory."""

import copy
import tomllib

import pytest
import yaml

from headrace_api.load import ModelLoad, Starting
from headrace_operator.reconcile import Reconciler, Refused
from headrace_operator.scaling.autoscaler import Autoscaler

KEY = ("models", "sample")
CHILDREN = ["ConfigMap", "ServiceAccount", "NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment"]
"""What a model is made of, in the order of the writes."""


def reconciler_of(cluster, config):
    def now():
        return "2026-01-01T00:00:00Z"

    return Reconciler(cluster, cluster, config, now, scaler=Autoscaler(lambda: 0.0, now, config.queue_url))


@pytest.fixture
def reconciler(cluster, config):
    return reconciler_of(cluster, config)


def config_map(cluster):
    """The one ConfigMap."""
    (name,) = (name for kind, name in cluster.children if kind == "ConfigMap")
    return cluster.children["ConfigMap", name]


def condition(cluster, kind):
    return next(one for one in cluster.model["status"]["conditions"] if one["type"] == kind)


def run_all(cluster, ready):
    """What the Deployment controller would write when all workers run."""
    deployment = cluster.children["Deployment", "sample"]
    replicas = deployment["spec"]["replicas"]
    deployment["status"] = {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": ready,
    }


async def test_new_model_gets_its_objects_and_a_second_look_writes_nothing(reconciler, cluster):
    await reconciler.reconcile(KEY)
    assert cluster.writes == [*(("apply", kind) for kind in CHILDREN), ("status", "InferenceModel")]
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    # the status now counts the Deployment that the first look had not seen yet
    await reconciler.reconcile(KEY)
    assert [write for write in cluster.writes if write[0] != "status"] == []
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    assert cluster.writes == []


async def test_the_status_that_the_api_server_puts_into_a_new_model_is_no_earlier_one(reconciler, cluster):
    cluster.model["status"] = {"observedGeneration": -1}
    await reconciler.reconcile(KEY)
    assert [write for write in cluster.writes if write[0] == "status"] == [("status", "InferenceModel")]
    assert cluster.model["status"]["observedGeneration"] == 3
    assert condition(cluster, "Ready")["reason"] == "Progressing"
    assert cluster.events == []


async def test_other_adapters_are_written_and_restart_no_worker(reconciler, cluster):
    engine = cluster.model["spec"]["engine"]
    engine["type"] = "VLLMEngine"
    engine["adapters"] = [{"name": "legal", "source": "s3://bucket/legal/"}]
    await reconciler.reconcile(KEY)
    pods = copy.deepcopy(cluster.children["Deployment", "sample"]["spec"])
    cluster.writes.clear()
    engine["adapters"] = [{"name": "medical", "source": "s3://bucket/medical/"}]
    await reconciler.reconcile(KEY)
    assert [write for write in cluster.writes if write[0] != "status"] == [("apply", "ConfigMap")]
    assert "medical" in cluster.children["ConfigMap", "sample-adapters"]["data"]["adapters.toml"]
    assert cluster.children["Deployment", "sample"]["spec"] == pods
    engine["adapters"] = []
    await reconciler.reconcile(KEY)
    assert ("ConfigMap", "sample-adapters") not in cluster.children
    assert cluster.children["Deployment", "sample"]["spec"] != pods


async def test_other_adapters_replace_workers_that_load_them_when_they_start_only(reconciler, cluster):
    engine = cluster.model["spec"]["engine"]
    found = set()
    for source in ("/legal", "/newer", "/legal"):
        engine["adapters"] = [{"name": "legal", "source": source}]
        cluster.model["metadata"]["generation"] += 1
        await reconciler.reconcile(KEY)
        await reconciler.reconcile(KEY)
        found.add(cluster.children["Deployment", "sample"]["metadata"]["annotations"]["headrace.dev/revision"])
        assert cluster.model["status"]["rollout"]["revision"] in found
        assert "pendingRender" not in cluster.model["status"]
        assert condition(cluster, "UpToDate")["status"] == "True"
    assert len(found) == 2
    assert ("ConfigMap", "sample-adapters") not in cluster.children


async def test_edit_and_deletion_by_hand_are_undone(reconciler, cluster):
    await reconciler.reconcile(KEY)
    rendered = copy.deepcopy(cluster.children)
    config_map(cluster)["data"]["worker_config.toml"] = "mine"
    cluster.children["NetworkPolicy", "sample"]["spec"]["egress"] = [{}]
    cluster.children["NetworkPolicy", "sample"]["metadata"]["generation"] += 1
    for kind in ("Deployment", "Service", "PodDisruptionBudget", "ServiceAccount"):
        del cluster.children[kind, "sample"]
    await reconciler.reconcile(KEY)
    rendered["NetworkPolicy", "sample"]["metadata"]["generation"] = 3  # changed, and changed back
    assert cluster.children == rendered


async def test_a_repaired_config_map_does_not_make_ready_workers_unready(reconciler, cluster):
    await reconciler.reconcile(KEY)
    run_all(cluster, ready=2)
    await reconciler.reconcile(KEY)
    name = config_map(cluster)["metadata"]["name"]
    del cluster.children["ConfigMap", name]
    await reconciler.reconcile(KEY)
    assert ("ConfigMap", name) in cluster.children
    assert condition(cluster, "Ready")["status"] == "True"
    assert [event[2] for event in cluster.events] == ["WorkersReady"]


async def test_foreign_fields_are_left_alone(reconciler, cluster):
    await reconciler.reconcile(KEY)
    cluster.children["Deployment", "sample"]["metadata"]["annotations"]["example.com/other"] = "kept"
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    assert ("apply", "Deployment") not in cluster.writes


def add_environment(deployment):
    deployment["spec"]["template"]["spec"]["containers"][0]["env"].insert(0, {"name": "FOO", "value": "bar"})


def add_port(service):
    service["spec"]["ports"].append({"name": "other", "port": 9999})
    service["metadata"].pop("generation", None)  # the API server counts none for Services


@pytest.mark.parametrize(("kind", "add"), [("Deployment", add_environment), ("Service", add_port)])
@pytest.mark.parametrize("keeps", [False, True])
async def test_items_added_to_lists_by_hand_go_or_are_put_up_with(reconciler, cluster, kind, add, keeps):
    await reconciler.reconcile(KEY)
    child = cluster.children[kind, next(name for one, name in cluster.children if one == kind)]
    rendered = copy.deepcopy(child["spec"])
    identity = kind, child["metadata"]["name"]
    add(child)
    if "generation" in child["metadata"]:
        child["metadata"]["generation"] += 1
    cluster.additions[identity], cluster.keeps_additions = add, keeps
    await reconciler.reconcile(KEY)
    assert [write for write in cluster.writes[-4:] if write[0] == "remove"] == [("remove", kind)]
    assert (cluster.children[identity]["spec"] == rendered) is not keeps
    cluster.writes.clear()
    for _ in range(3):
        await reconciler.reconcile(KEY)
    assert {write for write in cluster.writes if write[0] != "status"} == set()


async def test_another_owner_is_left_alone(reconciler, cluster):
    await reconciler.reconcile(KEY)
    other = {"apiVersion": "x/v1", "kind": "Y", "name": "z", "uid": "zz"}
    cluster.children["Deployment", "sample"]["metadata"]["ownerReferences"].insert(0, other)
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    assert ("apply", "Deployment") not in cluster.writes


async def test_foreign_annotation_is_no_news_before_the_deployment_controller_has_seen_it(reconciler, cluster):
    await reconciler.reconcile(KEY)
    run_all(cluster, ready=2)
    await reconciler.reconcile(KEY)
    deployment = cluster.children["Deployment", "sample"]
    deployment["metadata"]["annotations"]["example.com/note"] = "x"
    deployment["metadata"]["generation"] += 1  # as the API server does for a Deployment's annotations
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    assert cluster.writes == []
    assert condition(cluster, "Ready")["status"] == "True"


async def test_disabled_keeps_only_the_config_map(reconciler, cluster):
    await reconciler.reconcile(KEY)
    cluster.model["spec"]["enabled"] = False
    await reconciler.reconcile(KEY)
    assert [kind for kind, _ in cluster.children] == ["ConfigMap"]
    assert "enabled: false" in config_map(cluster)["data"]["model.yaml"]
    await reconciler.reconcile(KEY)
    assert condition(cluster, "Ready")["reason"] == "Disabled"


async def test_the_config_map_of_older_workers_stays_while_they_do(reconciler, cluster):
    await reconciler.reconcile(KEY)
    (old,) = (name for kind, name in cluster.children if kind == "ConfigMap")
    revision = cluster.children["Deployment", "sample"]["metadata"]["annotations"]["headrace.dev/revision"]
    cluster.pods = ({"metadata": {"name": "p", "annotations": {"headrace.dev/revision": revision}}},)
    cluster.model["spec"]["engine"]["maxTotalTokens"] = 64
    for _ in range(3):
        await reconciler.reconcile(KEY)
    assert ("ConfigMap", old) in cluster.children
    assert len([kind for kind, _ in cluster.children if kind == "ConfigMap"]) == 2
    cluster.pods = ()
    await reconciler.reconcile(KEY)
    assert ("ConfigMap", old) not in cluster.children


async def test_ready_when_all_workers_are(reconciler, cluster):
    await reconciler.reconcile(KEY)
    run_all(cluster, ready=1)
    await reconciler.reconcile(KEY)
    assert condition(cluster, "Ready")["status"] == "False"
    assert condition(cluster, "ModelLoaded")["status"] == "True"
    run_all(cluster, ready=2)
    await reconciler.reconcile(KEY)
    assert condition(cluster, "Ready")["status"] == "True"
    assert cluster.model["status"]["workers"] == "2/2"
    assert cluster.model["status"]["observedGeneration"] == 3
    assert [event[2] for event in cluster.events] == ["WorkersReady"]


async def test_ready_workers_of_an_older_spec_do_not_make_the_new_one_ready(reconciler, cluster):
    await reconciler.reconcile(KEY)
    run_all(cluster, ready=2)
    await reconciler.reconcile(KEY)
    cluster.model["spec"]["engine"]["maxTotalTokens"] = 64
    cluster.model["metadata"]["generation"] = 4
    await reconciler.reconcile(KEY)
    assert cluster.model["status"]["observedGeneration"] == 4
    assert condition(cluster, "Ready")["status"] == "False"


async def test_bad_spec_is_said_once_and_nothing_is_touched(reconciler, cluster):
    await reconciler.reconcile(KEY)
    cluster.model["spec"]["scaling"] = {"numWorkers": 3}
    cluster.model["spec"]["engine"]["pipelineParallelSize"] = 2
    cluster.writes.clear()
    for _ in range(3):
        await reconciler.reconcile(KEY)
    assert cluster.writes == [("status", "InferenceModel")]
    ready = condition(cluster, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert (
        "HR102: spec.scaling.numWorkers: 3 is not a multiple of spec.engine.pipelineParallelSize (2)"
        in ready["message"]
    )
    assert [event[1:] for event in cluster.events] == [("Warning", "InvalidSpec")]


async def test_engine_without_an_image_names_what_is_accepted(reconciler, cluster):
    cluster.model["spec"]["engine"]["type"] = "TRTLLMEngine"
    await reconciler.reconcile(KEY)
    ready = condition(cluster, "Ready")
    assert ready["reason"] == "EngineNotAvailable"
    assert "accepted: LlamaCppEngine, VLLMEngine" in ready["message"]
    assert cluster.children == {}


async def test_an_engine_of_another_distribution_runs_where_it_has_an_image(cluster, config):
    cluster.model["spec"]["engine"] = {"type": "acme.Fast", "modelId": "a/b", "engineKwargs": {"lanes": 8}}
    await reconciler_of(cluster, config).reconcile(KEY)
    ready = condition(cluster, "Ready")
    assert ready["reason"] == "EngineNotAvailable"
    assert (
        'no runtime image for acme.Fast; accepted: LlamaCppEngine, VLLMEngine (set runtime.images."acme.Fast"'
        in (ready["message"])
    )
    offering = config.model_copy(update={"images": {**config.images, "acme.Fast": "registry.example/acme/fast:1"}})
    await reconciler_of(cluster, offering).reconcile(KEY)
    container = cluster.children["Deployment", "sample"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.example/acme/fast:1"
    files = config_map(cluster)["data"]
    section = tomllib.loads(files["worker_config.toml"])["generator"]
    assert (section["type"], section["engine_kwargs"]) == ("acme.Fast", {"lanes": 8})
    assert yaml.safe_load(files["model.yaml"])["engine_config"]["type"] == "acme.Fast"


async def test_luminous_runs_where_there_is_an_image_of_vllm(reconciler, cluster):
    cluster.model["spec"]["engine"] = {"type": "luminous", "modelId": "a", "weightSetDirectories": ["/checkpoint"]}
    await reconciler.reconcile(KEY)
    container = cluster.children["Deployment", "sample"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "docker.io/headrace/vllm:1"


async def test_a_model_larger_than_the_largest_node_is_refused(cluster, config):
    cluster.model["spec"] = {
        "engine": {"type": "VLLMEngine", "modelId": "a"},
        "scaling": {"numWorkers": 16, "placementStrategy": "STRICT_PACK"},
    }
    small = config.model_copy(update={"gpus_per_node": 8})
    await reconciler_of(cluster, small).reconcile(KEY)
    assert condition(cluster, "Ready")["message"].startswith("HR106: spec.scaling.placementStrategy")
    assert cluster.children == {}


async def test_refusal_of_the_api_server_is_in_the_status(reconciler, cluster):
    cluster.refusal = Refused("Deployment sample: spec.template is invalid")
    await reconciler.reconcile(KEY)
    ready = condition(cluster, "Ready")
    assert (ready["reason"], ready["message"]) == ("ApplyRefused", "Deployment sample: spec.template is invalid")
    assert condition(cluster, "Stalled")["status"] == "True"


async def test_a_refused_revision_is_not_told_as_the_one_that_runs(reconciler, cluster):
    for _ in range(2):
        await reconciler.reconcile(KEY)
    before = cluster.model["status"]["rollout"]
    cluster.model["spec"]["template"] = {"spec": {"priorityClassName": "x"}}
    cluster.model["metadata"]["generation"] += 1
    cluster.refusal = Refused("no")
    await reconciler.reconcile(KEY)
    assert cluster.model["status"]["rollout"] == before
    up_to_date = condition(cluster, "UpToDate")
    assert (up_to_date["status"], up_to_date["reason"]) == ("False", "ApplyRefused")


async def test_a_refused_deployment_leaves_what_its_older_pods_stand_behind(reconciler, cluster):
    await reconciler.reconcile(KEY)
    before = copy.deepcopy(cluster.children)
    cluster.unfit = {("Deployment", "sample")}
    cluster.model["spec"]["monitoring"] = {"metricsPort": 4444}
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    assert condition(cluster, "Ready")["reason"] == "ApplyRefused"
    assert cluster.writes == [("apply", "ConfigMap"), ("status", "InferenceModel")]
    assert {key: cluster.children[key] for key in before} == before
    del cluster.children["PodDisruptionBudget", "sample"]
    await reconciler.reconcile(KEY)
    assert ("PodDisruptionBudget", "sample") in cluster.children
    cluster.unfit = set()
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    assert [kind for verb, kind in cluster.writes if verb == "apply"] == ["Deployment", "NetworkPolicy", "Service"]


async def test_what_was_just_written_is_not_written_again_before_the_watch_tells_of_it(reconciler, cluster):
    cluster.model["spec"]["engine"]["type"] = "TRTLLMEngine"
    cluster.watching = False
    for _ in range(3):
        await reconciler.reconcile(KEY)
    assert cluster.writes == [("status", "InferenceModel")]
    assert len(cluster.events) == 1


async def test_other_words_of_the_api_server_for_the_same_spec_are_no_drift(reconciler, cluster):
    cluster.model["spec"]["template"] = {"spec": {"priority": "007"}}
    await reconciler.reconcile(KEY)
    deployment = cluster.children["Deployment", "sample"]
    deployment["spec"]["template"]["spec"]["priority"] = 7
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    assert ("apply", "Deployment") not in cluster.writes
    deployment["metadata"]["generation"] += 1  # somebody has changed it
    await reconciler.reconcile(KEY)
    assert ("apply", "Deployment") in cluster.writes


async def test_a_status_of_a_later_version_does_not_keep_an_invalid_spec_from_being_said(reconciler, cluster):
    cluster.model["spec"]["engine"].pop("modelId")
    later = {"type": "Later", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    cluster.model["status"] = {"pendingRender": {}, "modelName": "kept", "conditions": [later]}
    await reconciler.reconcile(KEY)
    assert condition(cluster, "Ready")["reason"] == "InvalidSpec"
    assert cluster.model["status"]["modelName"] == "kept"


async def test_passing_errors_are_raised_for_another_try(reconciler, cluster):
    cluster.refusal = ConnectionError("no API server")
    with pytest.raises(ConnectionError):
        await reconciler.reconcile(KEY)


async def test_model_that_is_gone_or_going_is_left_alone(reconciler, cluster):
    await reconciler.reconcile(("models", "other"))
    cluster.model["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    await reconciler.reconcile(KEY)
    assert cluster.writes == []


async def test_a_model_that_did_not_change_is_not_planned_again(reconciler, monkeypatch):
    for _ in range(3):
        await reconciler.reconcile(KEY)
    planned = []
    monkeypatch.setattr("headrace_operator.reconcile.plan", lambda *arguments: planned.append(arguments))
    await reconciler.reconcile(KEY)
    assert planned == []


async def test_nothing_that_is_observed_is_changed(reconciler, cluster):
    seen = []
    observe = cluster.observe

    def remember(key):
        observed = observe(key)
        seen.append((observed, copy.deepcopy(observed)))
        return observed

    cluster.observe = remember
    for _ in range(3):
        await reconciler.reconcile(KEY)
    run_all(cluster, ready=2)
    await reconciler.reconcile(KEY)
    assert all(observed == before for observed, before in seen)


class Later:
    def __init__(self):
        self.asked = []
        self.calm = False

    def add_after(self, key, seconds):
        self.asked.append((key, seconds))

    def postpone(self, key, seconds):
        assert seconds > 0
        self.asked.append(key)
        return not self.calm


async def test_a_download_costs_writes_in_calm_moments_only(cluster, config):
    """Of a hundred reports as many are written as there were calm moments, and the newest at the end."""
    turns = Later()
    reconciler = Reconciler(cluster, cluster, config, lambda: "2026-01-01T00:00:00Z", turns)
    await reconciler.reconcile(KEY)
    cluster.writes.clear()
    for percent in range(100):
        far = Starting(state="fetching", done_bytes=percent * 10**9, total_bytes=100 * 10**9)
        cluster.load = ModelLoad(starting={"sample-1": far})
        turns.calm = percent in {30, 99}
        await reconciler.reconcile(KEY)
    assert cluster.writes == [("status", "InferenceModel")] * 2
    assert cluster.model["status"]["starting"][0]["doneBytes"] == 99 * 10**9


async def test_numbers_wait_for_a_calm_moment_and_conditions_take_them_along(cluster, config):
    turns = Later()
    reconciler = Reconciler(cluster, cluster, config, lambda: "2026-01-01T00:00:00Z", turns)
    await reconciler.reconcile(KEY)
    run_all(cluster, ready=0)
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    assert cluster.writes == []
    assert turns.asked == [KEY]
    assert cluster.model["status"]["replicas"] == 0
    run_all(cluster, ready=2)
    await reconciler.reconcile(KEY)
    assert cluster.writes == [("status", "InferenceModel")]
    assert cluster.model["status"]["replicas"] == 2


async def test_replicas_that_an_autoscaler_owns_are_left_alone(reconciler, cluster):
    await reconciler.reconcile(KEY)
    deployment = cluster.children["Deployment", "sample"]
    deployment["spec"]["replicas"] = 5
    deployment["metadata"]["replicasOwner"] = "kube-controller-manager"
    deployment["metadata"]["generation"] += 1
    run_all(cluster, ready=5)
    cluster.writes.clear()
    await reconciler.reconcile(KEY)
    assert ("apply", "Deployment") not in cluster.writes
    assert cluster.model["status"]["workers"] == "5/5"
    assert condition(cluster, "Ready")["status"] == "True"


async def test_a_budget_that_somebody_made_unfit_for_ours_is_made_anew(reconciler, cluster):
    await reconciler.reconcile(KEY)
    budget = cluster.children["PodDisruptionBudget", "sample"]
    budget["spec"] = {"minAvailable": 3}
    budget["metadata"]["generation"] += 1
    cluster.unfit = {("PodDisruptionBudget", "sample")}
    await reconciler.reconcile(KEY)
    assert cluster.children["PodDisruptionBudget", "sample"]["spec"]["maxUnavailable"] == 1
    assert ("delete", "PodDisruptionBudget") in cluster.writes
    assert condition(cluster, "Ready")["reason"] != "ApplyRefused"
