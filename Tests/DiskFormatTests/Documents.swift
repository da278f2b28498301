import Glibc
import IO
import TestSupport
import Testing

/// Files of the repository that tests read.
enum Documents {
  private static let root =
    "/" + "\(#filePath)".split(separator: "/").dropLast(3).joined(separator: "/")

  static func lines(_ path: String) throws -> [String] {
    // Safe: the stream is closed once, and the bytes are read into an array of their own.
    guard let file = unsafe fopen("\(root)/\(path)", "r") else {
      throw MissingDocument(path: path)
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

  static func fixture(_ name: String) throws -> Fixture {
    try Fixture(lines: lines("Tests/DiskFormatTests/Fixtures/\(name)").filter { !$0.isEmpty })
  }
}

/// A file that is not there.
struct MissingDocument: Error {
  let path: String
}

/// Bytes as text: `0010  a5 4f ...  # comment`, or `0100  00 ... 013f` for zeros up to there.
struct Fixture {
  let lines: [String]
  let memory: AlignedMemory

  init(lines: [String]) throws {
    self.lines = lines
    var bytes: [UInt8] = []
    for line in lines where !line.hasPrefix("#") {
      let words = line.prefix { $0 != "#" }.split(separator: " ")
      let offset = try #require(Int(words.first ?? "", radix: 16), "\(line)")
      #expect(offset == bytes.count, "\(line)")
      if words.count == 4, words[2] == "..." {
        let last = try #require(Int(words[3], radix: 16), "\(line)")
        bytes += Array(repeating: 0, count: last + 1 - offset)
      } else {
        for word in words.dropFirst() {
          bytes.append(try #require(UInt8(word, radix: 16), "\(line)"))
        }
      }
    }
    memory = AlignedMemory.holding(bytes)
    #expect(bytes.count % 4096 == 0)
  }

  var bytes: IOBuffer { memory.buffer }
}
