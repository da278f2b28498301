/// An NBD URI, as far as attach needs to understand one.
///
/// `nbd://HOST[:PORT]/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`. Other schemes, such as `nbds`,
/// are kept as they are for libnbd.
package struct NBDAddress: Equatable, Sendable {
  /// How the server is reached, as far as attach must know it to start a client.
  package enum Transport: Equatable, Sendable {
    case unix(path: String)
    case tcp(host: String, port: String)
    /// TLS, vsock, ssh: only libnbd can.
    case other
  }

  package let uri: String
  package let transport: Transport
  package let export: String

  /// The address of a server on a unix socket.
  package init(socketPath: String, export: String) {
    uri = "nbd+unix:///\(percentEncoded(export))?socket=\(percentEncoded(socketPath))"
    transport = .unix(path: socketPath)
    self.export = export
  }

  /// Whether a text is meant as a URI rather than as a name.
  package static func isURI(_ text: String) -> Bool { text.contains("://") }

  /// - Returns: nil when the text is no NBD URI.
  package init?(uri: String) {
    guard let colon = uri.range(of: "://"), uri.hasPrefix("nbd") else { return nil }
    let scheme = uri[..<colon.lowerBound]
    let rest = uri[colon.upperBound...]
    let queryStart = rest.firstIndex(of: "?") ?? rest.endIndex
    let pathStart = rest[..<queryStart].firstIndex(of: "/") ?? queryStart
    guard
      let export = percentDecoded(rest[pathStart..<queryStart].dropFirst())
    else { return nil }
    self.uri = uri
    self.export = export
    switch scheme {
    case "nbd":
      guard let (host, port) = hostAndPort(rest[..<pathStart]) else { return nil }
      transport = .tcp(host: host, port: port)
    case "nbd+unix":
      guard let path = parameter("socket", of: rest[queryStart...].dropFirst()), !path.isEmpty
      else { return nil }
      transport = .unix(path: path)
    case "nbds", "nbds+unix", "nbd+vsock", "nbds+vsock", "nbd+ssh", "nbds+ssh":
      transport = .other
    default: return nil
    }
  }

  /// A name for records of what was attached by URI: the export's, and a hash of the URI, so that
  /// the same export of two servers has two names.
  package var recordName: String {
    var hash: UInt32 = 2_166_136_261
    for byte in uri.utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
    let hexadecimal = String(hash, radix: 16)
    let suffix = String(repeating: "0", count: 8 - hexadecimal.count) + hexadecimal
    let stem = String(export.prefix(50))
    return isValidDeviceName(stem) ? "\(stem)-\(suffix)" : "uri-\(suffix)"
  }
}

private func hostAndPort(_ authority: Substring) -> (String, String)? {
  // A user name before an @ means nothing to NBD.
  let text = authority.split(separator: "@", omittingEmptySubsequences: false).last ?? ""
  if text.hasPrefix("[") {
    guard let close = text.firstIndex(of: "]") else { return nil }
    let host = String(text[text.index(after: text.startIndex)..<close])
    let rest = text[text.index(after: close)...]
    if rest.isEmpty { return (host, "10809") }
    return rest.hasPrefix(":") && UInt16(rest.dropFirst()) != nil
      ? (host, String(rest.dropFirst())) : nil
  }
  let parts = text.split(separator: ":", omittingEmptySubsequences: false)
  guard let host = parts.first, !host.isEmpty, parts.count <= 2 else { return nil }
  guard parts.count == 2 else { return (String(host), "10809") }
  return UInt16(parts[1]) != nil ? (String(host), String(parts[1])) : nil
}

private func parameter(_ name: String, of query: Substring) -> String? {
  for item in query.split(whereSeparator: { $0 == "&" || $0 == ";" }) {
    let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    if parts.count == 2, parts[0] == name { return percentDecoded(parts[1]) }
  }
  return nil
}

/// Writes everything but letters, digits and `-._~/` as `%XX`.
func percentEncoded(_ text: String) -> String {
  var encoded = ""
  for byte in text.utf8 {
    let character = Character(UnicodeScalar(byte))
    if byte < 0x80, character.isLetter || character.isNumber || "-._~/".contains(character) {
      encoded.append(character)
    } else {
      let digits = String(byte, radix: 16, uppercase: true)
      encoded += byte < 16 ? "%0\(digits)" : "%\(digits)"
    }
  }
  return encoded
}

/// - Returns: nil when an escape is broken, or the bytes are not UTF-8.
func percentDecoded(_ text: Substring) -> String? {
  var bytes: [UInt8] = []
  var rest = Array(text.utf8)[...]
  while let byte = rest.popFirst() {
    guard byte == UInt8(ascii: "%") else {
      bytes.append(byte)
      continue
    }
    let digits = rest.prefix(2)
    guard digits.count == 2, let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
    else { return nil }
    bytes.append(value)
    rest = rest.dropFirst(2)
  }
  return String(validating: bytes, as: UTF8.self)
}

extension String {
  /// Where `text` occurs first.
  fileprivate func range(of text: String) -> Range<String.Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(text) {
        return start..<index(start, offsetBy: text.count)
      }
      start = index(after: start)
    }
    return nil
  }
}
