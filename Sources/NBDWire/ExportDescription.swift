/// What clients are told of one export.
package struct ExportDescription: Equatable, Sendable {
  /// At most 4096 bytes of UTF-8 without NUL; clients match it byte by byte.
  package let name: String
  /// One line for people, at most 4096 bytes without NUL; may be empty.
  package let description: String
  package let byteCount: UInt64
  /// As offered to everyone, HAS_FLAGS included.
  ///
  /// DF is not among them: `offeredFlags` adds it on connections with structured replies.
  package let flags: TransmissionFlags
  /// Offsets and lengths that are no multiple of this are refused.
  package let minimumBlockBytes: UInt32
  /// Offsets and lengths that are multiples of this are fast.
  package let preferredBlockBytes: UInt32
  /// The longest READ or WRITE.
  package let maximumPayloadBytes: UInt32

  /// The longest string that NBD allows, in bytes of UTF-8.
  package static let stringByteCountMax = 4096

  /// Describes an export.
  ///
  /// - Precondition: what the protocol demands of a server. The minimum is a power of two up to
  ///   64 KiB; the preferred size is a power of two, at least the minimum and at least 512; the
  ///   payload limit is a multiple of the minimum and at least the preferred size; the size is a
  ///   multiple of the minimum and below 2^63. FAST_ZERO comes with WRITE_ZEROES only; resizing,
  ///   payloads of BLOCK_STATUS and (by the caller) DF are not offered.
  package init(
    name: String, description: String, byteCount: UInt64, flags: TransmissionFlags,
    minimumBlockBytes: UInt32 = 1, preferredBlockBytes: UInt32 = 4096,
    maximumPayloadBytes: UInt32 = 32 << 20
  ) {
    precondition(Self.isValidText(name))
    precondition(Self.isValidText(description))
    precondition(byteCount < 1 << 63)
    precondition(Self.isPowerOfTwo(minimumBlockBytes) && minimumBlockBytes <= 65536)
    precondition(Self.isPowerOfTwo(preferredBlockBytes))
    precondition(preferredBlockBytes >= max(minimumBlockBytes, 512))
    precondition(maximumPayloadBytes >= preferredBlockBytes)
    precondition(maximumPayloadBytes % minimumBlockBytes == 0)
    precondition(byteCount % UInt64(minimumBlockBytes) == 0)
    precondition(!flags.contains(.sendFastZero) || flags.contains(.sendWriteZeroes))
    precondition(
      flags.isDisjoint(with: [.sendDontFragment, .sendResize, .blockStatusPayload]))
    self.name = name
    self.description = description
    self.byteCount = byteCount
    self.flags = flags.union(.hasFlags)
    self.minimumBlockBytes = minimumBlockBytes
    self.preferredBlockBytes = preferredBlockBytes
    self.maximumPayloadBytes = maximumPayloadBytes
  }

  /// Whether a text may be a name or a description on the wire.
  package static func isValidText(_ text: String) -> Bool {
    text.utf8.count <= stringByteCountMax && !text.utf8.contains(0)
  }

  /// The flags as one connection sees them: DF exactly with structured replies.
  package func offeredFlags(usesStructuredReplies: Bool) -> TransmissionFlags {
    usesStructuredReplies ? flags.union(.sendDontFragment) : flags
  }

  private static func isPowerOfTwo(_ value: UInt32) -> Bool { value.nonzeroBitCount == 1 }
}
