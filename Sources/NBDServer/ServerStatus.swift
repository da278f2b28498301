package import IO
package import Units
package import Volumes

/// What `ashlar status` shows of a served device, taken in one step on the reactor, without I/O.
package struct ServerStatus: Sendable {
  package var name: String
  package var traits: VolumeTraits
  package var health: VolumeHealth
  /// Shutting down: no new connections, no new requests.
  package var isStopping: Bool
  package var upNanoseconds: UInt64
  /// Where it listens, for example `unix:/run/ashlar/a.sock`.
  package var listeners: [String]
  package var connections: [ConnectionStatus]
  package var connectionCountMax: Int
  /// Connections accepted and closed for breaking the protocol or a limit, since the start.
  package var acceptedCount: UInt64
  package var violationCount: UInt64
  package var reads: RequestTotals
  package var writes: RequestTotals
  package var flushes: RequestTotals
  /// TRIM, WRITE_ZEROES, CACHE and BLOCK_STATUS.
  package var others: RequestTotals
  /// Requests that have been received and not yet answered.
  package var requestsInFlight: Int
  /// Payload buffers in use, and their limit.
  package var bufferBytesInUse: Int
  package var bufferBytesMax: Int
  /// How long the oldest unanswered request has waited for the device; 0 without one.
  package var oldestRequestNanoseconds: UInt64
  /// What the process's loop has done, for the cost of a request.
  package var loop: LoopCounters
}

/// One client.
package struct ConnectionStatus: Sendable {
  package var peer: String
  package var requestsInFlight: Int
  package var bytesInFlight: Int
  package var upNanoseconds: UInt64
}

/// Sums over the requests of one kind since the start.
package struct RequestTotals: Sendable {
  package var count: UInt64 = 0
  package var byteCount: UInt64 = 0
  package var errorCount: UInt64 = 0
  /// From the request's receipt to its reply being queued.
  package var latency = LatencyHistogram()

  package init() {}
}
