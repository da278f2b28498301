/// Text that comes from the wire or goes there.
package enum WireText {
  /// The longest quotation from a client in a log line or an error text, in bytes of UTF-8.
  static let quotedByteCountMax = 256

  /// The bytes as text in quotes, harmless in a log and bounded.
  ///
  /// Broken UTF-8 becomes U+FFFD. Whatever moves a cursor, breaks a line, reorders text or ends
  /// the quotation is escaped: control and format characters, line separators, `"` and `\`.
  package static func quoted(_ bytes: [UInt8]) -> String {
    // Three bytes more than can be quoted, so that a character is never cut where it still fits.
    let text = String(decoding: bytes.prefix(quotedByteCountMax + 3), as: UTF8.self)
    var result = ""
    var isWhole = bytes.count <= quotedByteCountMax
    for scalar in text.unicodeScalars {
      let piece = isHarmless(scalar) ? String(scalar) : escaped(scalar)
      guard result.utf8.count + piece.utf8.count <= quotedByteCountMax else {
        isWhole = false
        break
      }
      result += piece
    }
    return "\"\(result)\"" + (isWhole ? "" : "...")
  }

  /// The longest beginning of `text` that has at most `byteCountMax` bytes and splits no scalar.
  static func cut(_ text: String, byteCountMax: Int) -> [UInt8] {
    let bytes = Array(text.utf8)
    guard bytes.count > byteCountMax else { return bytes }
    var count = byteCountMax
    // 10xxxxxx continues a character: the cut goes before its first byte.
    while count > 0, bytes[count] & 0xC0 == 0x80 { count -= 1 }
    return Array(bytes[..<count])
  }

  /// Whether the bytes may be a string of the protocol: UTF-8, no NUL, at most 4096 bytes.
  static func isValid(_ bytes: [UInt8]) -> Bool {
    bytes.count <= ExportDescription.stringByteCountMax && !bytes.contains(0)
      && String(validating: bytes, as: UTF8.self) != nil
  }

  private static func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
    if scalar == "\"" || scalar == "\\" { return false }
    if scalar.isASCII { return scalar.value >= 0x20 && scalar.value < 0x7F }
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned:
      return false
    default: return true
    }
  }

  private static func escaped(_ scalar: Unicode.Scalar) -> String {
    scalar == "\"" || scalar == "\\"
      ? "\\\(scalar)" : "\\u{\(String(scalar.value, radix: 16))}"
  }
}
