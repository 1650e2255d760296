"""`headrace diff`, with a kubectl that answers from a file; tests/cluster has the real one."""

import copy
import json
import os
import stat
import sys

import pytest
import yaml

from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render.children import children
from headrace_operator.render.config import RenderConfig

UID = "11111111-1111-1111-1111-111111111111"
CONFIG = RenderConfig(queue_url="http://queue", images={"LlamaCppEngine": "e.org/i:1"}, grace_seconds=77)
SPEC = {"engine": {"type": "LlamaCppEngine", "modelId": "a/b"}}
MODEL = {
    "apiVersion": "headrace.dev/v1alpha1",
    "kind": "InferenceModel",
    "metadata": {"name": "m", "namespace": "models", "uid": UID, "generation": 3, "resourceVersion": "7"},
    "spec": SPEC,
    "status": {"workers": "1/1"},
}
OPERATOR = {
    "kind": "Deployment",
    "metadata": {"name": "headrace-operator", "namespace": "headrace"},
    "spec": {
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "operator",
                        "env": [
                            {"name": "HEADRACE_OPERATOR_NAMESPACES", "value": "models,others"},
                            {"name": "HEADRACE_OPERATOR_QUEUE_URL", "value": "http://queue"},
                            {"name": "HEADRACE_OPERATOR_IMAGES", "value": '{"LlamaCppEngine": "e.org/i:1"}'},
                            {"name": "HEADRACE_OPERATOR_GRACE_SECONDS", "value": "77"},
                            {"name": "HEADRACE_OPERATOR_LOG_LEVEL", "value": "INFO"},
                        ],
                    }
                ]
            }
        }
    },
}

KINDS = {
    "configmaps": "ConfigMap",
    "serviceaccounts": "ServiceAccount",
    "networkpolicies.networking.k8s.io": "NetworkPolicy",
    "services": "Service",
    "poddisruptionbudgets.policy": "PodDisruptionBudget",
    "deployments.apps": "Deployment",
    "pods": "Pod",
}
KUBECTL = """#!{python}
import json, os, sys
state = json.load(open(os.environ["FAKE_STATE"]))
arguments = sys.argv[1:]
with open(os.environ["FAKE_STATE"] + ".calls", "a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
plain = [one for one in arguments if not one.startswith("--")]
flags = dict(one[2:].partition("=")[::2] for one in arguments if one.startswith("--"))
if state.get("fail"):
    sys.exit(state["fail"])

def merged(old, new):
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {{**old, **{{key: merged(old.get(key), value) for key, value in new.items()}}}}

def live(kind, name):
    return [one for one in state["objects"] if one["kind"].lower() == kind and one["metadata"]["name"] == name]

if plain[0] == "apply":
    assert flags["dry-run"] == "server", arguments
    item = json.load(sys.stdin)
    item["metadata"].setdefault("namespace", flags.get("namespace", "models"))
    found = live(item["kind"].lower(), item["metadata"]["name"])
    old = found[0] if found else {{"metadata": {{"uid": "new"}}}}
    if "server-side" in flags:
        assert flags["field-manager"] == "headrace-operator", arguments
    else:  # three-way: what the last apply said and this one does not goes
        old = {{**old, "spec": {{}}}}
    print(json.dumps(merged(old, item)))
elif plain[0] == "get":
    if "all-namespaces" in flags:
        print(json.dumps({{"kind": "List", "items": state["operators"]}}))
    elif "selector" in flags:
        kinds = {kinds}
        wanted = [kinds[one] for one in plain[1].split(",")]
        name = flags["selector"].split("=")[1]
        labelled = [one for one in state["objects"] if name in one["metadata"].get("labels", {{}}).values()]
        print(json.dumps({{"kind": "List", "items": [one for one in labelled if one["kind"] in wanted]}}))
    else:
        kind = {{"inferencemodels.headrace.dev": "inferencemodel"}}.get(plain[1], plain[1])
        for one in live(kind, plain[2]):
            print(json.dumps(one))
else:
    sys.exit(f"not scripted: {{arguments}}")
"""


class Cluster:
    """What the scripted kubectl answers from."""

    def __init__(self, folder):
        self.path = folder / "state.json"
        self.state = {"objects": [], "operators": [OPERATOR]}

    def running(self):
        """The model, and its objects as the operator made them."""
        spec = InferenceModelSpec.model_validate(SPEC)
        made = children(MODEL["metadata"], spec, CONFIG)
        for child in made:
            child["metadata"] = {**child["metadata"], "uid": child["kind"], "resourceVersion": "1"}
        self.state["objects"] = [copy.deepcopy(MODEL), *made]
        return self

    def save(self):
        self.path.write_text(json.dumps(self.state))

    def calls(self):
        return [json.loads(line) for line in self.path.with_name("state.json.calls").read_text().splitlines()]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL.format(python=sys.executable, kinds=KINDS))
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    made = Cluster(tmp_path)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_STATE", str(made.path))
    return made


@pytest.fixture
def diff(headrace, cluster):
    def run(spec, *options):
        cluster.save()
        manifest = {**MODEL, "metadata": {"name": "m"}, "spec": spec}
        del manifest["status"]
        return headrace("diff", *options, "-", text=yaml.safe_dump(manifest))

    return run


def changed(result):
    assert result.status == 1, result
    return {(one["kind"], one["action"]): one["changes"] for one in json.loads(result.out)}


def test_nothing_changes(diff, cluster):
    cluster.running()
    result = diff(SPEC)
    assert (result.status, result.out, result.err) == (0, "", "")


def test_a_change_of_the_spec_is_shown_down_to_the_pods(diff, cluster):
    cluster.running()
    found = changed(diff({**SPEC, "replicas": 2, "monitoring": {"logLevel": "DEBUG"}}, "--format", "json"))
    # a new revision has a ConfigMap of its own; that of the running workers stays while they use it
    assert set(found) == {("InferenceModel", "change"), ("ConfigMap", "create"), ("Deployment", "change")}
    assert {"key": "spec.replicas", "before": None, "after": 2} in found["InferenceModel", "change"]
    deployment = {one["key"]: (one["before"], one["after"]) for one in found["Deployment", "change"]}
    assert deployment["spec.replicas"] == (1, 2)
    level = "spec.template.spec.containers[worker].env[LOG_LEVEL].value"
    assert deployment[level] == ("INFO", "DEBUG")


def test_what_was_changed_by_hand_is_shown(diff, cluster):
    cluster.running()
    deployment = next(one for one in cluster.state["objects"] if one["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 5
    result = diff(SPEC)
    assert result.status == 1
    assert result.out.startswith("--- Deployment/m (live)\n+++ Deployment/m (after)\n")
    assert "-      terminationGracePeriodSeconds: 5\n+      terminationGracePeriodSeconds: 77\n" in result.out


@pytest.mark.slow
def test_a_new_model(diff):
    result = diff(SPEC)
    assert result.status == 1
    revision = children(MODEL["metadata"], InferenceModelSpec.model_validate(SPEC), CONFIG)[0]["metadata"]["name"]
    assert [line for line in result.out.splitlines() if line.startswith("+++")] == [
        "+++ InferenceModel/m (after)",
        f"+++ ConfigMap/{revision} (after)",
        "+++ ServiceAccount/m (after)",
        "+++ NetworkPolicy/m (after)",
        "+++ Service/m (after)",
        "+++ PodDisruptionBudget/m (after)",
        "+++ Deployment/m (after)",
    ]
    assert "+  name: m\n" in result.out


def test_a_disabled_model_loses_its_workers(diff, cluster):
    cluster.running()
    assert ("Deployment", "delete") in changed(diff({**SPEC, "enabled": False}, "--format", "json"))


def test_nothing_is_written(diff, cluster):
    cluster.running()
    diff({**SPEC, "replicas": 2})
    calls = cluster.calls()
    assert {("get" in call, "apply" in call and "--dry-run=server" in call) for call in calls} == {
        (True, False),
        (False, True),
    }


@pytest.mark.slow
def test_context_and_namespace_are_passed_on(diff, cluster):
    diff(SPEC, "--context", "far", "--namespace", "models")
    assert all("--context=far" in call and "--namespace=models" in call for call in cluster.calls())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda state: state.update(operators=[]),
            "no headrace operator watches the namespace models (label app.kuber",
        ),
        (
            lambda state: state.update(operators=[OPERATOR, OPERATOR]),
            "more than one operator watches models: headrace/",
        ),
        (lambda state: state.update(fail="error: You must be logged in"), "<stdin>:4: error: You must be logged in"),
        (
            lambda state: state["objects"].append(
                {"kind": "Service", "metadata": {"name": "m", "namespace": "models", "uid": "theirs"}}
            ),
            "Service m exists and is not this model's: rename one of them",
        ),
    ],
)
def test_trouble(diff, cluster, change, said):
    cluster.state = copy.deepcopy(cluster.state)
    change(cluster.state)
    result = diff(SPEC)
    assert result.status == 2, result
    assert said in result.err
    assert result.out == ""


def test_an_operator_elsewhere_is_named(diff, cluster):
    other = copy.deepcopy(OPERATOR)
    other["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "others"
    cluster.state["operators"] = [other]
    assert "watches the namespace models; there are headrace/headrace-operator" in diff(SPEC).err


def test_what_the_operator_refuses(diff):
    result = diff({"engine": {"type": "VLLMEngine", "modelId": "a/b"}})
    assert result.status == 2
    assert (
        "the operator would change nothing: EngineNotAvailable: spec.engine.type: this installation has no"
        in result.err
    )


def test_an_operator_of_another_version_is_told(diff, cluster):
    other = copy.deepcopy(OPERATOR)
    other["spec"]["template"]["spec"]["containers"][0]["env"][3]["value"] = "soon"
    cluster.state["operators"] = [other]
    assert "the operator headrace/headrace-operator has settings that this headrace does not read" in diff(SPEC).err


def test_no_kubectl(headrace, monkeypatch, tmp_path, model_text):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = headrace("diff", "-", text=model_text)
    assert (result.status, "kubectl cannot be started: No such file" in result.err) == (2, True)


def test_a_wrong_file_is_trouble(headrace):
    assert headrace("diff", "-", text="a: [").status == 2
