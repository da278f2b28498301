/// What a request asks for.
package enum NBDCommand: UInt16, CaseIterable, Sendable {
  case read = 0
  case write = 1
  case disconnect = 2
  case flush = 3
  case trim = 4
  case cache = 5
  case writeZeroes = 6
  case blockStatus = 7
}

/// The modifiers of a request.
///
/// Bits without a name here may be set: they come from the wire.
package struct CommandFlags: OptionSet, Equatable, Sendable {
  package let rawValue: UInt16

  @inlinable
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// Reply only when the effect would survive power loss (FUA).
  @inlinable
  package static var forceUnitAccess: CommandFlags { CommandFlags(rawValue: 1 << 0) }

  /// WRITE_ZEROES: keep the space reserved.
  @inlinable
  package static var noHole: CommandFlags { CommandFlags(rawValue: 1 << 1) }

  /// READ: answer with one content chunk (DF).
  @inlinable
  package static var dontFragment: CommandFlags { CommandFlags(rawValue: 1 << 2) }

  /// BLOCK_STATUS: describe one extent only.
  @inlinable
  package static var requestOne: CommandFlags { CommandFlags(rawValue: 1 << 3) }

  /// WRITE_ZEROES: fail quickly when it would be no faster than writing.
  @inlinable
  package static var fastZero: CommandFlags { CommandFlags(rawValue: 1 << 4) }
}
