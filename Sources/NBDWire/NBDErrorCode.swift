/// The errors that NBD knows on the wire; no other number is ever sent.
package enum NBDErrorCode: UInt32, Error, CaseIterable, Sendable {
  case notPermitted = 1
  case inputOutput = 5
  case noMemory = 12
  case invalid = 22
  case noSpace = 28
  case overflow = 75
  case notSupported = 95
  case shutdown = 108

  /// What a client makes of the error field of a reply: an unknown number counts as `invalid`.
  ///
  /// - Returns: nil for zero, which is success.
  @inlinable
  package static func received(_ value: UInt32) -> NBDErrorCode? {
    value == 0 ? nil : NBDErrorCode(rawValue: value) ?? .invalid
  }
}
