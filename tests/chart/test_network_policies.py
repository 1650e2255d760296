"""Who may connect to whom, by the chart's NetworkPolicies and the one that the operator renders for workers.

The local cluster's network enforces none of them. So the policies are evaluated here, by the rules of the API: a pod
that no policy selects takes everything; of those that select it one has to allow the connection.
"""

from dataclasses import dataclass, field

import pytest

from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render.children import children
from headrace_operator.render.config import RenderConfig

pytestmark = pytest.mark.cluster  # helm is one of the cluster's programs

PROMETHEUS = "networkPolicies.prometheus[0].namespaceSelector.matchLabels.team=monitoring"
CLIENTS = "networkPolicies.clients[0].podSelector.matchLabels.app=client"


@dataclass(frozen=True)
class Pod:
    namespace: str
    labels: dict
    namespace_labels: dict = field(default_factory=dict)
    ports: dict = field(default_factory=dict)


class Network:
    """NetworkPolicies, evaluated."""

    def __init__(self, policies):
        self._policies = policies

    def allows(self, source, target, port):
        """Whether a connection from one pod to another's TCP port is allowed, on both sides."""
        return self._side(target, "Ingress", source, target, port) and self._side(
            source, "Egress", target, target, port
        )

    def _side(self, subject, direction, peer, target, port):
        chosen = [
            policy
            for policy in self._policies
            if policy["metadata"]["namespace"] == subject.namespace
            and selects(policy["spec"]["podSelector"], subject.labels)
            and direction in policy["spec"]["policyTypes"]
        ]
        side = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}[direction]
        return not chosen or any(
            leads_to(rule, target, port) and concerns(rule.get(side[1]), subject.namespace, peer)
            for policy in chosen
            for rule in policy["spec"].get(side[0], [])
        )


def leads_to(rule, target, port):
    ports = rule.get("ports")
    return not ports or any(target.ports.get(one["port"], one["port"]) == port for one in ports if is_tcp(one))


def concerns(peers, home, pod):
    return not peers or any(peer_is(one, home, pod) for one in peers)


def is_tcp(port):
    return port.get("protocol", "TCP") == "TCP"


def peer_is(peer, home, pod):
    if "ipBlock" in peer:
        return False  # pods are named by labels here
    if "namespaceSelector" in peer:
        names = {**pod.namespace_labels, "kubernetes.io/metadata.name": pod.namespace}
        if not selects(peer["namespaceSelector"], names):
            return False
    elif pod.namespace != home:
        return False
    return selects(peer.get("podSelector", {}), pod.labels)


def selects(selector, labels):
    assert not selector.get("matchExpressions"), "not needed here"
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())


def made_of(objects, namespace="here"):
    """The chart's two pods, from its Deployments."""
    found = {}
    for item in objects:
        if item["kind"] == "Deployment":
            template = item["spec"]["template"]
            ports = {one["name"]: one["containerPort"] for one in template["spec"]["containers"][0]["ports"]}
            found[item["metadata"]["name"].removeprefix("release-")] = Pod(
                namespace, template["metadata"]["labels"], ports=ports
            )
    return found["operator"], found["queue"]


def worker_policy():
    config = RenderConfig(queue_url="http://release-queue.here.svc:80", images={"LlamaCppEngine": "i"})
    spec = InferenceModelSpec.model_validate({"engine": {"type": "LlamaCppEngine", "modelId": "m"}})
    rendered = children({"name": "m", "namespace": "models", "uid": "u"}, spec, config)
    (policy,) = [item for item in rendered if item["kind"] == "NetworkPolicy"]
    return policy


WORKER = Pod("models", {"app.kubernetes.io/name": "headrace-worker", "headrace.dev/model": "m"})
CLIENT = Pod("here", {"app": "client"})
STRANGER = Pod("elsewhere", {"app": "other"})
SCRAPER = Pod("monitoring", {"app": "prometheus"}, {"team": "monitoring"})


@pytest.fixture
def network(rendered):
    def build(*values):
        objects = rendered(*values)
        policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
        return Network([*policies, worker_policy()]), *made_of(objects)

    return build


def test_the_queue_takes_requests_from_everybody_and_the_admin_port_from_the_operator(network):
    net, operator, queue = network()
    for source in (WORKER, CLIENT, STRANGER, operator):
        assert net.allows(source, queue, 8080)
    assert net.allows(operator, queue, 9090)
    for source in (WORKER, CLIENT, STRANGER, SCRAPER, Pod("elsewhere", operator.labels)):
        assert not net.allows(source, queue, 9090)


def test_clients_can_be_named_and_workers_of_any_namespace_stay(network):
    net, operator, queue = network(CLIENTS)
    assert net.allows(CLIENT, queue, 8080)
    assert net.allows(WORKER, queue, 8080)
    for source in (STRANGER, operator, Pod("elsewhere", CLIENT.labels)):
        assert not net.allows(source, queue, 8080)


def test_metrics_are_for_prometheus(network):
    net, operator, queue = network()
    assert not net.allows(SCRAPER, operator, 8081)
    net, operator, queue = network(PROMETHEUS)
    assert net.allows(SCRAPER, operator, 8081)
    assert net.allows(SCRAPER, queue, 9090)
    assert net.allows(operator, queue, 9090)
    assert not net.allows(SCRAPER, operator, 9443 + 1)
    assert not net.allows(STRANGER, operator, 8081)
    assert not net.allows(STRANGER, queue, 9090)


def test_the_webhook_is_open_where_it_is_served(network):
    net, operator, _ = network()
    assert net.allows(STRANGER, operator, 9443), "the API server is nobody's pod"
    net, operator, _ = network("operator.webhook.enabled=false")
    assert not net.allows(STRANGER, operator, 9443)


def test_the_queue_connects_to_nobody(network):
    net, operator, queue = network()
    for target in (operator, CLIENT, STRANGER, WORKER):
        for port in (80, 443, 8080, 9443):
            assert not net.allows(queue, target, port)


def test_the_queue_reaches_its_database(network):
    net, _, queue = network(
        "networkPolicies.queueEgress[0].to[0].podSelector.matchLabels.app=client",
        "networkPolicies.queueEgress[0].ports[0].port=5432",
    )
    assert net.allows(queue, CLIENT, 5432)
    assert not net.allows(queue, CLIENT, 80)
    assert not net.allows(queue, STRANGER, 5432)


def test_workers_reach_the_queue_and_no_neighbour(network):
    net, operator, queue = network()
    assert net.allows(WORKER, queue, 8080)
    for target in (operator, CLIENT, STRANGER):
        for port in (8080, 8081, 9443, 22):
            assert not net.allows(WORKER, target, port)
    for source in (CLIENT, STRANGER, queue):
        assert not net.allows(source, WORKER, 22)


def test_no_rule_is_an_empty_list_which_the_api_server_would_drop(rendered):
    for values in ([], ["operator.webhook.enabled=false"], [PROMETHEUS, CLIENTS]):
        for item in rendered(*values):
            if item["kind"] == "NetworkPolicy":
                assert item["spec"].get("ingress", ["none"])
                assert item["spec"].get("egress", ["none"])


def test_policies_can_be_left_out_and_the_operator_is_told(rendered):
    def told(objects):
        (operator,) = [
            item for item in objects if item["kind"] == "Deployment" and "operator" in item["metadata"]["name"]
        ]
        variables = operator["spec"]["template"]["spec"]["containers"][0]["env"]
        return [one["value"] for one in variables if one["name"] == "HEADRACE_OPERATOR_NETWORK_POLICIES"]

    objects = rendered("networkPolicies.enabled=false")
    assert not [item for item in objects if item["kind"] == "NetworkPolicy"]
    assert told(objects) == ["false"]
    assert told(rendered()) == ["true"]


def test_replicas_that_answer_keda_are_reached_by_keda_and_by_their_peers(network):
    keda = Pod("keda", {"app": "keda-operator"})
    net, _, queue = network("queue.keda.enabled=true")
    assert net.allows(keda, queue, 9091)
    assert net.allows(queue, queue, 9090)
    for source in (WORKER, CLIENT, STRANGER):
        assert not net.allows(source, queue, 9091)
    assert not net.allows(queue, STRANGER, 443)
    net, _, queue = network("queue.keda.enabled=true", "networkPolicies.keda[0].podSelector.matchLabels.app=client")
    assert net.allows(CLIENT, queue, 9091)
    assert not net.allows(keda, queue, 9091)
