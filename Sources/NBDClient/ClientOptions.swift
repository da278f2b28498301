/// What a client asks for, and how long it waits.
package struct ClientOptions: Equatable, Sendable {
  /// The export's name; empty for the server's default.
  package var exportName: String
  /// For the whole handshake.
  package var handshakeNanoseconds: UInt64 = 10_000_000_000
  /// How long the server may take for one request; then the connection is given up, because a
  /// server that does not answer cannot be told from one that never will.
  package var requestNanoseconds: UInt64 = 30_000_000_000
  /// Asks for structured replies: holes need not be sent, and errors name their place.
  package var wantsStructuredReplies = true
  /// How many requests the server is sent before it has answered one; further ones wait here.
  package var requestCountMax = 128

  package init(exportName: String) {
    self.exportName = exportName
  }
}
