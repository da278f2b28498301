package import NBDWire

/// What the server may cost and how long it waits; each has a command-line option.
package struct ServerOptions: Sendable {
  /// The export's name; the empty name means it as well.
  package var name: String
  package var description = ""
  /// Further clients wait until one leaves.
  package var connectionCountMax = 100
  /// For the whole handshake, however busy the client looks.
  package var handshakeNanoseconds: UInt64 = 10_000_000_000
  package var negotiationLimits = NegotiationLimits()
  /// Requests of one connection that are being served; the next is read when one is answered.
  package var requestsPerConnectionMax = 128
  /// Requests of all connections; each connection may always have one.
  package var requestsMax = 4096
  /// Payload buffers of one connection; one request may always be served.
  package var bytesPerConnectionMax = 64 << 20
  /// Payload buffers of all connections; each may always have `reservedByteCount`.
  package var bytesMax = 256 << 20
  /// How long a client may take to send a payload or to take its replies, plus a second for each
  /// MiB; then it is disconnected.
  package var stallNanoseconds: UInt64 = 60_000_000_000
  /// How long the device may take for one request; then it counts as stuck and stops.
  package var requestNanoseconds: UInt64 = 60_000_000_000
  /// How long stopping may take.
  package var shutdownNanoseconds: UInt64 = 20_000_000_000

  /// The largest READ and WRITE.
  package static let payloadByteCountMax: UInt32 = 32 << 20
  /// What each connection may hold whatever the others hold, so that those who hold the rest and
  /// do not move cannot stop it.
  package static let reservedByteCount = 256 << 10

  package init(name: String) {
    self.name = name
  }
}

/// Takes lines for the operator.
package struct ServerLog: Sendable {
  /// Ordered by urgency.
  package enum Level: String, Sendable {
    case notice, warning, error
  }

  private let write: @Sendable (Level, String) -> Void

  package init(_ write: @escaping @Sendable (Level, String) -> Void) {
    self.write = write
  }

  /// Hands over one line, without its end.
  package func callAsFunction(_ level: Level, _ line: String) {
    write(level, line)
  }
}
