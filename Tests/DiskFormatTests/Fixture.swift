import IO
import TestSupport
import Testing

/// A structure of whole blocks from `Fixtures`.
struct Fixture {
  let lines: [String]
  let memory: AlignedMemory

  init(_ dump: HexDump) {
    lines = dump.lines
    memory = AlignedMemory.holding(dump.bytes)
    #expect(dump.bytes.count % 4096 == 0)
  }

  var bytes: IOBuffer { memory.buffer }
}

extension Documents {
  static func fixture(_ name: String) throws -> Fixture {
    Fixture(try dump("DiskFormatTests", name))
  }
}
