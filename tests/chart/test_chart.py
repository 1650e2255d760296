"""The chart without a cluster: helm's own lint, what its values may be, and what it renders."""

import base64
from pathlib import Path

import pytest

from headrace_operator.settings import read
from headrace_queue import app, dispatch, outbox
from headrace_queue.database import engine
from headrace_queue.http import server as http_server
from headrace_queue.keda import server

pytestmark = pytest.mark.cluster  # helm is one of the cluster's programs

WEBHOOK = "release.here.headrace.dev"
NODES = "release.here.nodes"
NOT_FOR_PEOPLE = "rbac.aggregateToDefaultRoles=false"
WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
CHART = Path(__file__).resolve().parents[2] / "charts" / "headrace"


def kinds(objects, kind):
    return [item for item in objects if item["kind"] == kind]


def test_lint_is_clean(helm):
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout
    assert "[WARNING]" not in result.stdout


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("imagePullSecrets[0].secret=registry", "imagePullSecrets"),
        ("operator.clusterwide=true", "clusterwide"),
        ("runtime.images.Llama.repository=x", "Llama"),
        (r"runtime.images.acme\.Fast.image=x", "image"),
        ("queue.service.port=0", "port"),
        ("queue.persistence.size=big", "size"),
        ("queue.persistence.accessModes={ReadOnlyMany}", "accessModes"),
        ("queue.database.url=postgresql://x", "url"),
        ("queue.webhook.url=billing", "url"),
        ("queue.webhook.url=https://billing", "existingSecret"),
        ("queue.keys.defaultLimits.requestPerMinute=1", "requestPerMinute"),
        ("queue.keys.defaultLimits.requestsPerMinute=0", "requestsPerMinute"),
        ("sampleModel.name=Sample", "name"),
        ("runtime.accelerators.a10.resourceName=gpu", "resourceName"),
        ("runtime.accelerators.a10.memory=24", "memory"),
        ("runtime.accelerators.a10.tolerations[0].effect=Never", "effect"),
        ("runtime.accelerators.-a=null", "-a"),
        ("runtime.modelCache.hostPath=models", "hostPath"),
        ("operator.webhook.failurePolicy=Maybe", "failurePolicy"),
        ("operator.replicas=-1", "replicas"),
        ("operator.lease.seconds=1", "seconds"),
        ("networkPolicies.enable=false", "enable"),
        ("networkPolicies.prometheus[0].ipBlock.ip=10.0.0.1", "cidr"),
        ("operator.webhook.certificate.source=secret", "secret/name"),
        ("operator.webhook.certificate.secret.caBundle=x", "caBundle"),
        ("operator.webhook.certificate.certManager.issuerRef.kind=ClusterIssuer", "issuerRef"),
    ],
)
def test_wrong_values_are_refused_by_name(helm, value, words):
    result = helm("template", "release", str(CHART), "--set", value)
    assert result.returncode != 0
    assert "values don't meet the specifications of the schema" in result.stderr
    assert words in result.stderr


def test_the_sample_model_is_off_by_default(rendered):
    assert not kinds(rendered(), "InferenceModel")
    (model,) = kinds(rendered("sampleModel.enabled=true"), "InferenceModel")
    assert model["spec"]["engine"]["type"] == "LlamaCppEngine"


@pytest.fixture
def told(rendered):
    """What the operator reads from the variables that the chart sets."""

    def tell(*values):
        found = {one["metadata"]["name"]: one for one in kinds(rendered(*values), "Deployment")}
        variables = found["release-operator"]["spec"]["template"]["spec"]["containers"][0]["env"]
        return read([], {one["name"]: one.get("value", "pod") for one in variables}).render

    return tell


def test_pull_secrets_are_for_the_workers_too(rendered, told):
    assert told().image_pull_secrets == ()
    secrets = ("imagePullSecrets[0].name=registry", "imagePullSecrets[1].name=mirror")
    assert [one.name for one in told(*secrets).image_pull_secrets] == ["registry", "mirror"]
    for deployment in kinds(rendered(*secrets), "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]


def test_the_operator_is_told_the_images_of_other_engines(told):
    own = (r"runtime.images.acme\.Fast.registry=registry.example", r"runtime.images.acme\.Fast.repository=acme/fast")
    images = told(*own, r"runtime.images.acme\.Fast.tag=v2").images
    assert images["acme.Fast"] == "registry.example/acme/fast:v2"
    assert images["VLLMEngine"].startswith("docker.io/headrace/runtime-vllm:")


def test_the_operator_is_told_the_secret_with_keys_for_weights(told):
    assert told().credentials_secret_name is None
    assert told("runtime.credentialsSecret=model-sources").credentials_secret_name == "model-sources"


def test_the_operator_is_told_what_the_values_say_of_gpus(told):
    assert (told().accelerators, told().default_accelerator, told().model_cache) == ({}, None, None)
    values = (
        "runtime.accelerators.a10.nodeSelector.gpu=a10",
        "runtime.accelerators.mig.resourceName=nvidia.com/mig-1g.10gb",
        "runtime.accelerators.mig.memoryGiB=10",
        "runtime.defaultAccelerator=a10",
        "runtime.modelCache.persistentVolumeClaim=models",
    )
    config = told(*values)
    assert config.accelerators["a10"].node_selector == {"gpu": "a10"}
    assert (config.accelerators["mig"].resource_name, config.accelerators["mig"].memory_gib) == (
        "nvidia.com/mig-1g.10gb",
        10,
    )
    assert (config.default_accelerator, config.model_cache.persistent_volume_claim) == ("a10", "models")


def test_accelerators_are_compared_as_the_operator_does_and_nulls_are_none(told):
    resource = "resourceName=nvidia.com/gpu"
    config = told(f"runtime.accelerators.NVIDIA_A10.{resource}", "runtime.defaultAccelerator=a10")
    assert config.default_accelerator == "a10"
    config = told(f"runtime.accelerators.a10.{resource}", "runtime.accelerators.l4=null")
    assert list(config.accelerators) == ["a10"]
    assert told("runtime.accelerators.l4=null").accelerators == {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            ("runtime.defaultAccelerator=b200",),
            'runtime.defaultAccelerator: no profile "b200" in runtime.accelerators; accepted: none',
        ),
        (
            ("runtime.accelerators.a10.memoryGiB=24", "runtime.accelerators.l4=null", "runtime.defaultAccelerator=l4"),
            'runtime.defaultAccelerator: no profile "l4" in runtime.accelerators; accepted: a10',
        ),
        (
            ("runtime.accelerators.a10.memoryGiB=24", "runtime.accelerators.A10.memoryGiB=24"),
            "runtime.accelerators: A10 and a10 are the same name",
        ),
        (
            ("operator.lease.seconds=10",),
            "operator.lease.renewSeconds: 10; accepted: less than operator.lease.seconds, which is 10",
        ),
        (
            ("operator.clusterWide=true", "operator.namespaces={a,b}"),
            "operator.namespaces: a, b, but operator.clusterWide is true",
        ),
        (
            ("monitoring.alerts.enabled=true", "monitoring.alerts.disabled={HeadraceModelnotready}"),
            'monitoring.alerts.disabled: no alert "HeadraceModelnotready"; accepted: HeadraceApiThrottled, Headrace',
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused_by_name(helm, values, words):
    options = [word for value in values for word in ("--set", value)]
    result = helm("template", "release", str(CHART), *options)
    assert result.returncode != 0
    assert words in result.stderr


def test_the_webhook_gives_the_right_to_write_two_objects_and_no_more(rendered):
    (role,) = kinds(rendered("operator.readNodes=false", NOT_FOR_PEOPLE), "ClusterRole")
    (rule,) = role["rules"]
    assert rule["resourceNames"] == [WEBHOOK]
    assert rule["verbs"] == ["get", "patch"]
    configured = [one["metadata"]["name"] for kind in WEBHOOKS for one in kinds(rendered(), kind)]
    assert configured == [WEBHOOK, WEBHOOK]
    for source in ("certManager", "secret"):
        certificate = "operator.webhook.certificate"
        mine = (f"{certificate}.source={source}", f"{certificate}.secret.name=mine")
        objects = rendered(*mine, "operator.readNodes=false", NOT_FOR_PEOPLE)
        assert not kinds(objects, "ClusterRole")


def test_nodes_may_be_listed_and_nothing_else(rendered):
    objects = rendered("operator.webhook.enabled=false", NOT_FOR_PEOPLE)
    (role,) = kinds(objects, "ClusterRole")
    (binding,) = kinds(objects, "ClusterRoleBinding")
    assert role["metadata"]["name"] == binding["roleRef"]["name"] == NODES
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
    assert "namespace" not in role["metadata"]


def test_the_webhook_asks_only_about_watched_namespaces_and_changed_specs(rendered):
    for kind in WEBHOOKS:
        (webhook,) = kinds(rendered("operator.namespaces={a,b}"), kind)[0]["webhooks"]
        assert webhook["namespaceSelector"]["matchExpressions"] == [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]}
        ]
        assert webhook["failurePolicy"] == "Ignore"
        assert webhook["sideEffects"] == "None"
        assert "object.spec != oldObject.spec" in webhook["matchConditions"][0]["expression"]
        assert "caBundle" not in webhook["clientConfig"]
        (everywhere,) = kinds(rendered("operator.clusterWide=true"), kind)[0]["webhooks"]
        assert "namespaceSelector" not in everywhere


def test_rendering_twice_gives_the_same_webhook(rendered):
    wanted = {*WEBHOOKS, "Service", "ClusterRole", "Deployment"}
    first, second = ([one for one in rendered() if one["kind"] in wanted] for _ in range(2))
    assert first == second


def test_the_webhook_can_be_left_out(rendered):
    objects = rendered("operator.webhook.enabled=false")
    assert not [one for one in objects if one["kind"] in WEBHOOKS]
    assert "WEBHOOK" not in str(objects)
    assert "9443" not in str(objects)


def test_a_certificate_of_cert_manager(rendered):
    source = "operator.webhook.certificate.source=certManager"
    objects = rendered(source)
    (certificate,) = kinds(objects, "Certificate")
    assert certificate["spec"]["dnsNames"] == ["release-operator.here.svc"]
    assert certificate["spec"]["issuerRef"] == {"name": "release-operator-webhook", "kind": "Issuer"}
    assert kinds(objects, "Issuer")
    for kind in WEBHOOKS:
        (configuration,) = kinds(objects, kind)
        name = certificate["metadata"]["name"]
        assert configuration["metadata"]["annotations"] == {"cert-manager.io/inject-ca-from": f"here/{name}"}
    mounted = str(kinds(objects, "Deployment"))
    assert certificate["spec"]["secretName"] in mounted
    assert "'HEADRACE_OPERATOR_WEBHOOK_CERTIFICATES', 'value': '/etc/headrace/webhook'" in mounted
    issuer = "operator.webhook.certificate.certManager.issuerRef"
    objects = rendered(source, f"{issuer}.name=company", f"{issuer}.kind=ClusterIssuer")
    assert kinds(objects, "Certificate")[0]["spec"]["issuerRef"] == {"name": "company", "kind": "ClusterIssuer"}
    assert not kinds(objects, "Issuer")


def test_a_certificate_of_a_given_secret(rendered):
    base = "operator.webhook.certificate"
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    objects = rendered(f"{base}.source=secret", f"{base}.secret.name=mine", f"{base}.secret.caBundle={pem}")
    assert "'secretName': 'mine'" in str(kinds(objects, "Deployment"))
    for kind in WEBHOOKS:
        (webhook,) = kinds(objects, kind)[0]["webhooks"]
        assert base64.b64decode(webhook["clientConfig"]["caBundle"]).decode() == pem


def test_failing_closed_does_not_lock_out_the_sample_model(helm):
    policy = ("--set", "operator.webhook.failurePolicy=Fail")
    assert helm("template", "release", str(CHART), *policy).returncode == 0
    result = helm("template", "release", str(CHART), *policy, "--set", "sampleModel.enabled=true")
    assert result.returncode != 0
    assert "install without sampleModel.enabled" in result.stderr
    upgrade = helm("template", "release", str(CHART), *policy, "--set", "sampleModel.enabled=true", "--is-upgrade")
    assert upgrade.returncode == 0


def test_every_pod_meets_the_restricted_profile(rendered):
    deployments = kinds(rendered(), "Deployment")
    assert len(deployments) == 2
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_no_variables_come_from_the_namespaces_services(rendered):
    for deployment in kinds(rendered(), "Deployment"):
        assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False, deployment["metadata"]["name"]


def test_the_queue_has_as_long_as_its_stop_may_take(rendered):
    pod, queue = queue_container(rendered("queue.drainSeconds=100"))
    assert "--drain-seconds=100" in queue["args"]
    drained = 100 + dispatch._LAST_WORDS_SECONDS
    flushed = 2 * app._LEDGER_SECONDS
    operator = 2  # the timeout of its WebSocket
    handlers = 2 * 2  # of both ports' aiohttp, before and after they are cancelled
    closed = server._STOP_SECONDS + outbox._CLOSE_SECONDS + operator + http_server._CLOSE_SECONDS + handlers
    unanswered = 2 * engine._POSTGRESQL["connect_timeout"]  # the keys' last words, and a commit that is under way
    before = queue["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= before + drained + flushed + closed + unanswered


def test_the_admin_port_stays_inside_the_cluster(rendered):
    services = {
        one["metadata"]["name"]: one["spec"] for one in kinds(rendered("queue.service.type=LoadBalancer"), "Service")
    }
    assert services["release-queue-admin"]["type"] == "ClusterIP"
    assert services["release-queue"]["type"] == "LoadBalancer"
    assert [port["name"] for port in services["release-queue"]["ports"]] == ["http"]


def queue_container(objects):
    (deployment,) = [one for one in kinds(objects, "Deployment") if one["metadata"]["name"] == "release-queue"]
    pod = deployment["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def test_no_keys_are_needed_by_default_and_the_admin_key_is_where_its_service_says(rendered):
    objects = rendered()
    _, queue = queue_container(objects)
    assert not [word for word in queue["args"] if word.startswith(("--keys", "--default-limit"))]
    secrets = {one["metadata"]["name"]: one for one in kinds(objects, "Secret")}
    services = {one["metadata"]["name"]: one["metadata"].get("annotations", {}) for one in kinds(objects, "Service")}
    name, key = services["release-queue-admin"]["headrace.dev/admin-key-secret"].split("/")
    assert len(base64.b64decode(secrets[name]["data"][key])) == 40
    reference = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in queue["env"] if "valueFrom" in one}
    assert reference["HEADRACE_QUEUE_ADMIN_KEY"] == {"name": name, "key": key}


def test_keys_come_from_a_secret_and_limits_from_values(rendered):
    keys = "queue.keys"
    objects = rendered(
        f"{keys}.existingSecret=mine,{keys}.required=true,{keys}.anonymousWorkers=false",
        f"{keys}.defaultLimits.tokensPerDay=5000000,{keys}.adminKey.existingSecret=theirs",
    )
    pod, queue = queue_container(objects)
    wanted = {"--keys-file=/etc/headrace-keys/keys.yaml", "--keys-required", "--no-anonymous-workers"}
    assert wanted | {"--default-limit=tokensPerDay=5000000"} <= set(queue["args"])
    assert {"name": "keys", "secret": {"secretName": "mine"}} in pod["volumes"]
    assert {"name": "keys", "mountPath": "/etc/headrace-keys", "readOnly": True} in queue["volumeMounts"]
    assert "release-queue-admin-key" not in {one["metadata"]["name"] for one in kinds(objects, "Secret")}


def tokens(objects):
    """The Secrets of workers' tokens."""
    return [secret for secret in kinds(objects, "Secret") if "token" in secret["data"]]


def test_a_given_token_secret_is_used_and_none_is_made(rendered):
    (secret,) = tokens(rendered())
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}, "workers outlive the release"
    everywhere = tokens(rendered("operator.namespaces={a,b}"))
    assert {secret["metadata"]["namespace"] for secret in everywhere} == {"a", "b", "here"}
    assert len({secret["data"]["token"] for secret in everywhere}) == 1
    objects = rendered("queue.workerToken.existingSecret=mine")
    assert not tokens(objects)
    assert str(objects).count("'mine'") == 2


def test_the_size_of_the_largest_node_reaches_the_operator(rendered):
    def told(*values):
        (operator,) = [
            one for one in rendered(*values) if one["kind"] == "Deployment" and "operator" in one["metadata"]["name"]
        ]
        variables = operator["spec"]["template"]["spec"]["containers"][0]["env"]
        return [one["value"] for one in variables if one["name"] == "HEADRACE_OPERATOR_GPUS_PER_NODE"]

    assert told() == []
    assert told("runtime.gpusPerNode=8") == ["8"]


def test_what_clients_see_of_the_queue_can_be_set(rendered, told):
    def queue(*values):
        (deployment,) = [
            item for item in kinds(rendered(*values), "Deployment") if item["metadata"]["name"] == "release-queue"
        ]
        return deployment["spec"]["template"]["spec"]

    plain = queue()
    assert "--waiting-comment-seconds=15" in plain["containers"][0]["args"]
    assert not any("alias" in word or "tls" in word for word in plain["containers"][0]["args"])
    pod = queue("queue.aliases.gpt=org/m", "queue.waitingCommentSeconds=5", "queue.tls.secretName=certificate")
    assert {"--alias=gpt=org/m", "--waiting-comment-seconds=5"} <= set(pod["containers"][0]["args"])
    (folder,) = [each["mountPath"] for each in pod["containers"][0]["volumeMounts"] if each["name"] == "tls"]
    assert {f"--tls-cert={folder}/tls.crt", f"--tls-key={folder}/tls.key"} <= set(pod["containers"][0]["args"])
    (volume,) = [each for each in pod["volumes"] if each["name"] == "tls"]
    assert volume["secret"]["secretName"] == "certificate"
    assert told("queue.tls.secretName=certificate").queue_url == "https://release-queue.here.svc:8080"


def queue_kept(objects):
    (deployment,) = [one for one in kinds(objects, "Deployment") if one["metadata"]["name"] == "release-queue"]
    pod = deployment["spec"]["template"]["spec"]
    volumes = {one["name"]: one for one in pod["volumes"]}
    environment = {one["name"]: one for one in pod["containers"][0]["env"]}
    return deployment["spec"]["strategy"]["type"], volumes["data"], environment


def test_the_queue_keeps_its_database_in_the_pod(rendered):
    objects = rendered()
    strategy, data, environment = queue_kept(objects)
    assert (strategy, data) == ("RollingUpdate", {"name": "data", "emptyDir": {}})
    assert "HEADRACE_QUEUE_DATABASE_URL" not in environment
    assert kinds(objects, "PersistentVolumeClaim") == []


def test_the_queue_keeps_its_database_on_a_claim(rendered):
    objects = rendered("queue.persistence.enabled=true", "queue.persistence.storageClass=fast")
    (claim,) = kinds(objects, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "8Gi"}},
    }
    strategy, data, _ = queue_kept(objects)
    assert (strategy, data["persistentVolumeClaim"]) == ("Recreate", {"claimName": claim["metadata"]["name"]})
    objects = rendered("queue.persistence.enabled=true", "queue.persistence.existingClaim=mine")
    assert kinds(objects, "PersistentVolumeClaim") == []
    assert queue_kept(objects)[1]["persistentVolumeClaim"] == {"claimName": "mine"}


def test_the_queue_uses_postgresql_by_a_secret(rendered):
    objects = rendered("queue.database.existingSecret=db", "queue.persistence.enabled=true")
    strategy, data, environment = queue_kept(objects)
    assert environment["HEADRACE_QUEUE_DATABASE_URL"]["valueFrom"] == {"secretKeyRef": {"name": "db", "key": "url"}}
    assert (strategy, data["emptyDir"]) == ("RollingUpdate", {})
    assert kinds(objects, "PersistentVolumeClaim") == []


def test_the_queue_tells_the_webhook_with_the_secrets_key(rendered):
    objects = rendered("queue.webhook.url=https://billing/x", "queue.webhook.existingSecret=hook")
    _, _, environment = queue_kept(objects)
    (deployment,) = [one for one in kinds(objects, "Deployment") if one["metadata"]["name"] == "release-queue"]
    assert "--webhook-url=https://billing/x" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    secret = environment["HEADRACE_QUEUE_WEBHOOK_SECRET"]["valueFrom"]["secretKeyRef"]
    assert secret == {"name": "hook", "key": "secret"}


@pytest.mark.parametrize(("values", "url"), [((), "http://127"), (("queue.tls.secretName=mine",), "https://127")])
def test_the_notes_say_how_the_api_is_spoken_to(notes, values, url):
    assert f"then use {url}.0.0.1:8080/v1" in notes(*values)
