package import NBDWire

/// What a server told of its export in the handshake, found to be possible.
package struct RemoteExport: Equatable, Sendable {
  package let byteCount: UInt64
  package let flags: TransmissionFlags
  /// Offsets and lengths must be multiples of this power of two; 1 where the server did not say.
  package let minimumBlockBytes: UInt32
  /// Offsets and lengths that are multiples of this power of two are fast.
  package let preferredBlockBytes: UInt32
  /// The longest READ or WRITE; the client cuts longer ones into several.
  package let maximumPayloadBytes: UInt32
  /// READ is answered in chunks.
  package let usesStructuredReplies: Bool

  /// The longest request that we make of a server, whatever it allows: a receive moves at most
  /// 2 GiB, and so much at once helps nobody.
  static let payloadByteCountMax: UInt32 = 32 << 20

  package var isReadOnly: Bool { flags.contains(.readOnly) }
  package var canFlush: Bool { flags.contains(.sendFlush) }
  /// FUA: a write can be made durable by itself.
  package var canFUA: Bool { flags.contains(.sendForceUnitAccess) }
  package var canTrim: Bool { flags.contains(.sendTrim) }
  package var canWriteZeroes: Bool { flags.contains(.sendWriteZeroes) }
  /// WRITE_ZEROES can be asked to fail where it would be slow.
  package var canFastZero: Bool { flags.contains(.sendFastZero) }
  /// A flush on one connection covers what was written on all of them.
  package var canMultiConnect: Bool { flags.contains(.canMultiConnect) }
  package var isRotational: Bool { flags.contains(.rotational) }
}

/// What the replies to GO or EXPORT_NAME say, before it has been judged.
struct ExportReport: Equatable {
  var byteCount: UInt64 = 0
  var flags = TransmissionFlags()
  /// Minimum, preferred, maximum; nil when the server did not say.
  var blockBytes: BlockBytes?

  struct BlockBytes: Equatable {
    var minimum: UInt32
    var preferred: UInt32
    var maximum: UInt32
  }

  /// The export, if it can be one.
  func judged(usesStructuredReplies: Bool) throws(ClientError) -> RemoteExport {
    guard byteCount < 1 << 63 else {
      throw .notUnderstood(reason: "the server says that the export has \(byteCount) bytes")
    }
    // Without sizes, what the protocol lets a client assume.
    let blocks = blockBytes ?? BlockBytes(minimum: 1, preferred: 4096, maximum: 32 << 20)
    let isPossible =
      blocks.minimum.nonzeroBitCount == 1 && blocks.minimum <= 65536
      && blocks.preferred.nonzeroBitCount == 1 && blocks.preferred >= blocks.minimum
      && blocks.maximum >= blocks.minimum
    guard isPossible else {
      throw .notUnderstood(
        reason: "the server names impossible block sizes: at least \(blocks.minimum), best "
          + "\(blocks.preferred), at most \(blocks.maximum) bytes")
    }
    let longest = min(blocks.maximum, RemoteExport.payloadByteCountMax)
    return RemoteExport(
      byteCount: byteCount,
      // Without this bit the others mean nothing.
      flags: flags.contains(.hasFlags) ? flags : [], minimumBlockBytes: blocks.minimum,
      preferredBlockBytes: blocks.preferred,
      maximumPayloadBytes: longest / blocks.minimum * blocks.minimum,
      usesStructuredReplies: usesStructuredReplies)
  }
}
