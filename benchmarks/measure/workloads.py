"""What is done to a device, in fio's terms."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Workload:
    """One kind of load. `latency_of` names the part of fio's report whose latency counts."""

    key: str
    title: str
    rw: str
    bs: str
    iodepth: int
    extra: tuple = ()
    latency_of: str = "read"
    is_for_files_only: bool = False

    @property
    def is_by_bandwidth(self):
        """Large blocks are told in MB/s."""
        return self.bs != "4k"


READ_32 = Workload("randread-4k-qd32", "4 KiB random read, depth 32", "randread", "4k", 32)
WRITE_32 = Workload(
    "randwrite-4k-qd32", "4 KiB random write, depth 32", "randwrite", "4k", 32,
    latency_of="write")
READ_1 = Workload("randread-4k-qd1", "4 KiB random read, depth 1", "randread", "4k", 1)
READ_128K = Workload("read-128k-qd8", "128 KiB read, depth 8", "read", "128k", 8)
WRITE_128K = Workload(
    "write-128k-qd8", "128 KiB write, depth 8", "write", "128k", 8, latency_of="write")
FSYNC = Workload(
    "randwrite-4k-fsync", "4 KiB random write and flush, depth 1", "randwrite", "4k", 1,
    extra=("--fsync=1",), latency_of="sync", is_for_files_only=True)
MIXED = Workload(
    "randrw-4k-qd16", "4 KiB random, 70 % read, depth 16", "randrw", "4k", 16,
    extra=("--rwmixread=70",))
READ_1M = Workload("read-1m-qd4", "1 MiB sequential read, depth 4", "read", "1M", 4)
WRITE_1M = Workload(
    "write-1m-qd4", "1 MiB sequential write, depth 4", "write", "1M", 4, latency_of="write")
DEEP_READ = Workload("randread-4k-qd128", "4 KiB random read, depth 128", "randread", "4k", 128)
DEEP_WRITE = Workload(
    "randwrite-4k-qd128", "4 KiB random write, depth 128", "randwrite", "4k", 128,
    latency_of="write")

FOR_SERVERS = (READ_32, WRITE_32, READ_1, READ_128K, WRITE_128K, FSYNC)
FOR_CLIENTS = (READ_1, READ_32, WRITE_32, MIXED, READ_128K, WRITE_128K)
DEEP = (DEEP_READ, DEEP_WRITE)
FOR_ARRAYS = (FSYNC, WRITE_32, WRITE_1M, READ_1M, READ_32)
