"""The admission webhook on the real API server: refusals, its certificate's life, and what happens while it is away."""

import base64
import contextlib
import json
import subprocess

import pytest
import yaml

import images
from embedded import local
from setup import install

pytestmark = pytest.mark.cluster

CONFIGURATIONS = ("mutatingwebhookconfiguration", "validatingwebhookconfiguration")
NAME = "headrace.headrace.headrace.dev"
OTHER = "headrace-other"
OPERATOR = ("deployment", "headrace-operator")


@pytest.fixture
def wrong(model):
    """A model that only the rules object to: neither the schema nor a CEL rule does."""
    spec = model["spec"]
    weights = {"weightSetDirectories": ["models/here"]}
    return {**model, "spec": {**spec, "enabled": False, "engine": {**spec["engine"], **weights}}}


def bundles(kubectl, name=NAME):
    """The PEM bundle of each configuration."""
    found = [kubectl.get(kind, name)["webhooks"][0]["clientConfig"].get("caBundle", "") for kind in CONFIGURATIONS]
    return [base64.b64decode(text).decode() for text in found]


def refused(kubectl, manifest):
    """What kubectl says of a manifest that is not accepted; empty when it is."""
    result = kubectl.run("apply", "--dry-run=server", "-f", "-", text=json.dumps(manifest))
    return result.stderr if result.returncode else ""


def ready_condition(kubectl, name):
    found = kubectl.get("inferencemodels.headrace.dev", name).get("status", {})
    return next((one for one in found.get("conditions", []) if one["type"] == "Ready"), {})


@pytest.fixture
def no_operator(kubectl, wait_for):
    """The operator is away during the test."""
    kubectl("scale", *OPERATOR, "--replicas=0")
    operator_pods = ("pods", "-l", "app.kubernetes.io/name=headrace-operator")
    wait_for("the operator ends", lambda: not kubectl.items(*operator_pods), 60)

    def back():
        kubectl("scale", *OPERATOR, "--replicas=1")
        kubectl("rollout", "status", *OPERATOR, "--timeout=60s")

    yield back
    back()


def test_a_refusal_names_webhook_code_field_and_hint(kubectl, wrong):
    said = refused(kubectl, wrong)
    assert 'admission webhook "mutate.headrace.dev" denied the request: HR407: ' in said
    assert "HR407: spec.engine.weightSetDirectories[0]: 'models/here' is not an absolute path; write the abs" in said


def test_several_errors_are_several_lines(kubectl, model):
    model["spec"]["engine"] |= {"type": "VLLMEngine", "pipelineParallelSize": 3}
    model["spec"]["scaling"] = {"numGpusPerWorker": 2, "numWorkers": 4}
    lines = refused(kubectl, model).splitlines()
    assert lines[0].endswith(
        "HR101: spec.scaling.numGpusPerWorker: 2 is more than 1; set numGpusPerWorker to 1 and numWorkers to 8"
    )
    assert lines[1].startswith("HR102: spec.scaling.numWorkers: 4 is not a multiple of ")


def test_other_namespaces_are_not_asked_about(kubectl_in, wrong):
    wrong["metadata"]["namespace"] = "default"
    assert refused(kubectl_in("default"), wrong) == ""


def test_one_writer_of_the_number_of_workers(kubectl, model):
    model["spec"] |= {"enabled": False, "deployment": {"autoscaling": {"initialReplicas": 3, "maxReplicas": 4}}}
    kubectl.apply(model)
    assert kubectl.get("inferencemodels.headrace.dev", "sample-chat")["spec"]["replicas"] == 1
    assert kubectl.run("diff", "-f", "-", text=json.dumps(model)).returncode == 0  # nothing to apply again
    result = kubectl.run("scale", "inferencemodels.headrace.dev/sample-chat", "--replicas=2")
    assert "HR206: spec.replicas has no effect: deployment.autoscaling decides" in result.stderr
    del model["spec"]["deployment"]
    kubectl.apply(model)
    kubectl("scale", "inferencemodels.headrace.dev/sample-chat", "--replicas=2")


def test_while_the_operator_is_away_models_are_taken_and_judged_later(kubectl, wrong, wait_for, no_operator):
    kubectl.apply(wrong)
    no_operator()
    ready = wait_for("the judgement", lambda: ready_condition(kubectl, "sample-chat"), 30)
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert ready["message"].startswith("HR407")
    # what was there before can be labelled and deleted; a changed spec has to be right
    kubectl("label", "inferencemodels.headrace.dev", "sample-chat", "team=a")
    wrong["spec"]["replicas"] = 2
    assert "HR407" in refused(kubectl, wrong)
    kubectl("delete", "inferencemodels.headrace.dev", "sample-chat", "--wait", "--timeout=20s")


@pytest.mark.usefixtures("no_operator")
def test_failing_closed_stops_changed_specs_and_nothing_else(kubectl, model):
    model["spec"]["enabled"] = False
    kubectl.apply(model)
    policy = '[{{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "{}"}}]'
    try:
        for kind in CONFIGURATIONS:
            kubectl("patch", kind, NAME, "--type=json", "-p", policy.format("Fail"))
        assert 'failed calling webhook "mutate.headrace.dev"' in refused(
            kubectl, {**model, "metadata": {"name": "new"}}
        )
        kubectl("label", "inferencemodels.headrace.dev", "sample-chat", "team=a")
        kubectl("scale", "inferencemodels.headrace.dev/sample-chat", "--replicas=2")  # a subresource of its own
        kubectl("delete", "inferencemodels.headrace.dev", "sample-chat", "--wait", "--timeout=20s")
    finally:
        for kind in CONFIGURATIONS:
            kubectl("patch", kind, NAME, "--type=json", "-p", policy.format("Ignore"))


def test_configurations_that_somebody_deleted_come_back_with_an_upgrade(kubectl, wrong, wait_for):
    for kind in CONFIGURATIONS:
        kubectl("delete", kind, NAME)
    assert refused(kubectl, wrong) == ""
    install.chart({})
    wait_for("both bundles", lambda: all(bundles(kubectl)), 40)
    wait_for("a refusal", lambda: "HR407" in refused(kubectl, wrong), 10)


def test_killing_the_operator_while_models_are_applied_fails_no_apply(kubectl, model, wrong):
    model["spec"]["enabled"] = False
    again = {**model, "metadata": {**model["metadata"], "name": "again"}}
    bad = {**wrong, "metadata": {**wrong["metadata"], "name": "bad"}}
    killed = ("-l", "app.kubernetes.io/name=headrace-operator", "--grace-period=0", "--force", "--wait=false")
    kubectl("delete", "pods", *killed)
    kubectl.apply(model, again)
    result = kubectl.run("apply", "-f", "-", text=json.dumps(bad))
    assert result.returncode == 0 or "denied the request: HR407" in result.stderr
    kubectl("rollout", "status", *OPERATOR, "--timeout=60s")
    assert "HR407" in refused(kubectl, {**bad, "metadata": {**bad["metadata"], "name": "worse"}})


def test_a_new_operator_is_trusted_before_it_is_ready(kubectl, wrong):
    before = bundles(kubectl)
    kubectl("rollout", "restart", *OPERATOR)
    kubectl("rollout", "status", *OPERATOR, "--timeout=90s")
    assert "HR407" in refused(kubectl, wrong)
    assert all(new != old for new, old in zip(bundles(kubectl), before, strict=True))


def test_a_bundle_that_somebody_removed_comes_back(kubectl, wrong, wait_for):
    remove = '[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]'
    for kind in CONFIGURATIONS:
        kubectl("patch", kind, NAME, "--type=json", "-p", remove)
    wait_for("both bundles", lambda: all(bundles(kubectl)), 40)
    wait_for("a refusal", lambda: "HR407" in refused(kubectl, wrong), 10)


def test_an_upgrade_keeps_the_trust(kubectl, wrong):
    try:
        install.chart({"operator.webhook.timeoutSeconds": "7", "operator.webhook.failurePolicy": "Fail"})
        assert all(bundles(kubectl))
        assert kubectl.get(CONFIGURATIONS[0], NAME)["webhooks"][0]["timeoutSeconds"] == 7
        assert "HR407" in refused(kubectl, wrong)
    finally:
        install.chart({"operator.webhook.timeoutSeconds": "5", "operator.webhook.failurePolicy": "Ignore"})
    assert all(bundles(kubectl))
    assert "HR407" in refused(kubectl, wrong)


@pytest.mark.parametrize("options", [(), ("--server-side", "--force-conflicts", "--field-manager=gitops")])
def test_gitops_tools_leave_the_trust_alone(kubectl, options):
    """What they apply is what the chart renders, again and again."""
    manifest = subprocess.run(
        [local.helm(), "--kubeconfig", local.kubeconfig(), "--namespace", "headrace", "get", "manifest", "headrace"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rendered = [item for item in yaml.safe_load_all(manifest) if item and item["kind"].lower() in CONFIGURATIONS]
    assert len(rendered) == 2
    before = bundles(kubectl)
    kubectl("apply", *options, "-f", "-", text=yaml.safe_dump_all(rendered))
    assert bundles(kubectl) == before


def test_a_review_takes_milliseconds(kubectl, model):
    def total():
        text = kubectl("get", "--raw", "/metrics")
        name = "apiserver_admission_webhook_admission_duration_seconds"
        rows = [line for line in text.splitlines() if line.startswith(name) and ".headrace.dev" in line]
        return [
            sum(float(row.rsplit(" ", 1)[1]) for row in rows if f"{name}_{part}{{" in row) for part in ("sum", "count")
        ]

    model["spec"]["enabled"] = False
    seconds, count = total()
    for _ in range(10):
        kubectl("apply", "--dry-run=server", "-f", "-", text=json.dumps(model))
    more_seconds, more_count = total()
    assert more_count - count == 20  # both webhooks
    assert (more_seconds - seconds) / 20 < 0.1  # one review as the API server sees it; a few milliseconds at rest


def pair_from_openssl(folder):
    """A certificate for the other release's webhook, as a company's own authority would make it."""
    host = f"other-operator.{OTHER}.svc"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=webhook", "-addext", f"subjectAltName=DNS:{host}"]
    command += ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(command, check=True, capture_output=True)


def helm(*arguments):
    command = [local.helm(), "--kubeconfig", local.kubeconfig(), "--namespace", OTHER, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def other_release(kubectl, kubectl_in, tmp_path):
    """A second release in a namespace of its own, with a certificate that somebody else made, that fails closed."""
    pair_from_openssl(tmp_path)
    files = ("--cert", str(tmp_path / "tls.crt"), "--key", str(tmp_path / "tls.key"))
    webhook = "operator.webhook"
    values = ["--set", f"operator.image.tag={images.tag('operator')},queue.image.tag={images.tag('queue')}"]
    values += ["--set", f"{webhook}.failurePolicy=Fail,{webhook}.certificate.source=secret"]
    values += ["--set", f"{webhook}.certificate.secret.name=mine"]
    values += ["--set-file", f"{webhook}.certificate.secret.caBundle={tmp_path / 'tls.crt'}"]
    kubectl("create", "namespace", OTHER)
    try:
        kubectl_in(OTHER)("create", "secret", "tls", "mine", *files)
        helm("install", "other", install.CHART, "--wait", "--timeout", "120s", "--skip-crds", *values)
        yield
    finally:
        with contextlib.suppress(AssertionError):
            helm("uninstall", "other", "--wait")
        kubectl("delete", "namespace", OTHER, "--wait")


@pytest.mark.usefixtures("other_release")
def test_a_second_release_with_a_given_certificate_comes_and_goes(kubectl, kubectl_in, wrong, wait_for):
    wrong["metadata"]["namespace"] = OTHER
    other = kubectl_in(OTHER)
    wait_for("a refusal", lambda: "denied the request: HR407" in refused(other, wrong), 20)
    kinds = ",".join((*CONFIGURATIONS, "clusterrole", "clusterrolebinding"))

    def uids(release):
        return {item["metadata"]["uid"] for item in kubectl.items(kinds, "-l", f"app.kubernetes.io/instance={release}")}

    ours = uids("headrace")
    assert uids("other")
    helm("uninstall", "other", "--wait")
    assert uids("other") == set()
    assert refused(other, wrong) == ""
    assert uids("headrace") == ours != set()
