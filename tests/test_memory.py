"""Free memory, a run's peak, and the errors that mean it ran out."""

import errno
import mmap
import platform
import subprocess
import sys

import pytest
import torch

from lora_scripts_ext import memory, memory_limits

GIB = 2**30
LINUX = pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def proc(tmp_path):
    """A machine with 8 GiB available, 30 GiB of swap, and a process in no cgroup."""
    write(
        tmp_path / "proc/meminfo",
        f"MemTotal: {9 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\nSwapFree: {30 * 2**20} kB\n",
    )
    write(tmp_path / "proc/self/status", "VmSize:\t 1024 kB\nVmData:\t 512 kB\n")
    return tmp_path / "proc"


def test_swap_does_not_count(proc, tmp_path):
    assert memory_limits.available(proc, tmp_path / "none") == 8 * GIB


def test_a_container_of_version_2_bounds_it_without_the_cached_files(proc, tmp_path):
    write(proc / "self/cgroup", "0::/docker/abc\n")
    group = tmp_path / "cgroup"
    write(group / "cgroup.controllers", "memory")
    write(group / "docker/memory.max", "max")
    write(group / "docker/abc/memory.max", str(4 * GIB))
    write(group / "docker/abc/memory.current", str(3 * GIB))
    write(group / "docker/abc/memory.stat", f"anon {GIB}\ninactive_file {GIB}\nactive_file {GIB}\n")
    assert memory_limits.available(proc, group) == 3 * GIB


def test_a_container_of_version_1_that_sees_only_its_own_folder(proc, tmp_path):
    write(proc / "self/cgroup", "5:cpu:/docker/abc\n4:memory:/docker/abc\n")
    group = tmp_path / "cgroup/memory"
    write(group / "memory.limit_in_bytes", str(2 * GIB))
    write(group / "memory.usage_in_bytes", str(GIB))
    write(group / "memory.stat", f"total_inactive_file {GIB // 2}\ntotal_active_file 0\n")
    assert memory_limits.available(proc, tmp_path / "cgroup") == 3 * GIB // 2


def test_an_unlimited_container_of_version_1_bounds_nothing(proc, tmp_path):
    write(proc / "self/cgroup", "4:memory:/\n")
    write(tmp_path / "cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    write(tmp_path / "cgroup/memory/memory.usage_in_bytes", str(GIB))
    assert memory_limits.available(proc, tmp_path / "cgroup") == 8 * GIB


@LINUX
def test_ulimit_bounds_it():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30));"
        "from lora_scripts_ext import memory_limits; print(memory_limits.available())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 3 * GIB


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("bad allocation"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.50 GB, other allocations: 1 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_memory_ran_out(error):
    assert memory.ran_out(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), ValueError("out of memory.png"), OSError(errno.ENOSPC, "No space left")]
)
def test_something_else_went_wrong(error):
    assert not memory.ran_out(error)


@LINUX
def test_torch_raises_where_the_process_may_allocate_no_more():
    code = (
        "import resource, torch; from lora_scripts_ext import memory;"
        "most = memory.memory_limits.kilobytes(memory.memory_limits._PROC / 'self' / 'status', 'VmSize') + (64 << 20);"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "try:\n    torch.empty(1 << 30)\nexcept memory.ERRORS as error:\n    print(memory.ran_out(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def touch(megabytes: int) -> None:
    """Allocate and free memory: fresh pages, as an allocator may hand out some that it has cached."""
    with mmap.mmap(-1, megabytes << 20) as pages:
        for offset in range(0, megabytes << 20, mmap.PAGESIZE):
            pages[offset] = 1


@LINUX
def test_a_peak_is_the_run_s_own():
    touch(64)
    meter = memory.Meter(torch.device("cpu"))
    start = meter.peak_mb()
    touch(32)
    assert start + 24 <= meter.peak_mb() <= start + 48
    assert memory.Meter(torch.device("cpu")).peak_mb() < start + 24


def test_without_the_kernel_s_peak_the_largest_reading_counts(tmp_path, monkeypatch):
    meter = memory.Meter(torch.device("cpu"), own=tmp_path / "none")
    for reading, peak in ((5, 5), (9, 9), (2, 9)):
        monkeypatch.setattr(memory_limits, "resident", lambda reading=reading: reading << 20)
        assert meter.peak_mb() == peak
