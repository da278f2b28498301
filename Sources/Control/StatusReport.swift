package import IO
package import NBDServer
package import Units
import Volumes

/// A server's status in the form in which it travels: plain values, latencies already summed up.
///
/// The keys of its JSON are a contract: docs/control.md.
package struct StatusReport: Equatable, Sendable {
  /// `VolumeHealth` without its words; the raw values are a contract, too.
  package enum State: String, Equatable, Sendable {
    case optimal, impaired, failed
  }

  package var name: String
  package var state: State
  /// Empty when optimal.
  package var cause: String
  package var action: String
  package var isStopping: Bool
  package var upNanoseconds: UInt64
  package var device: DeviceReport
  package var listeners: [String]
  package var connections: [ConnectionReport]
  package var connectionCountMax: UInt64
  package var acceptedCount: UInt64
  package var violationCount: UInt64
  package var reads: RequestReport
  package var writes: RequestReport
  package var flushes: RequestReport
  package var others: RequestReport
  package var requestsInFlight: UInt64
  package var bufferBytesInUse: UInt64
  package var bufferBytesMax: UInt64
  package var oldestRequestNanoseconds: UInt64
  package var loop: LoopCounters
  /// What an array adds; nil for a plain device.
  package var array: ArrayReport?
}

/// The device that a server serves; sizes in bytes.
package struct DeviceReport: Equatable, Sendable {
  package var kind: String
  package var byteCount: UInt64
  package var isReadOnly: Bool
  package var isRotational: Bool
  package var preferredBlockBytes: UInt64
}

/// One client of a server.
package struct ConnectionReport: Equatable, Sendable {
  package var peer: String
  package var requestsInFlight: UInt64
  package var bytesInFlight: UInt64
  package var upNanoseconds: UInt64
}

/// Sums over the requests of one kind since the start.
package struct RequestReport: Equatable, Sendable {
  package var count: UInt64
  package var byteCount: UInt64
  package var errorCount: UInt64
  package var latency: LatencyReport
}

/// Percentiles of a latency, in nanoseconds; all zero before the first request.
package struct LatencyReport: Equatable, Sendable {
  package var p50: UInt64
  package var p99: UInt64
  package var p999: UInt64
  package var maximum: UInt64
  package var mean: UInt64
}

extension StatusReport {
  /// Sums a status up.
  package init(_ status: ServerStatus) {
    (state, cause, action) =
      switch status.health {
      case .optimal: (.optimal, "", "")
      case .impaired(let cause, let action): (.impaired, cause, action)
      case .failed(let cause, let action): (.failed, cause, action)
      }
    name = status.name
    isStopping = status.isStopping
    upNanoseconds = status.upNanoseconds
    device = DeviceReport(
      kind: status.traits.kind, byteCount: status.traits.byteCount,
      isReadOnly: status.traits.isReadOnly, isRotational: status.traits.isRotational,
      preferredBlockBytes: UInt64(status.traits.preferredBlockBytes))
    listeners = status.listeners
    connections = status.connections.map { connection in
      ConnectionReport(
        peer: connection.peer, requestsInFlight: UInt64(clamping: connection.requestsInFlight),
        bytesInFlight: UInt64(clamping: connection.bytesInFlight),
        upNanoseconds: connection.upNanoseconds)
    }
    connectionCountMax = UInt64(clamping: status.connectionCountMax)
    acceptedCount = status.acceptedCount
    violationCount = status.violationCount
    reads = RequestReport(status.reads)
    writes = RequestReport(status.writes)
    flushes = RequestReport(status.flushes)
    others = RequestReport(status.others)
    requestsInFlight = UInt64(clamping: status.requestsInFlight)
    bufferBytesInUse = UInt64(clamping: status.bufferBytesInUse)
    bufferBytesMax = UInt64(clamping: status.bufferBytesMax)
    oldestRequestNanoseconds = status.oldestRequestNanoseconds
    loop = status.loop
  }
}

extension RequestReport {
  init(_ totals: RequestTotals) {
    count = totals.count
    byteCount = totals.byteCount
    errorCount = totals.errorCount
    latency = LatencyReport(totals.latency)
  }
}

extension LatencyReport {
  package init(_ histogram: LatencyHistogram) {
    p50 = histogram.percentile(0.5)
    p99 = histogram.percentile(0.99)
    p999 = histogram.percentile(0.999)
    maximum = histogram.maximumNanoseconds
    mean = histogram.meanNanoseconds
  }
}
