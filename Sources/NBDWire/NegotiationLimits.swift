/// What one client may cost before it has chosen an export.
package struct NegotiationLimits: Equatable, Sendable {
  /// The longest data of one option; a longer one closes on its header alone.
  package var optionByteCountMax: Int
  /// The option after this many closes.
  package var optionCountMax: Int
  /// The most queries in one LIST_META_CONTEXT or SET_META_CONTEXT; more are answered TOO_BIG.
  package var metadataQueryCountMax: Int

  package init(
    optionByteCountMax: Int = 65536, optionCountMax: Int = 32, metadataQueryCountMax: Int = 1024
  ) {
    precondition(optionByteCountMax >= 0)
    precondition(optionCountMax > 0)
    precondition(metadataQueryCountMax > 0)
    self.optionByteCountMax = optionByteCountMax
    self.optionCountMax = optionCountMax
    self.metadataQueryCountMax = metadataQueryCountMax
  }

  /// The most unconsumed bytes that a caller of `Negotiation.advance` ever has to keep.
  package var bufferedByteCountMax: Int { Handshake.optionHeaderByteCount + optionByteCountMax }
}
