"""What a profile, a placement strategy and a model cache make of a worker's pod."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.chain import check
from headrace_operator.observed import Observed, Problem
from headrace_operator.plan import plan, read_spec
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.objects import labels
from headrace_operator.render.pod import pod_template
from headrace_operator.render.revision import spec_hash

NOW = datetime(2026, 1, 1, tzinfo=UTC)

TOLERATION = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
NODES = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]}}
PROFILES = {
    "a10": {"nodeSelector": {"gpu": "a10"}, "tolerations": [TOLERATION], "memoryGiB": 24, "gpusPerNode": 4},
    "H100": {"nodeAffinity": NODES, "runtimeClassName": "nvidia"},
    "mig": {"resourceName": "nvidia.com/mig-1g.10gb"},
    "mi300x": {"resourceName": "amd.com/gpu", "images": {"VLLMEngine": "docker.io/example/rocm:1"}},
}
MODEL = {"type": "VLLMEngine", "modelId": "org/model"}


@pytest.fixture
def profiled(config):
    return RenderConfig.model_validate({**config.model_dump(), "accelerators": PROFILES})


@pytest.fixture
def pod(profiled):
    def render(config=profiled, **spec):
        parsed = InferenceModelSpec.model_validate({"engine": MODEL, **spec})
        return pod_template(parsed, labels("sample"), config)["spec"]

    return render


def limits(pod):
    return pod["containers"][0]["resources"].get("limits")


def wants(**resources):
    return {"resourcesPerWorker": resources}


@pytest.mark.parametrize(
    "spec",
    [
        {"scaling": wants(accelerator_type_a10=0.01)},
        {"scaling": wants(accelerator_type_A10=0.01)},
        {"scaling": wants(**{"accelerator_type:A10": 0.001})},
        {"ray": {"acceleratorType": "A10"}},
        {"ray": {"acceleratorType": "NVIDIA_A10"}},
    ],
)
def test_a_model_names_a_profile_in_each_of_rays_forms(pod, spec):
    found = pod(**spec)
    assert found["nodeSelector"] == {"gpu": "a10"}
    assert found["tolerations"][-1] == TOLERATION
    assert limits(found) == {"nvidia.com/gpu": "1"}


def test_a_model_that_names_none_is_placed_by_its_gpus_alone(pod):
    found = pod()
    assert not {"nodeSelector", "affinity", "topologySpreadConstraints", "runtimeClassName"} & found.keys()
    assert [one["key"] for one in found["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    assert limits(found) == {"nvidia.com/gpu": "1"}


def test_the_default_profile_is_for_models_with_gpus_that_name_none(pod, profiled):
    config = RenderConfig.model_validate({**profiled.model_dump(), "default_accelerator": "MIG"})
    assert limits(pod(config)) == {"nvidia.com/mig-1g.10gb": "1"}
    assert limits(pod(config, scaling=wants(accelerator_type_a10=1))) == {"nvidia.com/gpu": "1"}
    assert "resources" in pod(config, engine={"type": "LlamaCppEngine", "modelId": "m"})["containers"][0]
    assert limits(pod(config, engine={"type": "LlamaCppEngine", "modelId": "m"})) is None


def test_a_named_profile_places_a_model_without_gpus_too(pod):
    found = pod(engine={"type": "LlamaCppEngine", "modelId": "m"}, scaling=wants(accelerator_type_a10=0.01))
    assert found["nodeSelector"] == {"gpu": "a10"}
    assert limits(found) is None


def test_another_vendor_has_its_own_resource_image_and_runtime(pod):
    found = pod(ray={"acceleratorType": "MI300X"}, scaling={"numWorkers": 8})
    assert limits(found) == {"amd.com/gpu": "8"}
    assert found["containers"][0]["image"] == "docker.io/example/rocm:1"
    nvidia = pod(ray={"acceleratorType": "h100"})
    assert nvidia["runtimeClassName"] == "nvidia"
    assert nvidia["affinity"] == {"nodeAffinity": NODES}
    assert nvidia["containers"][0]["image"] == "docker.io/headrace/vllm:1"


def test_extended_resources_are_asked_for_by_each_worker(pod):
    found = pod(scaling={"numWorkers": 2, **wants(**{"rdma/hca": 1, "accelerator_type_a10": 0.01, "mine": 3})})
    assert limits(found) == {"rdma/hca": "2", "nvidia.com/gpu": "2"}


def test_every_copy_of_data_parallelism_has_its_gpus(pod):
    found = pod(engine={**MODEL, "engineKwargs": {"data_parallel_size": 2}}, scaling={"numWorkers": 4})
    assert limits(found) == {"nvidia.com/gpu": "8"}
    spelled = pod(engine={**MODEL, "engineKwargs": {"data-parallel-size": "3"}})
    assert limits(spelled) == {"nvidia.com/gpu": "3"}


def test_claims_of_devices_take_the_place_of_the_device_plugin(pod):
    claims = [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
    worker = {"name": "worker", "resources": {"claims": [{"name": "gpu"}]}}
    found = pod(template={"spec": {"resourceClaims": claims, "containers": [worker]}}, scaling={"numCpusPerWorker": 4})
    assert found["resourceClaims"] == claims
    assert found["containers"][0]["resources"] == {"requests": {"cpu": "4000m"}, "claims": [{"name": "gpu"}]}
    both = {**worker, "resources": {**worker["resources"], "limits": {"nvidia.com/gpu": "1"}}}
    asked = pod(template={"spec": {"resourceClaims": claims, "containers": [both]}})
    assert limits(asked) == {"nvidia.com/gpu": "1"}
    sidecar = {"name": "other", "image": "i", "resources": {"claims": [{"name": "gpu"}]}}
    assert limits(pod(template={"spec": {"containers": [sidecar]}})) == {"nvidia.com/gpu": "1"}


def test_placement_strategies_are_affinities_of_replicas(pod):
    def strategy(name):
        return pod(scaling={"placementStrategy": name})

    siblings = {"matchLabels": {"app.kubernetes.io/name": "headrace-worker", "headrace.dev/model": "sample"}}
    assert strategy("STRICT_PACK") == pod()
    (pack,) = strategy("PACK")["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert pack["podAffinityTerm"] == {"topologyKey": "kubernetes.io/hostname", "labelSelector": siblings}
    (spread,) = strategy("SPREAD")["topologySpreadConstraints"]
    assert (spread["whenUnsatisfiable"], spread["labelSelector"]) == ("ScheduleAnyway", siblings)
    (apart,) = strategy("STRICT_SPREAD")["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert (apart["labelSelector"], apart["matchLabelKeys"]) == (siblings, ["pod-template-hash"])


def test_a_strategy_and_a_profiles_affinity_are_both_kept(pod):
    found = pod(scaling={"placementStrategy": "PACK"}, ray={"acceleratorType": "H100"})
    assert found["affinity"].keys() == {"podAffinity", "nodeAffinity"}


def test_models_are_kept_on_a_claim_or_on_the_node(pod, profiled):
    def volume(found):
        return next(one for one in found["volumes"] if one["name"] == "cache")

    claim = {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}}
    node = {"name": "cache", "hostPath": {"path": "/srv/models", "type": "Directory"}}
    of_claim, of_node = pod(modelCache={"persistentVolumeClaim": "models"}), pod(modelCache={"hostPath": "/srv/models"})
    assert (volume(pod()), volume(of_claim), volume(of_node)) == ({"name": "cache", "emptyDir": {}}, claim, node)
    assert of_claim["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert "fsGroupChangePolicy" not in of_node["securityContext"]
    values = {**profiled.model_dump(), "model_cache": {"persistentVolumeClaim": "models"}}
    config = RenderConfig.model_validate(values)
    assert volume(pod(config)) == claim
    assert volume(pod(config, modelCache={"hostPath": "/srv/models"})) == node


def test_labels_for_gang_scheduling_reach_the_pod(profiled):
    gang = {
        "labels": {"kueue.x-k8s.io/queue-name": "gpus", "kueue.x-k8s.io/pod-group-name": "g"},
        "annotations": {"kueue.x-k8s.io/pod-group-total-count": "2"},
    }
    spec = InferenceModelSpec.model_validate({"engine": MODEL, "template": {"metadata": gang}})
    metadata = pod_template(spec, labels("sample"), profiled)["metadata"]
    assert metadata["labels"] == {**labels("sample"), **gang["labels"]}
    assert metadata["annotations"] == gang["annotations"]


def test_an_accelerator_without_profile_is_the_problem_of_the_model(model, profiled, config):
    wanted = {**model, "spec": {"engine": MODEL, "scaling": wants(accelerator_type_b200=0.01)}}
    problem = plan(Observed(wanted), profiled, NOW).problem
    assert isinstance(problem, Problem)
    assert (problem.reason, problem.permanent) == ("AcceleratorNotAvailable", True)
    for words in (
        "resourcesPerWorker.accelerator_type_b200",
        "accepted: H100, a10, mi300x, mig",
        "runtime.accelerators",
    ):
        assert words in problem.message
    assert not isinstance(read_spec(wanted, config), Problem)
    wrong = {**wanted, "spec": {**wanted["spec"], "modelCache": {}}}
    assert plan(Observed(wrong), profiled, NOW).problem.reason == "InvalidSpec"


def test_the_kind_of_accelerator_is_the_authors_and_the_profile_the_installations(profiled, config):
    def parsed(**spec):
        return InferenceModelSpec.model_validate({"engine": MODEL, **spec})

    plain, asking = parsed(), parsed(ray={"acceleratorType": "A10"})
    assert spec_hash(plain) != spec_hash(asking)
    assert spec_hash(plain) == spec_hash(parsed(ray={"logEngineMetrics": True}))
    assert pod_template(asking, labels("a"), config) != pod_template(asking, labels("a"), profiled)


CONFIG = {
    "model_type": "llama",
    "hidden_size": 5120,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "intermediate_size": 13824,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}


def test_the_memory_of_the_profile_is_what_the_weights_have_to_fit(profiled):
    facts = type(profiled.facts)(accelerators=profiled.accelerators, model_config=CONFIG)
    spec = InferenceModelSpec.model_validate({"engine": MODEL, "scaling": wants(accelerator_type_a10=0.01)})
    (finding,) = [one for one in check(spec, facts) if one.code == "HR501"]
    assert "and has 24.0 GiB" in finding.message
    unknown = InferenceModelSpec.model_validate({"engine": MODEL, "ray": {"acceleratorType": "H100"}})
    assert not [one for one in check(unknown, facts) if one.code.startswith("HR5")]


def test_the_nodes_of_the_profile_are_what_a_replica_has_to_fit(profiled):
    strict = {"numWorkers": 8, "placementStrategy": "STRICT_PACK"}
    spec = InferenceModelSpec.model_validate({"engine": MODEL, "scaling": {**strict, **wants(accelerator_type_a10=1)}})
    assert "the largest node has 4" in next(one.message for one in check(spec, profiled.facts) if one.code == "HR106")
    elsewhere = InferenceModelSpec.model_validate(
        {"engine": MODEL, "scaling": {**strict, **wants(accelerator_type_h100=1)}}
    )
    assert not [one for one in check(elsewhere, profiled.facts) if one.code == "HR106"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accelerators": {"a10": {}, "A10": {}}}, "A10 and a10 are the same name"),
        ({"default_accelerator": "b200"}, "no profile 'b200'; accepted: H100, a10, mi300x, mig"),
        ({"model_cache": {}}, "one of persistentVolumeClaim and hostPath"),
        ({"accelerators": {"a10": {"resourceName": "gpu"}}}, "resourceName"),
        ({"accelerators": {"a10": {"memory": 24}}}, "memory"),
    ],
)
def test_wrong_values_are_refused_by_name(profiled, change, words):
    with pytest.raises(ValidationError, match=words):
        RenderConfig.model_validate({**profiled.model_dump(by_alias=True), **change})
