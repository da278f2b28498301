import Glibc

/// Files of the repository that tests read.
package enum Documents {
  private static let root =
    "/" + "\(#filePath)".split(separator: "/").dropLast(3).joined(separator: "/")

  /// The lines of a file, named from the top of the repository.
  package static func lines(_ path: String) throws -> [String] {
    // Safe: the stream is closed once, and the bytes are read into an array of their own.
    guard let file = unsafe fopen("\(root)/\(path)", "r") else {
      throw DocumentError.missing(path)
    }
    defer { unsafe _ = fclose(file) }
    var text: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    var count = 1
    while count > 0 {
      count = unsafe fread(&piece, 1, piece.count, file)
      text += piece.prefix(count)
    }
    return String(decoding: text, as: UTF8.self)
      .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  /// Bytes as text: a file of a test target's `Fixtures`.
  package static func dump(_ target: String, _ name: String) throws -> HexDump {
    try HexDump(lines("Tests/\(target)/Fixtures/\(name)").filter { !$0.isEmpty })
  }

  /// The lines of the dumps that a page of `docs/formats` shows.
  package static func shownDump(_ page: String) throws -> [String] {
    try lines("docs/formats/\(page)").compactMap { line in
      // "    0010  ...": four blanks, four digits, two blanks.
      let text = line.dropFirst(4)
      let isDump =
        line.hasPrefix("    ") && Int(text.prefix(4), radix: 16) != nil
        && text.dropFirst(4).hasPrefix("  ")
      return isDump ? String(text) : nil
    }
  }

  /// The rows of the field table below a heading of a page of `docs/formats`.
  package static func fieldRows(_ page: String, _ heading: String) throws -> [FieldRow] {
    let lines = try lines("docs/formats/\(page)")
    guard let start = lines.firstIndex(of: heading) else {
      throw DocumentError.missing("\(heading) in \(page)")
    }
    let section = lines[(start + 1)...].prefix { !$0.hasPrefix("#") }
    return section.compactMap { line in
      // "| 16 | 8 | `offset` | ..."
      let cells = line.split(separator: "|").map { $0.filter { $0 != "`" && $0 != " " } }
      guard cells.count >= 3, let offset = Int(cells[0]), let count = Int(cells[1]) else {
        return nil
      }
      return FieldRow(name: cells[2], offset: offset, byteCount: count)
    }
  }
}

/// A row of a field table.
package struct FieldRow: Equatable {
  package let name: String
  package let offset: Int
  package let byteCount: Int

  package init(name: String, offset: Int, byteCount: Int) {
    self.name = name
    self.offset = offset
    self.byteCount = byteCount
  }

  /// Whether the rows lie one behind the other, without gaps, and fill so many bytes.
  package static func tile(_ rows: [FieldRow], byteCount: Int) -> Bool {
    var end = 0
    for row in rows {
      guard row.offset == end else { return false }
      end += row.byteCount
    }
    return end == byteCount
  }
}

/// Bytes as text: `0010  a5 4f ...  # comment`, or `0100  00 ... 013f` for zeros up to there.
package struct HexDump {
  package let lines: [String]
  package let bytes: [UInt8]

  package init(_ lines: [String]) throws {
    self.lines = lines
    var bytes: [UInt8] = []
    for line in lines where !line.hasPrefix("#") {
      let words = line.prefix { $0 != "#" }.split(separator: " ")
      guard let offset = Int(words.first ?? "", radix: 16), offset == bytes.count else {
        throw DocumentError.malformed(line)
      }
      if words.count == 4, words[2] == "..." {
        guard let last = Int(words[3], radix: 16) else { throw DocumentError.malformed(line) }
        bytes += Array(repeating: 0, count: last + 1 - offset)
      } else {
        for word in words.dropFirst() {
          guard let byte = UInt8(word, radix: 16) else { throw DocumentError.malformed(line) }
          bytes.append(byte)
        }
      }
    }
    self.bytes = bytes
  }
}

/// What is wrong with a file that a test reads.
package enum DocumentError: Error {
  case missing(String)
  case malformed(String)
}
