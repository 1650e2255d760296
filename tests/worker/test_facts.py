"""What a worker says of its machine: with a stand-in for NVIDIA's library, control groups as files, and real OpenCL."""

import ctypes
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pynvml
import pytest

from headrace_api.wire import Gpu
from headrace_worker import facts, opencl
from headrace_worker.cpus import cpu_count
from headrace_worker.engine_process import ScriptError, run_script
from headrace_worker.facts import Machine, NvidiaFacts, OpenClFacts
from tests.worker.nvml import Nvml, StandInGpu
from tests.worker.worker_process import ROOT

H100 = Gpu(name="NVIDIA H100 80GB HBM3", memory=81920)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Nvml]:
    def install(*gpus: StandInGpu, **more: object) -> Nvml:
        library = Nvml(list(gpus), **more)  # type: ignore[arg-type]
        monkeypatch.setattr(pynvml, "nvmlLib", library)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        return library

    return install


def test_one_gpu(nvml: Callable[..., Nvml]) -> None:
    library = nvml(StandInGpu())
    assert facts.nvidia() == NvidiaFacts("565.57.01", (H100,))
    assert library.open == 0


def test_a_driver_without_gpus_is_not_the_same_as_no_driver(nvml: Callable[..., Nvml]) -> None:
    nvml()
    assert facts.nvidia() == NvidiaFacts("565.57.01", ())


def test_no_driver_at_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", _not_there)
    assert facts.nvidia() == NvidiaFacts()
    assert "driver" not in capsys.readouterr().out, "a machine without NVIDIA GPUs is nothing to complain of"


def _not_there(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")


@pytest.mark.parametrize(
    "broken", ["nvmlInitWithFlags", "nvmlSystemGetDriverVersion", "nvmlDeviceGetCount_v2", "nvmlDeviceGetName"]
)
def test_a_broken_driver_is_said_to_be_broken(
    nvml: Callable[..., Nvml], capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    library = nvml(StandInGpu(), fails={broken: pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH})
    assert facts.nvidia() == NvidiaFacts()
    assert "the NVIDIA driver does not work" in capsys.readouterr().out
    assert library.open == 0


def test_a_library_of_another_time_lacks_functions(nvml: Callable[..., Nvml], monkeypatch: pytest.MonkeyPatch) -> None:
    nvml()
    monkeypatch.setattr(pynvml, "nvmlLib", object())
    assert facts.nvidia() == NvidiaFacts()


def test_a_lost_gpu_and_one_without_memory_of_its_own(nvml: Callable[..., Nvml]) -> None:
    nvml(StandInGpu(), StandInGpu(lost=True), StandInGpu(b"NVIDIA GB10", memory_bytes=None))
    found = facts.nvidia()
    assert found.gpus == (H100, Gpu(name="NVIDIA GB10"))


def test_a_divided_gpu_counts_by_its_slices(nvml: Callable[..., Nvml]) -> None:
    small = StandInGpu(b"NVIDIA H100 80GB HBM3 MIG 1g.10gb", 10 * 2**30)
    nvml(StandInGpu(slices=[small, small, None]), StandInGpu())
    assert [gpu.memory for gpu in facts.nvidia().gpus] == [10240, 10240, 81920]


def test_the_registration_has_the_seeds_units() -> None:
    both = Machine(
        NvidiaFacts("1", (H100, H100)), OpenClFacts("2", (Gpu(name="H100", memory=81000),)), 8, 1_999 * 10**9
    )
    told = facts.registration(both, "http://example.com")
    assert (told.ln_url, told.cpu_count, told.disk_space, told.vram) == ("http://example.com", 8, 1999, 163840)
    assert (told.nv_gpu_count, told.nv_driver_version, told.cl_driver_version) == (2, "1", "2")
    assert (told.nv_gpus, told.cl_gpus) == ([H100, H100], [Gpu(name="H100", memory=81000)])
    amd = Machine(NvidiaFacts(), OpenClFacts("2", (Gpu(name="gfx942", memory=196_592),)), 1, 0)
    told = facts.registration(amd)
    assert (told.vram, told.nv_gpu_count, told.nv_driver_version, told.nv_gpus) == (196_592, None, None, [])


def test_the_disk_is_the_model_caches(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    there = facts.free_bytes(tmp_path / "not" / "made" / "yet")
    assert abs(there - free.f_bavail * free.f_frsize) < 10**9
    shm = os.statvfs("/dev/shm")
    assert facts.free_bytes(Path("/dev/shm/models")) <= shm.f_blocks * shm.f_frsize


def groups(root: Path, own: str, **files: str) -> Path:
    """A root with this `/proc/self/cgroup` and these files, `__` for a slash in their names."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name.replace("__", "/").replace("cpu_", "cpu.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("", {}, 16),
        ("0::/\n", {"cpu_max": "max 100000"}, 16),
        ("0::/\n", {"cpu_max": "400000 100000"}, 4),
        ("0::/\n", {"cpu_max": "150000 100000"}, 2),
        ("0::/\n", {"cpu_max": "10000 100000"}, 1),
        ("0::/\n", {"cpu_max": "9900000 100000"}, 16),
        ("0::/pods/p/c\n", {"pods__cpu_max": "800000 100000", "pods__p__cpu_max": "300000 100000"}, 3),
        ("0::/../../host/path\n", {"cpu_max": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/c\n0::/\n", {"cpu,cpuacct__c__cpu_cfs_quota_us": "-1"}, 16),
        (
            "4:cpu,cpuacct:/a/b\n",
            {"cpu,cpuacct__a__cpu_cfs_quota_us": "250000", "cpu,cpuacct__a__cpu_cfs_period_us": "100000"},
            3,
        ),
        # in a container without a namespace of its own for groups, the path is the host's and the mount its own group
        ("1:cpu:/docker/123\n", {"cpu__cpu_cfs_quota_us": "500000", "cpu__cpu_cfs_period_us": "100000"}, 5),
    ],
)
def test_cpus_are_those_that_control_groups_allow(
    tmp_path: Path, own: str, files: dict[str, str], expected: int
) -> None:
    assert cpu_count(groups(tmp_path, own, **files), affinity=16) == expected


def test_cpus_of_this_machine() -> None:
    assert 1 <= cpu_count() <= len(os.sched_getaffinity(0))


POCL = (
    *("pocl-opencl-icd", "libpocl2", "libpocl2-common", "ocl-icd-libopencl1"),
    *("libhwloc15", "libclang-cpp15", "libllvm15", "libz3-4"),
)


@pytest.mark.engine
def test_a_real_opencl_that_has_a_cpu_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's, on the processor; unpacked, since it would be asked at each start of a worker were it installed."""
    monkeypatch.syspath_prepend(str(ROOT / "kind"))
    folder: Path = importlib.import_module("toolbox.debian").unpacked(*POCL)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder / "usr" / "lib" / "x86_64-linux-gnu"))
    monkeypatch.setenv("OCL_ICD_VENDORS", str(folder / "etc" / "OpenCL" / "vendors"))
    monkeypatch.setattr(opencl, "present", lambda: True)  # it is for children of this process
    found = facts.open_cl()
    assert found.driver
    assert found.gpus == ()
    everything = "import json; from headrace_worker import opencl; print(json.dumps(opencl.devices(0xFFFFFFFF)))"
    told = json.loads(subprocess.run([sys.executable, "-c", everything], capture_output=True, check=True).stdout)
    assert told["driver"] == found.driver
    (cpu,) = told["gpus"]
    assert cpu["name"]
    assert 0 < cpu["memory"] * 2**20 <= psutil.virtual_memory().total


class OpenCl:
    """A stand-in at the boundary of `libOpenCL.so.1`: a platform without devices, and one with a GPU and a CPU."""

    DEVICES = ((1 << 2, b"gfx942\0", 191 * 2**30), (1 << 1, b"EPYC\0", 2**40))

    def clGetPlatformIDs(self, size: int, platforms: ctypes.Array | None, count: object) -> int:  # noqa: N802
        return self.fill(2, size, platforms, count)

    def clGetDeviceIDs(  # noqa: N802
        self, platform: ctypes.c_void_p, _kinds: object, size: int, devices: ctypes.Array | None, count: object
    ) -> int:
        return self.fill(2, size, devices, count) if platform.value == 2 else -1  # CL_DEVICE_NOT_FOUND

    def clGetDeviceInfo(  # noqa: N802
        self, device: ctypes.c_void_p, what: int, _size: object, value: ctypes.Array | None, size: object
    ) -> int:
        kind, name, memory = self.DEVICES[(device.value or 0) - 1]
        numbers = {0x1000: kind, 0x101F: memory}
        data = numbers[what].to_bytes(8, "little") if what in numbers else {0x102B: name, 0x102D: b"3581.0 \0"}[what]
        if value is None:
            size._obj.value = len(data)  # type: ignore[attr-defined]
        else:
            ctypes.memmove(value, data, len(data))
        return 0

    @staticmethod
    def fill(there: int, size: int, handles: ctypes.Array | None, count: object) -> int:
        if handles is None:
            count._obj.value = there  # type: ignore[attr-defined]
        for index in range(size):
            handles[index] = index + 1  # type: ignore[index]
        return 0


def test_opencl_tells_gpus_from_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencl.ctypes, "CDLL", lambda _: OpenCl())
    expected = {"driver": "3581.0", "gpus": [{"name": "gfx942", "memory": 191 * 2**10}]}
    assert opencl.devices(opencl.GPU) == expected
    assert [gpu["name"] for gpu in opencl.devices(0xFFFFFFFF)["gpus"]] == ["gfx942", "EPYC"]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("import time; time.sleep(60)", "timed out"),
        ("raise OSError('no ICD')", "no ICD"),
        ("print('not json')", "Expecting value"),
    ],
)
def test_a_driver_that_crashes_or_hangs_takes_nothing_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str, problem: str
) -> None:
    file = tmp_path / "opencl.py"
    file.write_text(script)
    monkeypatch.setattr(facts, "_OPENCL_S", 0.5)
    monkeypatch.setattr(opencl, "present", lambda: True)
    monkeypatch.setattr(opencl, "__file__", str(file))
    assert facts.open_cl() == OpenClFacts()
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "OpenCL" in one]
    assert problem in line


def test_a_script_is_run_without_what_is_installed(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("import sys, json; print(json.dumps(sys.flags.isolated))")
    assert json.loads(run_script(file, 10)) == 1
    with pytest.raises(ScriptError, match="absent"):
        run_script(tmp_path / "absent.py", 10)
