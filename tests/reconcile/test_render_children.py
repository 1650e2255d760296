"""The objects beside the workload, and revisions: what names them, and what does not."""

import copy
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import revision as revisions
from headrace_operator.render.children import children
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.service import service_name

METADATA = {"name": "sample", "namespace": "models", "uid": "uid-1"}
ENGINE = {"type": "LlamaCppEngine", "modelId": "a/b"}
CONFIG = RenderConfig(
    queue_url="http://q.headrace.svc:8080", images={"LlamaCppEngine": "e.org/i:1", "VLLMEngine": "e.org/v:1"}
)


def spec(**fields):
    return InferenceModelSpec.model_validate({"engine": ENGINE, **fields})


def render(config=CONFIG, **fields):
    return {item["kind"]: item for item in children(METADATA, spec(**fields), config)}


def revision(config=CONFIG, **fields):
    return revisions.render("sample", spec(**fields), config)


def ports(rules):
    return {port["port"] for rule in rules for port in rule["ports"]}


def open_ports(objects):
    """The ports that workers may reach anywhere."""
    return ports(rule for rule in objects["NetworkPolicy"]["spec"]["egress"] if "to" not in rule)


def test_every_object_belongs_to_the_model():
    objects = render(CONFIG.model_copy(update={"pod_monitors": True}))
    assert list(objects) == [
        *("ConfigMap", "ServiceAccount", "NetworkPolicy", "Service", "PodDisruptionBudget", "PodMonitor"),
        "Deployment",  # last: its pods are born into what is there
    ]
    for item in objects.values():
        (owner,) = item["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == ("uid-1", True)
        assert item["metadata"]["labels"]["headrace.dev/model"] == "sample"
        assert item["metadata"]["annotations"]["headrace.dev/hash"]


def test_what_is_switched_off_is_not_rendered():
    off = CONFIG.model_copy(update={"network_policies": False})
    assert "NetworkPolicy" not in render(off)
    assert "PodMonitor" not in render()
    assert list(render(enabled=False)) == ["ConfigMap"]


def test_the_selectors_find_the_pods():
    objects = render(CONFIG.model_copy(update={"pod_monitors": True}))
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        objects["Service"]["spec"]["selector"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(objects[kind]["spec"]["selector"]["matchLabels"] for kind in ("PodDisruptionBudget", "PodMonitor")),
    ]
    assert all(selector and selector.items() <= labels for selector in selectors)


@pytest.mark.parametrize("name", ["sample", "7b-chat", "7" * 63])
def test_a_service_has_a_name_that_begins_with_a_letter(name):
    found = service_name(name)
    assert found[0].isalpha()
    assert len(found) <= 63
    assert service_name("m-" + name[:50]) != service_name(name)


def test_workers_are_asked_for_metrics_and_probes_only():
    policy = render(monitoring={"metricsPort": 4001, "tcpProbes": [4002]})["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert ports(policy["ingress"]) == {4001, 4002}


def test_workers_reach_names_the_queue_and_https():
    rules = render()["NetworkPolicy"]["spec"]["egress"]
    (queue,) = (rule["to"][0] for rule in rules if "to" in rule)
    assert queue["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "headrace"}
    assert queue["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "headrace-queue"}
    assert open_ports(render()) == {53, 5353, 443, 8080}


@pytest.mark.parametrize(
    ("fields", "port"),
    [
        ({"queue": {"url": "https://spider.example:8443/base"}}, 8443),
        ({"queue": {"url": "ws://spider.example"}}, 80),
        ({"engine": {**ENGINE, "runtimeEnv": {"envVars": {"HF_ENDPOINT": "http://hub.example:8090"}}}}, 8090),
        ({"template": {"spec": {"containers": [{"name": "worker", "env": [{"value": "http://proxy:3128"}]}]}}}, 3128),
        (
            {
                "engine": {
                    **ENGINE,
                    "s3Mirror": {"bucketUri": "s3://b/", "s3SyncArgs": ["--endpoint-url=http://s:9000"]},
                }
            },
            9000,
        ),
    ],
)
def test_workers_reach_the_ports_that_the_spec_names(fields, port):
    objects = render(**fields)
    assert port in open_ports(objects)
    own = [rule for rule in objects["NetworkPolicy"]["spec"]["egress"] if "podSelector" in rule.get("to", [{}])[0]]
    assert bool(own) == ("queue" not in fields)


def namespaces(objects):
    """The namespaces that workers may reach all of."""
    peers = [peer for rule in objects["NetworkPolicy"]["spec"]["egress"] for peer in rule.get("to", [])]
    whole = [peer for peer in peers if "namespaceSelector" in peer and "podSelector" not in peer]
    return {peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in whole}


@pytest.mark.parametrize(
    ("url", "namespace"),
    [
        ("http://minio.storage.svc:9000", "storage"),
        ("http://minio.storage.svc.cluster.local", "storage"),
        ("http://minio-0.minio.storage.svc.example.org./x", "storage"),
        ("wss://other-queue.team-b", "team-b"),
        ("http://other-queue", METADATA["namespace"]),
        ("http://10.0.0.1:80", None),
        ("http://[::1]:80", None),
        ("http://localhost:80", None),
        ("https://spider.example.com", None),
    ],
)
def test_workers_reach_a_service_whatever_the_port_behind_it(url, namespace):
    wanted = {namespace} if namespace else set()
    assert namespaces(render(queue={"url": url})) == wanted
    engine = {**ENGINE, "runtimeEnv": {"envVars": {"AWS_ENDPOINT_URL": url}}}
    assert namespaces(render(engine=engine)) == wanted


@pytest.mark.parametrize("host", [".svc", ".svc.cluster.local"])
@pytest.mark.parametrize("end", ["", "/"])
def test_the_own_queue_is_known_by_other_words(host, end):
    rules = render(queue={"url": CONFIG.queue_url.replace(".svc", host) + end})
    assert namespaces(rules) == set()
    assert rules["NetworkPolicy"]["spec"]["egress"][1] == render()["NetworkPolicy"]["spec"]["egress"][1]


@pytest.mark.parametrize("text", ["http://[", "http://host:99999", "http://", "s3://bucket:1/", "mailto:a@b"])
def test_what_is_no_web_address_opens_nothing(text):
    engine = {**ENGINE, "runtimeEnv": {"envVars": {"A": text}}}
    assert open_ports(render(engine=engine)) == {53, 5353, 443, 8080}


def test_a_drain_takes_one_worker_at_a_time_and_is_never_blocked():
    budget = render(replicas=1)["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_pods_have_an_identity_and_no_token():
    objects = render()
    assert objects["ServiceAccount"]["automountServiceAccountToken"] is False
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("sample", False)


@pytest.mark.parametrize(("strategy", "surge", "away"), [("Surge", 1, 0), ("Replace", 0, 1)])
def test_strategy_and_deadline_are_the_deployments_own(strategy, surge, away):
    rollout = {"strategy": strategy, "progressDeadlineSeconds": 77}
    deployment = render(rollout=rollout)["Deployment"]["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": surge, "maxUnavailable": away}
    assert deployment["progressDeadlineSeconds"] == 77


def test_a_revision_is_read_back_from_its_config_map():
    made = revision(template={"spec": {"volumes": [{"name": "mine", "configMap": {"name": "other"}}]}})
    stored = revisions.config_map(METADATA, spec(), made)
    assert stored["metadata"]["name"] == f"sample-{made.name}"
    found = revisions.read(stored)
    assert (found, found.name) == (made, made.name)
    for key in ("worker_config.toml", "pod_template.json"):
        changed = copy.deepcopy(stored)
        changed["data"][key] += " "
        assert revisions.read(changed) is None or key == "pod_template.json"
    assert revisions.read({**stored, "data": {"worker_config.toml": "x"}}) is None
    assert revisions.read({"metadata": {"name": "sample"}, "data": None}) is None


def test_pods_mount_the_two_files_of_their_own_revision():
    objects = render()
    name = objects["ConfigMap"]["metadata"]["name"]
    template = objects["Deployment"]["spec"]["template"]
    (volume,) = (one["configMap"] for one in template["spec"]["volumes"] if one["name"] == "config")
    assert volume["name"] == name
    assert [one["key"] for one in volume["items"]] == ["worker_config.toml", "model.yaml"]
    assert name.endswith(template["metadata"]["annotations"]["headrace.dev/revision"])


NOT_IN_THE_POD = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.booleans(),
        "replicas": st.integers(0, 9),
        "rollout": st.fixed_dictionaries({"strategy": st.sampled_from(["Surge", "Replace"])}),
        "deployment": st.fixed_dictionaries(
            {
                "autoscaling": st.fixed_dictionaries({"maxReplicas": st.integers(1, 9)}),
                "rayActorOptions": st.just({"a": 1}),
            }
        ),
        "ray": st.fixed_dictionaries({"dialect": st.sampled_from(["registry", "ray-serve-llm"])}),
        "scaling": st.fixed_dictionaries({"pgTimeoutSeconds": st.integers(1, 9)}),
    },
)


@given(NOT_IN_THE_POD)
def test_what_does_not_reach_the_pod_makes_no_revision(fields):
    same, other = revision(), revision(**fields)
    assert (same.name, same.spec_hash) == (other.name, other.spec_hash)


@pytest.mark.parametrize(
    "fields",
    [
        {"engine": {**ENGINE, "maxTotalTokens": 64}},
        {"deployment": {"maxConcurrentQueries": 3}},
        {"scaling": {"numCpusPerWorker": 2}},
        {"monitoring": {"logLevel": "DEBUG"}},
        {"template": {"spec": {"priorityClassName": "low"}}},
    ],
)
def test_what_reaches_the_pod_makes_a_revision_of_the_authors(fields):
    same, other = revision(), revision(**fields)
    assert same.name != other.name
    assert same.spec_hash != other.spec_hash


def test_a_default_that_is_written_down_is_the_same_spec():
    stated = revision(
        monitoring={"metricsPort": 4000}, engine={**ENGINE, "engineKwargs": {}}, scaling={"numWorkers": 1}
    )
    assert (stated.name, stated.spec_hash) == (revision().name, revision().spec_hash)


@pytest.mark.parametrize(
    "changes", [{"grace_seconds": 99}, {"images": {"LlamaCppEngine": "e.org/i:2"}}, {"queue_url": "http://other"}]
)
def test_the_installations_values_make_a_revision_of_the_same_spec(changes):
    same, other = revision(), revision(CONFIG.model_copy(update=changes))
    assert same.name != other.name
    assert same.spec_hash == other.spec_hash


VLLM = {**ENGINE, "type": "VLLMEngine"}
ADAPTERS = {**VLLM, "adapters": [{"name": "polite", "source": "s3://bucket/polite/"}]}


def adapters_of(**engine):
    items = children(METADATA, spec(engine={**ADAPTERS, **engine}), CONFIG)
    return {item["metadata"]["name"]: item for item in items if item["kind"] == "ConfigMap"}


def test_adapters_are_beside_the_revision():
    maps = adapters_of()
    assert tomllib.loads(maps["sample-adapters"]["data"]["adapters.toml"]) == {"adapters": ADAPTERS["adapters"]}
    with_some = revision(engine=ADAPTERS)
    file = tomllib.loads(with_some.worker_file)
    assert "adapters" not in file["generator"]
    folder, _, name = file["generator"]["adapters_file"].rpartition("/")
    assert name in maps["sample-adapters"]["data"]
    pod = with_some.pod_template("sample")["spec"]
    (volume,) = (one for one in pod["volumes"] if one["name"] == "headrace-adapters")
    assert volume["configMap"] == {"name": "sample-adapters", "optional": True}
    assert folder in {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}


def test_other_adapters_are_no_other_revision():
    others = {**ADAPTERS, "adapters": [{"name": "rude", "source": "/rude"}, {"name": "polite", "source": "/polite"}]}
    one, other, none = (revision(engine=engine) for engine in (ADAPTERS, others, VLLM))
    assert (one.name, one.spec_hash) == (other.name, other.spec_hash)
    assert one.name != none.name
    assert one.spec_hash != none.spec_hash
    assert adapters_of() != adapters_of(adapters=others["adapters"])
    assert "sample-adapters" not in adapters_of(adapters=[])


@pytest.mark.parametrize("kind", ["LlamaCppEngine", "luminous"])
def test_engines_that_load_adapters_when_they_start_only_have_them_in_the_revision(kind):
    some = [{"name": "b", "source": "/b"}, {"name": "a", "source": "/a"}]
    turned, other, fewer = some[::-1], [some[0], {"name": "a", "source": "/other"}], some[:1]
    engines = [{**ENGINE, "type": kind, "adapters": one} for one in (some, turned, other, fewer, [])]
    given, same, *changed = (revision(engine=engine) for engine in engines)
    assert tomllib.loads(given.worker_file)["generator"]["adapters"] == turned
    assert (given.name, given.spec_hash) == (same.name, same.spec_hash)
    assert len({given.name, *(one.name for one in changed)}) == 4
    assert len({given.spec_hash, *(one.spec_hash for one in changed)}) == 4
    assert "headrace-adapters" not in {volume["name"] for volume in given.pod_template("sample")["spec"]["volumes"]}
    assert "sample-adapters" not in adapters_of(type=kind)


@pytest.mark.parametrize(
    ("engine", "asks"),
    [
        ({"s3Mirror": {"bucketUri": "s3://b/"}}, True),
        ({"hfModelId": "s3://b/f"}, True),
        ({"weightSetDirectories": ["gs://b/f"]}, True),
        ({"adapters": [{"name": "a", "source": "s3://b/a"}]}, True),
        ({"adapters": [{"name": "a", "source": "s3://b/a"}], "type": "VLLMEngine"}, True),
        ({"adapters": [{"name": "a", "source": "/a"}], "type": "VLLMEngine"}, False),
        ({}, False),
    ],
)
def test_workers_that_read_buckets_may_ask_for_the_clouds_credentials(engine, asks):
    rules = render(engine={**ENGINE, **engine})["NetworkPolicy"]["spec"]["egress"]
    blocks = {to["ipBlock"]["cidr"] for rule in rules for to in rule.get("to", []) if "ipBlock" in to}
    assert ("169.254.169.254/32" in blocks) == asks
