/// The header of a request in transmission, 28 bytes; the payload of a WRITE follows it.
///
/// `[magic 4][flags 2][command 2][cookie 8][offset 8][length 4]`, big-endian. Nothing in it has
/// been checked but the magic: `Agreement.judge` does that.
package struct Request: Equatable, Sendable {
  package var flags: CommandFlags
  /// An `NBDCommand`, or a number that nobody has defined yet.
  package var commandNumber: UInt16
  /// The client's mark, returned exactly as it came; it need not be unique.
  package var cookie: UInt64
  package var offsetBytes: UInt64
  package var byteCount: UInt32

  @inlinable
  package static var headerByteCount: Int { 28 }

  @inlinable
  package static var magic: UInt32 { 0x2560_9513 }

  @inlinable
  package init(
    flags: CommandFlags = [], commandNumber: UInt16, cookie: UInt64, offsetBytes: UInt64,
    byteCount: UInt32
  ) {
    self.flags = flags
    self.commandNumber = commandNumber
    self.cookie = cookie
    self.offsetBytes = offsetBytes
    self.byteCount = byteCount
  }

  /// Reads the header that starts at `offset`.
  ///
  /// - Returns: nil when the magic is wrong. The stream is then out of step: close it.
  /// - Precondition: `headerByteCount` bytes lie behind `offset`.
  @inlinable
  package init?(parsing bytes: RawSpan, at offset: Int) {
    precondition(offset >= 0)
    precondition(bytes.byteCount - offset >= Self.headerByteCount)
    guard bytes.bigEndian(at: offset, as: UInt32.self) == Self.magic else { return nil }
    self.flags = CommandFlags(rawValue: bytes.bigEndian(at: offset + 4))
    self.commandNumber = bytes.bigEndian(at: offset + 6)
    self.cookie = bytes.bigEndian(at: offset + 8)
    self.offsetBytes = bytes.bigEndian(at: offset + 16)
    self.byteCount = bytes.bigEndian(at: offset + 24)
  }

  /// Writes the header, as a client does.
  ///
  /// - Precondition: `headerByteCount` bytes lie behind `offset`.
  @inlinable
  package func encode(into bytes: inout MutableRawSpan, at offset: Int) {
    bytes.storeBigEndian(Self.magic, at: offset)
    bytes.storeBigEndian(flags.rawValue, at: offset + 4)
    bytes.storeBigEndian(commandNumber, at: offset + 6)
    bytes.storeBigEndian(cookie, at: offset + 8)
    bytes.storeBigEndian(offsetBytes, at: offset + 16)
    bytes.storeBigEndian(byteCount, at: offset + 24)
  }
}
