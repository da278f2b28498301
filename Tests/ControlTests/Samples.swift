import Control
import IO
import Units
import Volumes

@testable import NBDServer

/// A status with another value in every field.
var sampleStatus: ServerStatus {
  var reads = RequestTotals()
  reads.count = 3
  reads.byteCount = 12288
  reads.errorCount = 1
  for nanoseconds: UInt64 in [10, 12, 5000] { reads.latency.record(nanoseconds: nanoseconds) }
  var writes = RequestTotals()
  writes.count = 2
  writes.byteCount = 8192
  return ServerStatus(
    name: "disk1",
    traits: VolumeTraits(
      kind: "file /srv/a.img (direct)", byteCount: 10 << 30, isReadOnly: false,
      isRotational: true, preferredBlockBytes: 4096),
    health: .impaired(cause: "the file system is full", action: "make room"), isStopping: true,
    upNanoseconds: 7_500_000_000_000, listeners: ["unix:/run/ashlar/disk1.sock"],
    connections: [
      ConnectionStatus(
        peer: "user 0, process 12", requestsInFlight: 4, bytesInFlight: 65536,
        upNanoseconds: 90_000_000_000)
    ],
    connectionCountMax: 100, acceptedCount: 9, violationCount: 1, reads: reads, writes: writes,
    flushes: RequestTotals(), others: RequestTotals(), requestsInFlight: 5,
    bufferBytesInUse: 131_072, bufferBytesMax: 64 << 20, oldestRequestNanoseconds: 1_050_000,
    loop: sampleLoop)
}

private var sampleLoop: LoopCounters {
  var loop = LoopCounters()
  loop.turnCount = 11
  loop.enterCount = 12
  loop.jobCount = 13
  loop.completionCount = 14
  return loop
}

var sampleReport: StatusReport { StatusReport(sampleStatus) }
