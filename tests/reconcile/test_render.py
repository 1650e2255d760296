"""Rendering: properties of the objects, and files that the worker's own reader accepts."""

import tomllib

import pytest
import yaml

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.worker_config import WorkerConfig
from headrace_operator.render.children import children
from headrace_operator.render.patch import strategic_merge


@pytest.fixture
def rendered(model, config):
    def render(**spec):
        whole = {**model["spec"], **spec}
        found = children(model["metadata"], InferenceModelSpec.model_validate(whole), config)
        return {item["kind"]: item for item in found}

    return render


def pod(objects):
    return objects["Deployment"]["spec"]["template"]


def test_the_worker_reads_what_is_rendered(rendered):
    engine = {
        "type": "VLLMEngine",
        "modelId": "meta-llama/Llama-2-7b-chat-hf",
        "engineKwargs": {"max_num_seqs": 64, "nested": {"none": None, "list": [1]}},
        "maxTotalTokens": 4096,
        "pipelineParallelSize": 2,
        "generation": {"stoppingSequences": ["### End", 7, [1, 2]]},
    }
    objects = rendered(engine=engine, scaling={"numWorkers": 4}, deployment={"maxConcurrentQueries": 9})
    config = WorkerConfig.model_validate(tomllib.loads(objects["ConfigMap"]["data"]["worker_config.toml"]))
    assert config.generator.tensor_parallel_size == 2
    assert config.generator.engine_kwargs == {"max_num_seqs": 64, "nested": {"list": [1]}}
    assert config.generator.generation.stopping_sequences == ["### End", 7, [1, 2]]
    assert config.queue.max_concurrent_queries == 9
    assert config.queue.token is None
    assert config.model_name == "meta-llama/Llama-2-7b-chat-hf"
    assert pod(objects)["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "4"}


def test_engines_of_several_processes_have_shared_memory(rendered):
    def volumes(objects):
        return {volume["name"]: volume.get("emptyDir") for volume in pod(objects)["spec"]["volumes"]}

    assert volumes(rendered(engine={"type": "VLLMEngine", "modelId": "m"}))["shm"] == {"medium": "Memory"}
    assert "shm" not in volumes(rendered())


def test_the_ray_file_has_the_registry_names(rendered):
    document = yaml.safe_load(rendered()["ConfigMap"]["data"]["model.yaml"])
    assert set(document) == {"enabled", "deployment_config", "engine_config", "scaling_config"}
    assert document["engine_config"]["model_id"] == "headrace/sample-chat"
    assert document["scaling_config"]["num_gpus_per_worker"] == 0


def test_the_ray_file_speaks_the_dialect_of_the_spec(rendered):
    engine = {"type": "VLLMEngine", "modelId": "m", "maxTotalTokens": 4096}
    ray = {"dialect": "ray-serve-llm", "acceleratorType": "L4"}
    document = yaml.safe_load(rendered(engine=engine, ray=ray, replicas=3)["ConfigMap"]["data"]["model.yaml"])
    assert document["model_loading_config"] == {"model_id": "m"}
    assert document["accelerator_type"] == "L4"
    assert document["engine_kwargs"]["max_model_len"] == 4096
    assert document["deployment_config"]["num_replicas"] == 3


def test_autoscaling_is_in_the_ray_file_as_the_spec_says_it(rendered):
    deployment = {"autoscaling": {"minReplicas": 0, "maxReplicas": 8, "upscaleDelaySeconds": 15}}
    document = yaml.safe_load(rendered(deployment=deployment)["ConfigMap"]["data"]["model.yaml"])
    config = document["deployment_config"]["autoscaling_config"]
    assert (config["min_replicas"], config["max_replicas"], config["upscale_delay_s"]) == (0, 8, 15)


@pytest.mark.parametrize(("share", "workers", "gpus"), [(0.5, 1, "1"), (0.5, 3, "2"), (0.25, 4, "1"), (1, 2, "2")])
def test_shares_of_gpus_are_rounded_up_to_whole_ones(rendered, share, workers, gpus):
    scaling = {"numWorkers": workers, "numGpusPerWorker": share}
    objects = rendered(engine={"type": "VLLMEngine", "modelId": "m"}, scaling=scaling)
    assert pod(objects)["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": gpus}


def test_luminous_runs_in_the_image_of_vllm_unless_it_has_its_own(rendered, config):
    engine = {"type": "luminous", "weightSetDirectories": ["/checkpoint"]}
    queue = {"checkpointName": "luminous-base"}
    objects = rendered(engine=engine, queue=queue)
    assert pod(objects)["spec"]["containers"][0]["image"] == "docker.io/headrace/vllm:1"
    worker = WorkerConfig.model_validate(tomllib.loads(objects["ConfigMap"]["data"]["worker_config.toml"]))
    assert (worker.generator.type, worker.generator.model_id, worker.model_name) == ("luminous", None, "luminous-base")
    own = config.model_copy(update={"images": {**config.images, "luminous": "docker.io/mine:1"}})
    assert own.image("luminous") == "docker.io/mine:1"
    assert config.model_copy(update={"images": {}}).image("luminous") is None


def test_a_changed_engine_rolls_the_pods_and_a_changed_count_does_not(rendered):
    assert pod(rendered()) == pod(rendered(replicas=5))
    other = {"type": "LlamaCppEngine", "modelId": "headrace/sample-chat", "maxTotalTokens": 64}
    assert pod(rendered()) != pod(rendered(engine=other))


def test_the_token_is_not_sent_to_another_queue(rendered):
    def variables(objects):
        return {one["name"]: one for one in pod(objects)["spec"]["containers"][0]["env"]}

    assert "HEADRACE_QUEUE_TOKEN" in variables(rendered())
    assert "HEADRACE_QUEUE_TOKEN" not in variables(rendered(queue={"url": "https://elsewhere.example"}))
    own = rendered(queue={"url": "https://elsewhere.example", "tokenSecretRef": {"name": "mine"}})
    reference = variables(own)["HEADRACE_QUEUE_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "mine", "key": "token"}


def test_keys_for_weights_come_from_a_secret_and_are_nowhere_else(rendered):
    engine = {"type": "VLLMEngine", "modelId": "org/model"}
    assert "envFrom" not in pod(rendered())["spec"]["containers"][0]
    own = rendered(engine={**engine, "credentialsSecretRef": {"name": "mine"}})
    assert pod(own)["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "mine"}}]
    assert "mine" not in own["ConfigMap"]["data"]["worker_config.toml"]


def test_the_installations_keys_for_weights_are_the_default(config, model):
    default = config.model_copy(update={"credentials_secret_name": "all-models"})
    for engine, name in (({}, "all-models"), ({"credentialsSecretRef": {"name": "mine"}}, "mine")):
        spec = InferenceModelSpec.model_validate({**model["spec"], "engine": {**model["spec"]["engine"], **engine}})
        found = {item["kind"]: item for item in children(model["metadata"], spec, default)}
        assert pod(found)["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": name}}]


def test_the_template_patch_merges_by_name(rendered):
    patch = {
        "metadata": {"annotations": {"example.com/a": "b"}, "labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "spec": {
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "containers": [{"name": "worker", "env": [{"name": "LOG_LEVEL", "value": "DEBUG"}]}],
            "volumes": [{"name": "engine", "hostPath": {"path": "/x"}}],
            "enableServiceLinks": None,
        },
    }
    template = pod(rendered(template=patch))
    (container,) = template["spec"]["containers"]
    assert container["image"] == "docker.io/headrace/runtime-llamacpp:1"
    assert {one["name"]: one.get("value") for one in container["env"]}["LOG_LEVEL"] == "DEBUG"
    assert [one["key"] for one in template["spec"]["tolerations"]][-1] == "gpu"
    assert len(template["spec"]["tolerations"]) == 3
    assert [one["name"] for one in template["spec"]["volumes"]] == ["config", "tmp", "cache", "engine"]
    assert "enableServiceLinks" not in template["spec"]
    assert template["metadata"]["annotations"]["example.com/a"] == "b"
    assert template["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "headrace-operator"
    assert "headrace.dev/revision" in template["metadata"]["annotations"]


def test_merge_leaves_its_arguments_alone():
    base = {"env": [{"name": "a", "value": "1"}]}
    assert strategic_merge(base, {"env": [{"name": "a", "value": "2"}]}) == {"env": [{"name": "a", "value": "2"}]}
    assert base == {"env": [{"name": "a", "value": "1"}]}
