/// Where a server listens: `unix:PATH` or `tcp:HOST:PORT`.
package enum ListenAddress: Equatable, Sendable, CustomStringConvertible {
  case unix(path: String)
  /// `host` is a name, an IPv4 or an IPv6 address without brackets, or empty for all interfaces.
  case tcp(host: String, port: UInt16)

  /// A unix socket's path takes at most this many bytes in a `sockaddr_un`.
  package static let unixPathByteCountMax = 107
  /// NBD's registered port.
  package static let defaultPort: UInt16 = 10809

  /// Reads `unix:PATH`, `tcp:HOST:PORT`, `tcp:HOST`, `tcp:[IPV6]:PORT`.
  ///
  /// Port 0 asks the kernel for a free one. `tcp::PORT` and `tcp:*:PORT` mean all interfaces.
  package init(_ text: String) throws(ListenAddressError) {
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst(5))
      guard !path.isEmpty, !path.utf8.contains(0) else { throw .noPath }
      guard path.utf8.count <= Self.unixPathByteCountMax else {
        throw .pathTooLong(byteCount: path.utf8.count)
      }
      self = .unix(path: path)
    } else if text.hasPrefix("tcp:") {
      self = try Self.parseTCP(text.dropFirst(4))
    } else {
      throw .unknownKind
    }
  }

  package var description: String {
    switch self {
    case .unix(let path): "unix:\(path)"
    case .tcp(let host, let port):
      host.contains(":") ? "tcp:[\(host)]:\(port)" : "tcp:\(host):\(port)"
    }
  }

  private static func parseTCP(_ text: Substring) throws(ListenAddressError) -> ListenAddress {
    let host: Substring
    let portText: Substring?
    if text.hasPrefix("[") {
      guard let close = text.firstIndex(of: "]") else { throw .unclosedBracket }
      host = text[text.index(after: text.startIndex)..<close]
      let rest = text[text.index(after: close)...]
      guard rest.isEmpty || rest.hasPrefix(":") else { throw .badPort(String(rest)) }
      portText = rest.isEmpty ? nil : rest.dropFirst()
    } else {
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count <= 2 else { throw .bareIPv6 }
      host = parts.first == "*" ? "" : parts.first ?? ""
      portText = parts.count == 2 ? parts[1] : nil
    }
    guard let portText else {
      // A number alone is meant as a port, and would be read as the address 0.0.x.y.
      guard !host.allSatisfy(\.isWholeNumber) else { throw .noHost }
      return .tcp(host: String(host), port: defaultPort)
    }
    guard let port = UInt16(portText) else { throw .badPort(String(portText)) }
    return .tcp(host: String(host), port: port)
  }
}

/// Why a text is no listen address; the description completes "'TEXT' ...".
package enum ListenAddressError: Error, Equatable, Sendable, CustomStringConvertible {
  case unknownKind
  case noPath
  case pathTooLong(byteCount: Int)
  case noHost
  case unclosedBracket
  case bareIPv6
  case badPort(String)

  package var description: String {
    switch self {
    case .unknownKind: "is not a listen address: write unix:PATH or tcp:HOST:PORT"
    case .noPath: "has no path: write unix:PATH"
    case .pathTooLong(let byteCount):
      "has a path of \(byteCount) bytes; a unix socket's path takes "
        + "\(ListenAddress.unixPathByteCountMax) at most: choose a shorter one"
    case .noHost: "has no host: write tcp:HOST:PORT"
    case .unclosedBracket: "lacks the ']' behind the IPv6 address"
    case .bareIPv6: "has an IPv6 address without brackets: write tcp:[ADDRESS]:PORT"
    case .badPort(let text): "has the port '\(text)', which is not a number from 0 to 65535"
    }
  }
}
