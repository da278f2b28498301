import Control
import IO
import TestSupport
import Testing

@testable import Bench

/// `docs/formats/sector-stamp.md` of this repository.
private let page: String = {
  let parts = "\(#filePath)".split(separator: "/").dropLast(3)
  return "/" + parts.joined(separator: "/") + "/docs/formats/sector-stamp.md"
}()

@Suite("Bench: the format of a stamped sector")
struct StampFormatTests {
  typealias Field = SectorStamp.Field

  /// The sector that the page shows.
  private let sample = SectorStamp(
    seed: 0x89, offsetBytes: 8192, run: 0x0123_4567_89AB_CDEF, blockByteCount: 4096, index: 1,
    generation: 3)

  private func bytes(_ stamp: SectorStamp) -> [UInt8] {
    let sector = zeroed(SectorStamp.byteCount).view(SectorStamp.byteCount)
    stamp.write(into: sector)
    return (0..<SectorStamp.byteCount).map { sector[$0] }
  }

  private func view(of sector: [UInt8]) -> IOBuffer {
    let view = zeroed(sector.count).view(sector.count)
    put(sector, into: view)
    return view
  }

  private func number(_ field: Field, in sector: [UInt8]) -> UInt64 {
    sector[field.byteRange].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  private func lines() throws -> [String] {
    try #require(SmallFile.text(page)).split(separator: "\n").map(String.init)
  }

  @Test("fields tile all 512 bytes with no gap and no overlap")
  func fieldsTile() {
    var end = 0
    for field in Field.allCases {
      #expect(field.byteRange.lowerBound == end, "\(field)")
      end = field.byteRange.upperBound
    }
    #expect(end == SectorStamp.byteCount)
  }

  @Test("each value is written to its field, and read from it")
  func valuesLieInTheirFields() {
    let sector = bytes(sample)
    #expect(Array(sector[Field.magic.byteRange]) == Array("ashlarBS".utf8))
    #expect(number(.seed, in: sector) == 0x89)
    #expect(number(.offset, in: sector) == 8192)
    #expect(number(.run, in: sector) == 0x0123_4567_89AB_CDEF)
    #expect(number(.blockLength, in: sector) == 4096)
    #expect(number(.index, in: sector) == 1)
    #expect(number(.generation, in: sector) == 3)
    #expect(number(.version, in: sector) == 1)
    #expect(SectorStamp(reading: view(of: sector)) == sample)
  }

  @Test("a sector of another version is neither sound nor to be believed")
  func otherVersion() {
    var sector = bytes(sample)
    sector[Field.version.byteRange.lowerBound] = 2
    let view = view(of: sector)
    #expect(SectorStamp.hasMagic(view))
    #expect(!SectorStamp.hasSoundHeader(view))
    #expect(!SectorStamp.isSound(view))
  }

  @Test("the page's table has each field, in order, with its offset and length")
  func tableAgrees() throws {
    // "| 16 | 8 | `offset` | ..."
    let rows = try lines().compactMap { line -> [String]? in
      let cells = line.split(separator: "|").map { $0.filter { $0 != "`" } }.map(Self.trimmed)
      guard cells.count >= 3, Int(cells[0]) != nil, Int(cells[1]) != nil else { return nil }
      return Array(cells.prefix(3))
    }
    let fields = Field.allCases.map { field in
      ["\(field.byteRange.lowerBound)", "\(field.byteRange.count)", field.rawValue]
    }
    #expect(Array(rows.prefix(fields.count)) == fields)
  }

  @Test("the page's dump is what is written, computed there by another program")
  func dumpAgrees() throws {
    let sector = bytes(sample)
    var shown = 0
    for line in try lines() {
      // "    0010  00 20 00 ...": four digits, two blanks, sixteen bytes.
      let words = line.split(separator: " ")
      guard line.hasPrefix("    "), words.count >= 17, words[0].count == 4,
        let start = Int(words[0], radix: 16), start + 16 <= sector.count
      else { continue }
      let row = words[1...16].map { UInt8($0, radix: 16) }
      #expect(row == sector[start..<start + 16].map { $0 }, "at \(start)")
      shown += 1
    }
    #expect(shown == 8)
  }

  private static func trimmed(_ text: String) -> String {
    String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }
}
