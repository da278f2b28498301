package import Control

/// A fio-style ini file, taken apart but not yet understood.
///
/// `[global]` holds defaults for the jobs below it, and may come again; every other section is a
/// job. Lines are `key=value` or a bare key for a boolean; `;` and `#` begin a comment at a
/// line's beginning or behind a blank.
package struct JobFile: Equatable, Sendable {
  /// One line `key=value`.
  struct Line: Equatable, Sendable {
    var number: Int
    var key: String
    /// nil for a bare key.
    var value: String?
  }

  /// One section, `global` or a job.
  struct Section: Equatable, Sendable {
    var name: String
    var number: Int
    var lines: [Line]
  }

  /// How messages name the file.
  package let name: String
  let sections: [Section]

  /// Reads the text of a file.
  ///
  /// - Parameters:
  ///   - text: the whole file; bytes that are not UTF-8 arrive repaired, and are refused.
  ///   - name: for messages.
  /// - Throws: what is wrong, with file and line.
  package init(_ text: String, name: String) throws(UsageError) {
    self.name = name
    var sections: [Section] = []
    // Some editors begin a file with a mark of its encoding.
    let text = text.hasPrefix("\u{FEFF}") ? String(text.unicodeScalars.dropFirst()) : text
    let lines = text.split(omittingEmptySubsequences: false) { $0.isNewline }
    for (index, raw) in lines.enumerated() {
      let number = index + 1
      let place = "\(name):\(number)"
      guard !raw.unicodeScalars.contains(where: { $0 == "\u{FFFD}" || $0 == "\0" }) else {
        throw UsageError("\(place): the line is not text")
      }
      let content = Self.trimmed(Self.withoutComment(raw))
      if content.isEmpty { continue }
      if content.hasPrefix("[") {
        let section = try Self.sectionName(content, place)
        sections.append(Section(name: section, number: number, lines: []))
        continue
      }
      let line = try Self.line(content, number, place)
      guard !sections.isEmpty else {
        throw UsageError("\(place): '\(line.key)' stands before the first [section]")
      }
      sections[sections.count - 1].lines.append(line)
    }
    guard sections.contains(where: { $0.name != "global" }) else {
      throw UsageError("\(name): describes no job: a section such as [reads] makes one")
    }
    self.sections = sections
  }

  private static func sectionName(
    _ content: Substring, _ place: String
  ) throws(UsageError) -> String {
    guard let end = content.lastIndex(of: "]") else {
      throw UsageError("\(place): the section '\(content)' lacks its ']'")
    }
    guard content.index(after: end) == content.endIndex else {
      throw UsageError("\(place): nothing may follow '\(content[...end])'")
    }
    let name = trimmed(content[content.index(after: content.startIndex)..<end])
    guard !name.isEmpty else { throw UsageError("\(place): the section has no name") }
    return String(name)
  }

  private static func line(
    _ content: Substring, _ number: Int, _ place: String
  ) throws(UsageError) -> Line {
    let equals = content.firstIndex(of: "=")
    let key = trimmed(content[..<(equals ?? content.endIndex)])
    guard !key.isEmpty else { throw UsageError("\(place): '\(content)' has no name before '='") }
    if equals == nil, key.split(separator: " ").first == "include" {
      throw UsageError("\(place): include is not supported: copy the other file's lines here")
    }
    guard let equals else {
      guard !key.contains(where: \.isWhitespace) else {
        throw UsageError("\(place): '\(content)' lacks its '=': a line is name=value")
      }
      return Line(number: number, key: String(key), value: nil)
    }
    let value = trimmed(content[content.index(after: equals)...])
    return Line(number: number, key: String(key), value: String(value))
  }

  private static func withoutComment(_ line: Substring) -> Substring {
    var previous: Character = " "
    for index in line.indices {
      let character = line[index]
      if character == ";" || character == "#", previous == " " || previous == "\t" {
        return line[..<index]
      }
      previous = character
    }
    return line
  }

  private static func trimmed(_ text: Substring) -> Substring {
    var text = text
    while let first = text.first, first.isWhitespace { text.removeFirst() }
    while let last = text.last, last.isWhitespace { text.removeLast() }
    return text
  }
}
