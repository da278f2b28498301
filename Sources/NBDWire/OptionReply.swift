/// The bytes that answer options, one reply behind the other.
struct OptionReplies {
  private(set) var bytes: [UInt8] = []

  /// Adds `[magic 8][option 4][type 4][length 4][data]`.
  mutating func append(_ type: OptionReplyType, to option: UInt32, data: [UInt8] = []) {
    bytes.reserveCapacity(
      bytes.count + Handshake.optionReplyHeaderByteCount + data.count)
    bytes.appendBigEndian(Handshake.optionReplyMagic)
    bytes.appendBigEndian(option)
    bytes.appendBigEndian(type.rawValue)
    bytes.appendBigEndian(UInt32(data.count))
    bytes += data
  }
}

/// Why an option is answered with an error.
struct OptionRefusal: Error {
  let type: OptionReplyType
  /// For people at the client's end.
  let text: String

  /// The error reply, its text within what the protocol allows.
  func reply(to option: UInt32) -> [UInt8] {
    var replies = OptionReplies()
    replies.append(
      type, to: option,
      data: WireText.cut(text, byteCountMax: ExportDescription.stringByteCountMax))
    return replies.bytes
  }
}

extension [UInt8] {
  /// Adds the number, most significant byte first.
  package mutating func appendBigEndian<Integer: FixedWidthInteger>(_ value: Integer) {
    for shift in stride(from: Integer.bitWidth - 8, through: 0, by: -8) {
      append(UInt8(truncatingIfNeeded: value >> Integer(shift)))
    }
  }
}
