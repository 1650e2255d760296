import pytest

from embedded import cgroups


@pytest.fixture
def mount(tmp_path, monkeypatch):
    """A folder in place of /sys/fs/cgroup."""
    monkeypatch.setattr(cgroups, "_MOUNT", tmp_path)
    return tmp_path


def tree(mount, name, **files):
    (mount / name).mkdir()
    for file, content in {"cgroup_procs": "", **files}.items():
        (mount / name / file.replace("_", ".", 1)).write_text(content)


def test_with_v1_every_controller_is_a_tree_and_its_other_names_are_not(mount):
    tree(mount, "cpu,cpuacct")
    tree(mount, "memory")
    (mount / "cpu").symlink_to("cpu,cpuacct")
    tree(mount, "unified", cgroup_controllers="hugetlb")
    assert not cgroups.is_v2()
    assert [path.name for path in cgroups.trees()] == ["cpu,cpuacct", "memory"]


def test_with_v2_the_mount_is_the_only_tree(mount):
    (mount / "cgroup.controllers").write_text("cpu memory")
    (mount / "system.slice").mkdir()
    assert cgroups.is_v2()
    assert cgroups.trees() == [mount]


def test_a_v1_cpuset_gets_its_parents_processors_before_it_is_used(mount):
    tree(mount, "cpuset")
    for name, content in (("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")):
        (mount / "cpuset" / name).write_text(content)
    child = mount / "cpuset" / "headrace"
    child.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        (child / name).write_text("\n")
    cgroups.ensure("/headrace")
    assert (child / "cpuset.cpus").read_text() == "0-1\n"
    assert (child / "cpuset.mems").read_text() == "0\n"


def test_a_v2_parent_hands_on_what_it_has_of_what_pods_need(mount):
    (mount / "cgroup.controllers").write_text("cpu cpuset memory pids rdma misc")
    (mount / "cgroup.subtree_control").write_text("")
    cgroups.ensure("/headrace")
    assert (mount / "cgroup.subtree_control").read_text() == "+cpu +cpuset +memory +pids"
    assert (mount / "headrace").is_dir()


def test_nothing_to_remove_is_no_error(mount):
    tree(mount, "memory")
    cgroups.remove()
    assert (mount / "memory").is_dir()
