import NBDWire
import Testing

private let cookie: UInt64 = 0x0102_0304_0506_0708
private let cookieBytes: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
private let chunkMagic: [UInt8] = [0x66, 0x8e, 0x33, 0xef]

@Suite("NBDWire: encoding replies")
struct ReplyHeaderTests {
  @Test("NBD 44: a simple reply: magic, error, cookie")
  func simple() {
    let success = written {
      ReplyHeader.encodeSimple(error: nil, cookie: cookie, into: &$0, at: 0)
    }
    #expect(success == [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0] + cookieBytes)
    let failure = written {
      ReplyHeader.encodeSimple(error: .noSpace, cookie: cookie, into: &$0, at: 0)
    }
    #expect(failure == [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 28] + cookieBytes)
  }

  @Test("NBD 61: the eight errors have the numbers of the protocol")
  func errors() {
    #expect(NBDErrorCode.allCases.map(\.rawValue) == [1, 5, 12, 22, 28, 75, 95, 108])
    #expect(NBDErrorCode.received(0) == nil)
    #expect(NBDErrorCode.received(75) == .overflow)
    #expect(NBDErrorCode.received(7) == .invalid)
    #expect(NBDErrorCode.received(.max) == .invalid)
  }

  @Test("NBD 47: DONE is bit 0 of a chunk's flags, and NONE has it with length 0")
  func none() {
    let bytes = written {
      ReplyHeader.encodeChunk(
        type: .none, isLast: true, cookie: cookie, payloadByteCount: 0, into: &$0, at: 0)
    }
    #expect(bytes == chunkMagic + [0, 1, 0, 0] + cookieBytes + [0, 0, 0, 0])
  }

  @Test("every chunk type has its number, and each header its flags and length")
  func chunks() {
    for type in ChunkType.allCases where type != .none {
      for isLast in [false, true] {
        let bytes = written {
          ReplyHeader.encodeChunk(
            type: type, isLast: isLast, cookie: cookie, payloadByteCount: 0xA1B2_C3D4, into: &$0,
            at: 0)
        }
        #expect(
          bytes == chunkMagic + [0, isLast ? 1 : 0] + big(UInt64(type.rawValue), 2) + cookieBytes
            + [0xA1, 0xB2, 0xC3, 0xD4])
      }
    }
    #expect(ChunkType.allCases.map(\.rawValue) == [0, 1, 2, 5, 32769, 32770])
  }

  @Test("NBD 48: a data chunk: length is data plus 8, then the offset")
  func data() {
    let bytes = written {
      ReplyHeader.encodeDataChunk(
        offsetBytes: 1 << 40, dataByteCount: 1, isLast: false, cookie: cookie, into: &$0, at: 0)
    }
    #expect(
      bytes == chunkMagic + [0, 0, 0, 1] + cookieBytes + [0, 0, 0, 9] + big(1 << 40, 8))
    #expect(bytes.count == ReplyHeader.dataChunkByteCount)
  }

  @Test("NBD 48: a hole chunk: length 12, offset, size")
  func hole() {
    let bytes = written {
      ReplyHeader.encodeHoleChunk(
        offsetBytes: 4096, holeByteCount: .max, isLast: true, cookie: cookie, into: &$0, at: 0)
    }
    #expect(
      bytes == chunkMagic + [0, 1, 0, 2] + cookieBytes + [0, 0, 0, 12] + big(4096, 8)
        + [255, 255, 255, 255])
    #expect(bytes.count == ReplyHeader.holeChunkByteCount)
  }

  @Test("NBD 49: an error chunk: length at least 6, error, text")
  func error() {
    let bare = written {
      ReplyHeader.encodeErrorChunk(error: .inputOutput, cookie: cookie, into: &$0, at: 0)
    }
    #expect(
      bare == chunkMagic + [0, 1, 0x80, 1] + cookieBytes + [0, 0, 0, 6] + [0, 0, 0, 5] + [0, 0])
    #expect(bare.count == ReplyHeader.errorChunkByteCount())
    let texted = written {
      ReplyHeader.encodeErrorChunk(
        error: .invalid, message: "past the end", isLast: false, cookie: cookie, into: &$0, at: 0)
    }
    #expect(
      texted == chunkMagic + [0, 0, 0x80, 1] + cookieBytes + [0, 0, 0, 18] + [0, 0, 0, 22]
        + [0, 12] + Array("past the end".utf8))
    #expect(texted.count == ReplyHeader.errorChunkByteCount(message: "past the end"))
  }

  @Test("NBD 49: an error chunk with an offset: length at least 14, the offset behind the text")
  func errorOffset() {
    let bytes = written {
      ReplyHeader.encodeErrorOffsetChunk(
        error: .inputOutput, failedOffsetBytes: 8192, message: "bad", cookie: cookie, into: &$0,
        at: 0)
    }
    #expect(
      bytes == chunkMagic + [0, 1, 0x80, 2] + cookieBytes + [0, 0, 0, 17] + [0, 0, 0, 5]
        + [0, 3] + Array("bad".utf8) + big(8192, 8))
    #expect(bytes.count == ReplyHeader.errorOffsetChunkByteCount(message: "bad"))
  }

  @Test("NBD 66: a status chunk: length 4 + 8n, context, extents")
  func blockStatus() {
    let bytes = written {
      var count = ReplyHeader.encodeBlockStatusHeader(
        contextIdentifier: 1, extentCount: 2, isLast: true, cookie: cookie, into: &$0, at: 0)
      count += ReplyHeader.encodeBlockStatusExtent(
        byteCount: 4096, statusFlags: AllocationStatus([.hole, .zero]).rawValue, into: &$0,
        at: count)
      count += ReplyHeader.encodeBlockStatusExtent(
        byteCount: .max, statusFlags: 0, into: &$0, at: count)
      return count
    }
    #expect(
      bytes == chunkMagic + [0, 1, 0, 5] + cookieBytes + [0, 0, 0, 20] + [0, 0, 0, 1]
        + big(4096, 4) + [0, 0, 0, 3] + [255, 255, 255, 255] + [0, 0, 0, 0])
  }

  @Test("NBD 67: 2^20 extents are the most, and their length is right")
  func manyExtents() {
    let bytes = written {
      ReplyHeader.encodeBlockStatusHeader(
        contextIdentifier: 1, extentCount: 1 << 20, isLast: true, cookie: 0, into: &$0, at: 0)
    }
    #expect(number(bytes[16..<20]) == 4 + 8 << 20)
  }

  @Test("an offset into the buffer is kept, and nothing else is written")
  func offsets() {
    let bytes = written {
      let start = ReplyHeader.encodeSimple(error: nil, cookie: 1, into: &$0, at: 0)
      return start
        + ReplyHeader.encodeDataChunk(
          offsetBytes: 0, dataByteCount: 512, isLast: true, cookie: 2, into: &$0, at: start)
    }
    #expect(bytes.count == 16 + 28)
    #expect(number(bytes[8..<16]) == 1)
    #expect(Array(bytes[16..<20]) == chunkMagic)
    #expect(number(bytes[24..<32]) == 2)
  }

  @Test("what the protocol forbids traps")
  func forbidden() async {
    await #expect(processExitsWith: .failure) {
      _ = written {
        ReplyHeader.encodeChunk(
          type: .none, isLast: false, cookie: 0, payloadByteCount: 0, into: &$0, at: 0)
      }
    }
    await #expect(processExitsWith: .failure) {
      _ = written {
        ReplyHeader.encodeDataChunk(
          offsetBytes: 0, dataByteCount: 0, isLast: true, cookie: 0, into: &$0, at: 0)
      }
    }
    await #expect(processExitsWith: .failure) {
      _ = written {
        ReplyHeader.encodeDataChunk(
          offsetBytes: 0, dataByteCount: .max - 7, isLast: true, cookie: 0, into: &$0, at: 0)
      }
    }
    await #expect(processExitsWith: .failure) {
      _ = written {
        ReplyHeader.encodeHoleChunk(
          offsetBytes: 0, holeByteCount: 0, isLast: true, cookie: 0, into: &$0, at: 0)
      }
    }
    await #expect(processExitsWith: .failure) {
      _ = written {
        ReplyHeader.encodeBlockStatusHeader(
          contextIdentifier: 1, extentCount: 0, isLast: true, cookie: 0, into: &$0, at: 0)
      }
    }
    await #expect(processExitsWith: .failure) {
      _ = written(capacity: 15) {
        ReplyHeader.encodeSimple(error: nil, cookie: 0, into: &$0, at: 0)
      }
    }
  }
}
