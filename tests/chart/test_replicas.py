"""Several operators, and several queues: what the chart adds for them."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster  # helm is one of the cluster's programs


CHART = Path(__file__).resolve().parents[2] / "charts" / "headrace"
DATABASE = "queue.database.existingSecret=postgres"


def of(objects, kind, name="release-operator"):
    return [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]


def test_one_operator_needs_no_disruption_budget_and_rolls_without_a_gap(rendered):
    objects = rendered()
    (deployment,) = of(objects, "Deployment")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert not of(objects, "PodDisruptionBudget")


def test_two_operators_are_kept_apart_and_not_evicted_together(rendered):
    objects = rendered("operator.replicas=2")
    (deployment,) = of(objects, "Deployment")
    (budget,) = of(objects, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    (term,) = deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["podAffinityTerm"]["labelSelector"] == deployment["spec"]["selector"]


def test_a_given_affinity_wins_over_the_charts(rendered):
    given = "operator.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    (deployment,) = of(rendered(f"{given}[0].weight=7"), "Deployment")
    terms = deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
    assert terms["preferredDuringSchedulingIgnoredDuringExecution"] == [{"weight": 7}]
    (deployment,) = of(rendered("operator.affinity.nodeAffinity.a=b"), "Deployment")
    assert set(deployment["spec"]["template"]["spec"]["affinity"]) == {"nodeAffinity", "podAntiAffinity"}


def test_the_lease_that_the_operator_is_told_of_is_the_charts(rendered):
    objects = rendered("operator.lease.seconds=30", "operator.lease.renewSeconds=20")
    (lease,) = of(objects, "Lease")
    (deployment,) = of(objects, "Deployment")
    variables = {
        one["name"].removeprefix("HEADRACE_OPERATOR_"): one.get("value")
        for one in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert variables["LEASE_NAME"] == lease["metadata"]["name"]
    assert variables["LEASE_NAMESPACE"] == lease["metadata"]["namespace"]
    assert (variables["LEASE_SECONDS"], variables["LEASE_RENEW_SECONDS"]) == ("30", "20")


def test_workers_and_operator_are_told_of_every_queue(rendered):
    objects = rendered("queue.replicas=3", DATABASE)
    (service,) = of(objects, "Service", "release-queue-replicas")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    (queue,) = of(objects, "Deployment", "release-queue")
    assert queue["spec"]["replicas"] == 3
    (container,) = queue["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    host = "release-queue-replicas.here.svc"
    assert f"--replicas={host}:{ports['http']}" in container["args"]
    (operator,) = of(objects, "Deployment")
    variables = operator["spec"]["template"]["spec"]["containers"][0]["env"]
    assert f"http://{host}:{ports['admin']}" in [one.get("value") for one in variables]


def test_several_queues_are_kept_apart_and_not_evicted_together(rendered):
    assert not of(rendered(), "PodDisruptionBudget", "release-queue")
    objects = rendered("queue.replicas=2", DATABASE)
    (deployment,) = of(objects, "Deployment", "release-queue")
    (budget,) = of(objects, "PodDisruptionBudget", "release-queue")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (term,) = deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["podAffinityTerm"]["labelSelector"] == deployment["spec"]["selector"]


def test_keda_is_served_where_it_is_asked_for(rendered):
    assert not of(rendered(), "Service", "release-queue-keda")
    objects = rendered("queue.keda.enabled=true", "queue.keda.port=7000")
    (service,) = of(objects, "Service", "release-queue-keda")
    (deployment,) = of(objects, "Deployment", "release-queue")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "--keda-port=7000" in container["args"]
    assert {"name": "keda", "containerPort": 7000} in container["ports"]
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(7000, "keda")]


def test_several_queues_without_a_common_database_are_refused(helm):
    result = helm("template", "release", str(CHART), "--set", "queue.replicas=2")
    assert result.returncode != 0
    assert "queue.replicas: 2, but queue.database.existingSecret is empty" in result.stderr
