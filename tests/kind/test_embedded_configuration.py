import json
import tomllib
from pathlib import Path

import pytest
from embedded import addons, controlplane, engine, fakenodes, layout, nodeconfig, programs

PROGRAMS = programs.Programs(
    *(Path("/programs", name) for name in ("k8s", "helm", "dns", "etcd", "containerd", "pause"))
)


def option(command, name):
    values = [str(word).split("=", 1)[1] for word in command if str(word).startswith(f"--{name}=")]
    assert len(values) == 1, f"{name} in {command}"
    return values[0]


def test_nodes_share_no_address_path_or_link():
    first, second = layout.Node(1), layout.Node(2)
    for attribute in (
        "name",
        "address",
        "pod_network",
        "link",
        "folder",
        "run_dir",
        "socket",
        "net_namespace",
        "cgroup",
    ):
        assert getattr(first, attribute) != getattr(second, attribute), attribute


def test_the_last_node_still_has_valid_names_and_addresses():
    last = layout.Node(layout.MAX_NODES)
    assert len(last.link) <= 15
    assert int(last.address.rsplit(".", 1)[1]) < 255
    assert len(str(last.socket)) < 108


@pytest.mark.parametrize("name", ["headrace-0", "headrace-101", "headrace-01", "node-1", "headrace-1x", ""])
def test_an_impossible_node_name_is_refused_with_what_is_accepted(name):
    with pytest.raises(ValueError, match="accepted are headrace-1 to headrace-100"):
        layout.node_named(name)


@pytest.mark.usefixtures("state")
def test_containerd_configuration_is_toml_with_everything_in_the_nodes_own_folders():
    node = layout.Node(2)
    config = tomllib.loads(nodeconfig.containerd(node, Path("/programs"), "overlayfs"))
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert config["root"].startswith(str(node.folder))
    assert config["state"].startswith(str(node.run_dir))
    assert config["grpc"]["address"] == str(node.socket)
    assert cri["sandbox_image"] == "docker.io/headrace/pause:dev"
    assert cri["cni"]["conf_dir"].startswith(str(node.folder))
    assert cri["cni"]["bin_dir"] == "/programs/usr/lib/cni"
    assert cri["containerd"]["runtimes"]["runc"]["options"]["BinaryName"] == "/programs/usr/sbin/runc"


@pytest.mark.parametrize(
    ("file_system", "expected"), [("ext2/ext3", "overlayfs"), ("xfs", "overlayfs"), ("overlayfs", "native")]
)
def test_overlayfs_is_not_stacked_on_itself(file_system, expected):
    assert nodeconfig.snapshotter(file_system) == expected


def test_pods_of_a_node_get_addresses_of_its_range():
    config = json.loads(nodeconfig.cni(layout.Node(3)))
    ipam = config["plugins"][0]["ipam"]
    assert ipam["ranges"] == [[{"subnet": "10.244.3.0/24"}]]


@pytest.mark.usefixtures("state")
def test_kubelet_is_closed_to_anonymous_callers_and_asks_the_cluster_dns():
    config = json.loads(nodeconfig.kubelet(layout.Node(1)))
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["clusterDNS"] == ["10.96.0.10"]
    assert config["failCgroupV1"] is False


@pytest.mark.usefixtures("state")
def test_a_lost_node_is_noticed_after_several_missed_reports():
    kubelet = json.loads(nodeconfig.kubelet(layout.Node(1)))
    status_seconds = int(kubelet["nodeStatusUpdateFrequency"].removesuffix("s"))
    lease_renewal_seconds = kubelet["nodeLeaseDurationSeconds"] / 4
    grace = option(controlplane.controller_manager(PROGRAMS).command, "node-monitor-grace-period")
    assert max(status_seconds, lease_renewal_seconds) * 4 <= int(grace.removesuffix("s")) <= 20


def test_kube_proxy_leaves_the_machines_conntrack_limits_alone():
    config = json.loads(nodeconfig.kube_proxy(layout.Node(1), Path("/kubeconfig")))
    assert config["conntrack"]["maxPerCore"] == 0
    assert config["conntrack"]["min"] == 0


@pytest.mark.usefixtures("state")
def test_nobody_is_always_allowed():
    command = controlplane.api_server(PROGRAMS).command
    assert option(command, "authorization-mode") == "Node,RBAC"
    assert option(command, "enable-admission-plugins") == "NodeRestriction"
    assert not any("disable-admission-plugins" in str(word) for word in command)


@pytest.mark.usefixtures("state")
def test_the_host_name_servers_are_asked_for_names_outside():
    text = controlplane.corefile("# comment\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch example.org\n")
    assert "forward . 192.0.2.1 192.0.2.2\n" in text


@pytest.mark.usefixtures("state")
def test_without_a_name_server_nothing_is_forwarded():
    assert "forward" not in controlplane.corefile("search example.org\n")


@pytest.mark.usefixtures("state")
def test_dns_endpoints_lead_to_coredns():
    by_kind = {obj["kind"]: obj for _, obj in addons.objects()}
    assert by_kind["EndpointSlice"]["endpoints"][0]["addresses"] == [layout.HOST_ADDRESS]
    assert {port["port"] for port in by_kind["EndpointSlice"]["ports"]} == {layout.DNS_PORT}
    assert by_kind["Service"]["spec"]["clusterIP"] == "10.96.0.10"
    assert "selector" not in by_kind["Service"]["spec"]
    assert f".:{layout.DNS_PORT} {{" in controlplane.corefile("")


def test_fake_nodes_are_tainted_and_take_the_accelerators_in_turn():
    found = fakenodes.objects(4)
    assert [node["metadata"]["labels"]["headrace.dev/accelerator"] for node in found] == ["a10", "a100", "h100", "a10"]
    assert len({node["metadata"]["name"] for node in found}) == 4
    for node in found:
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
        assert node["spec"]["taints"] == [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]


def test_kind_gets_one_control_plane_and_the_rest_as_workers():
    text = engine.configuration("nodes:\n  - role: control-plane\n", 3)
    assert text == "nodes:\n  - role: control-plane\n  - role: worker\n  - role: worker\n"


def test_the_committed_kind_configuration_ends_in_its_list_of_nodes(committed_kind_configuration):
    assert committed_kind_configuration.rstrip().splitlines()[-2:] == ["nodes:", "  - role: control-plane"]


@pytest.fixture
def committed_kind_configuration():
    return (Path(__file__).parents[2] / "kind" / "cluster.yaml").read_text()
