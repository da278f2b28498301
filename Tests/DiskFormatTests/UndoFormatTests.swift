import DiskFormat
import IO
import TestSupport
import Testing

@Suite("DiskFormat: the undo region")
struct UndoFormatTests {
  private func header(timelineCount: Int) -> UndoHeader {
    var samples = Samples(seed: UInt64(timelineCount) + 1)
    return UndoHeader(
      arrayID: samples.identifier(), sequence: 7, undoID: samples.identifier(),
      isOpen: timelineCount % 2 == 0, durableGroupCount: 12,
      position: StreamPosition(number: 5703, chain: 0x89ab_cdef),
      timelines: (0..<timelineCount).map {
        Timeline(
          timelineID: samples.identifier(), start: StreamPosition(number: UInt64($0), chain: 3))
      })
  }

  private func group(of header: UndoHeader, entryCount: Int) -> UndoGroup {
    UndoGroup(
      arrayID: header.arrayID, undoID: header.undoID, number: 3,
      entries: (0..<entryCount).map {
        UndoGroup.Entry(block: UInt64($0) << 33, checksum: $0 % 3 == 0 ? nil : UInt32($0))
      })
  }

  @Test("a header reads as it was written", arguments: [0, 1, 16])
  func headers(timelineCount: Int) throws {
    let memory = AlignedMemory.ofTest(4096)
    let header = header(timelineCount: timelineCount)
    header.encode(into: memory.buffer)
    #expect(try UndoHeader.decode(memory.buffer) == header)
  }

  @Test("a group reads as it was written", arguments: [0, 1, 252])
  func groups(entryCount: Int) throws {
    let memory = AlignedMemory.ofTest(4096)
    let header = header(timelineCount: 1)
    let group = group(of: header, entryCount: entryCount)
    group.encode(into: memory.buffer)
    #expect(try UndoGroup.decode(memory.buffer, of: header, number: 3) == group)
    #expect(group.byteCount == 4096 * (1 + group.entries.count { $0.checksum != nil }))
  }

  @Test("each flipped bit is seen, in a header and in a group")
  func flips() {
    let memory = AlignedMemory.ofTest(4096)
    let buffer = memory.buffer
    let header = header(timelineCount: 2)
    header.encode(into: buffer)
    for bit in stride(from: 0, to: 4096 * 8, by: 7) {
      buffer.flipBit(bit)
      #expect(throws: FormatError.self) { try UndoHeader.decode(buffer) }
      buffer.flipBit(bit)
    }
    group(of: header, entryCount: 9).encode(into: buffer)
    for bit in stride(from: 0, to: 4096 * 8, by: 7) {
      buffer.flipBit(bit)
      #expect(throws: FormatError.self) { try UndoGroup.decode(buffer, of: header, number: 3) }
      buffer.flipBit(bit)
    }
  }

  @Test("a group of another copy, or of another place, is refused")
  func misplaced() {
    let memory = AlignedMemory.ofTest(4096)
    let buffer = memory.buffer
    var header = header(timelineCount: 2)
    group(of: header, entryCount: 9).encode(into: buffer)
    #expect(throws: FormatError.self) { try UndoGroup.decode(buffer, of: header, number: 4) }
    header.undoID = header.arrayID
    #expect(throws: FormatError.self) { try UndoGroup.decode(buffer, of: header, number: 3) }
  }

  @Test("the fields tile header and descriptor, and the page has each in its place")
  func fields() throws {
    for (heading, fields, byteCount) in [
      ("Header", UndoHeader.Field.allCases.map(row), UndoHeader.byteCount),
      ("Group", UndoGroup.Field.allCases.map(row), UndoGroup.descriptorBytes),
    ] {
      #expect(FieldRow.tile(fields, byteCount: byteCount), "\(heading)")
      #expect(try Documents.fieldRows("undo-region.md", "### \(heading)") == fields, "\(heading)")
    }
  }

  private func row(_ field: some FormatField) -> FieldRow {
    FieldRow(name: field.rawValue, offset: field.offset, byteCount: field.byteRange.count)
  }
}
