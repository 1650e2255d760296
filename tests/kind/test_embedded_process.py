import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from embedded import cgroups, layout, process

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def no_cgroups(state, monkeypatch):
    """Leave the machine's cgroups alone."""
    assert layout.cluster_dir().is_relative_to(state)
    monkeypatch.setattr(cgroups, "entrances", list)


@pytest.fixture
def sleeper(no_cgroups):  # noqa: ARG001 - wanted for what it does
    program = process.Program("sleeper", SLEEP)
    assert process.ensure(program)
    yield program
    process.stop("sleeper", kill=True)


def pid_file():
    return layout.cluster_dir() / "pids" / "sleeper.json"


def rewrite(**changes):
    record = json.loads(pid_file().read_text())
    pid_file().write_text(json.dumps({**record, **changes}))


def test_start_ticks_survive_a_name_with_spaces_and_brackets():
    rest = " ".join(str(number) for number in range(4, 53))
    assert process.start_ticks(f"12 (a) b) c) S {rest}") == 22


def test_a_zombie_does_not_run():
    assert process.start_ticks("12 (a) Z " + " ".join(["0"] * 49)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "start_ticks": 2, "boot": "x"}'])
def test_a_torn_pid_file_is_no_record(text):
    assert process.parse(text) is None


def test_a_running_program_is_not_started_again(sleeper):
    first = process.running("sleeper")
    assert not process.ensure(sleeper)
    assert process.running("sleeper") == first


def test_another_command_line_restarts_the_program(sleeper):
    first = process.running("sleeper")
    assert process.ensure(dataclasses.replace(sleeper, command=[*SLEEP, "more"]))
    second = process.running("sleeper")
    assert first is not None
    assert second is not None
    assert first.pid != second.pid


@pytest.mark.usefixtures("no_cgroups")
def test_a_recycled_pid_is_neither_taken_for_the_program_nor_killed():
    stranger = subprocess.Popen(SLEEP)
    time.sleep(0.05)  # start times count in ticks of 10 ms
    process.ensure(process.Program("sleeper", SLEEP))
    mine = process.running("sleeper")
    try:
        rewrite(pid=stranger.pid)
        assert process.running("sleeper") is None
        process.stop("sleeper", kill=True)
        time.sleep(0.1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        os.kill(mine.pid, signal.SIGKILL)


@pytest.mark.usefixtures("sleeper")
def test_a_pid_of_an_earlier_boot_is_not_the_program():
    mine = process.running("sleeper")
    rewrite(boot="another")
    assert process.running("sleeper") is None
    os.kill(mine.pid, signal.SIGKILL)


def test_a_killed_program_is_seen_and_started_again(sleeper):
    first = process.running("sleeper")
    os.kill(first.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while process.running("sleeper") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.running("sleeper") is None
    assert process.ensure(sleeper)
    assert process.running("sleeper").pid != first.pid


@pytest.mark.usefixtures("no_cgroups")
def test_a_program_that_ignores_sigterm_is_killed():
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    process.ensure(process.Program("deaf", [sys.executable, "-c", f"{deaf}; time.sleep(60)"]))
    deadline = time.monotonic() + 5
    while "deaf" not in process.tail("deaf").splitlines()[0] and time.monotonic() < deadline:
        time.sleep(0.01)
    process.stop("deaf", grace_seconds=0.2)
    assert process.running("deaf") is None
    assert process.names() == []


def test_programs_of_a_node_enter_its_namespaces():
    node = layout.Node(2)
    words = process.Program("kubelet-2", ["kubelet"], inside=node).words
    assert words[0] == "nsenter"
    assert words[-2:] == ["--", "kubelet"]
    assert f"--net={node.net_namespace}" in words
