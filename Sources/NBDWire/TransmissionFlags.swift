/// What an export can do, as it is told to the client when negotiation ends.
package struct TransmissionFlags: OptionSet, Equatable, Sendable {
  package let rawValue: UInt16

  @inlinable
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// Always set: the other bits mean something.
  @inlinable
  package static var hasFlags: TransmissionFlags { TransmissionFlags(rawValue: 1 << 0) }

  @inlinable
  package static var readOnly: TransmissionFlags { TransmissionFlags(rawValue: 1 << 1) }

  @inlinable
  package static var sendFlush: TransmissionFlags { TransmissionFlags(rawValue: 1 << 2) }

  /// FUA works, and is then accepted on every command.
  @inlinable
  package static var sendForceUnitAccess: TransmissionFlags {
    TransmissionFlags(rawValue: 1 << 3)
  }

  @inlinable
  package static var rotational: TransmissionFlags { TransmissionFlags(rawValue: 1 << 4) }

  @inlinable
  package static var sendTrim: TransmissionFlags { TransmissionFlags(rawValue: 1 << 5) }

  /// WRITE_ZEROES works, with NO_HOLE too.
  @inlinable
  package static var sendWriteZeroes: TransmissionFlags { TransmissionFlags(rawValue: 1 << 6) }

  /// READ honours DF.
  ///
  /// Belongs to the connection, not to the export: see `ExportDescription.offeredFlags`.
  @inlinable
  package static var sendDontFragment: TransmissionFlags { TransmissionFlags(rawValue: 1 << 7) }

  /// A FLUSH or FUA on one connection covers what was completed on all of them.
  @inlinable
  package static var canMultiConnect: TransmissionFlags { TransmissionFlags(rawValue: 1 << 8) }

  @inlinable
  package static var sendResize: TransmissionFlags { TransmissionFlags(rawValue: 1 << 9) }

  @inlinable
  package static var sendCache: TransmissionFlags { TransmissionFlags(rawValue: 1 << 10) }

  @inlinable
  package static var sendFastZero: TransmissionFlags { TransmissionFlags(rawValue: 1 << 11) }

  @inlinable
  package static var blockStatusPayload: TransmissionFlags {
    TransmissionFlags(rawValue: 1 << 12)
  }
}
