package import DiskFormat
package import IO
internal import Parity

/// What a frame of the replication stream says; its number stands in the head.
package enum StreamFrameKind: UInt8, CaseIterable, Sendable {
  case hello = 1
  case chainAnswer = 2
  case records = 3
  case acknowledgement = 4
  case flushRequest = 5
  case keepAlive = 6
  case refusal = 7
  case standing = 8
  case standingNoted = 9
  case copyBegin = 10
  case copyBlocks = 11
  case copyEnd = 12
  case checksumsWanted = 13
  case checksums = 14
  case handOver = 15
  case blocksWanted = 16
  case blocks = 17

  /// Whether blocks may follow the body.
  package var hasPayload: Bool { self == .records || self == .copyBlocks || self == .blocks }
}

/// The 64 bytes in front of each frame's body, which its payload follows.
package struct StreamFrameHead: Equatable, Sendable {
  package static let version: UInt32 = 2
  package static let byteCount = 64
  package static let bodyBytesMax = 256 << 10
  package static let payloadBlocksMax = 1024

  /// The timeline in which the sender said this.
  package var timelineID: Identifier
  /// Counts the frames of one direction of one connection, from 1 on.
  package var frameNumber: UInt64
  package var kind: StreamFrameKind
  /// A multiple of 8.
  package var bodyByteCount: Int
  package var payloadBlockCount: Int

  package init(
    timelineID: Identifier, frameNumber: UInt64, kind: StreamFrameKind, bodyByteCount: Int,
    payloadBlockCount: Int = 0
  ) {
    self.timelineID = timelineID
    self.frameNumber = frameNumber
    self.kind = kind
    self.bodyByteCount = bodyByteCount
    self.payloadBlockCount = payloadBlockCount
  }

  /// The bytes behind the body.
  package var payloadByteCount: Int { payloadBlockCount * 4096 }

  /// The parts of the head.
  package enum Field: String, FormatField {
    case magic, version, checksum, timelineID, frameNumber, bodyByteCount, payloadBlockCount
    case kind, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .magic: 0..<8
      case .version: 8..<12
      case .checksum: 12..<16
      case .timelineID: 16..<32
      case .frameNumber: 32..<40
      case .bodyByteCount: 40..<44
      case .payloadBlockCount: 44..<48
      case .kind: 48..<49
      case .reserved: 49..<64
      }
    }
  }

  private static let magic = Preamble.magic("ASHLARRS")

  // MARK: Writing

  /// Writes the head of a frame whose body is written; the checksum covers both.
  ///
  /// - Precondition: `head` has 64 bytes, `body` as many as this says, and `decode` accepts it.
  package func encode(into head: IOBuffer, body: IOBuffer) {
    precondition(body.byteCount == bodyByteCount)
    let bytes = head.prefix(Self.byteCount)
    requireValid { () throws(FormatError) in try validate() }
    bytes.fill(with: 0)
    bytes.store(Self.magic, Field.magic)
    bytes.store(UInt64(Self.version), Field.version)
    bytes.storeIdentifier(timelineID, at: Field.timelineID.offset)
    bytes.store(frameNumber, Field.frameNumber)
    bytes.store(UInt64(truncatingIfNeeded: bodyByteCount), Field.bodyByteCount)
    bytes.store(UInt64(truncatingIfNeeded: payloadBlockCount), Field.payloadBlockCount)
    bytes.store(UInt64(kind.rawValue), Field.kind)
    bytes.store(UInt64(Self.checksum(head: bytes, body: body)), Field.checksum)
  }

  /// CRC32C of head and body, with the bytes of the checksum as zeros.
  private static func checksum(head: IOBuffer, body: IOBuffer) -> UInt32 {
    var crc = CRC32C(continuing: Preamble.checksum(of: head))
    crc.update(body.bytes)
    return crc.value
  }

  // MARK: Reading

  /// Reads the head, before anything else of the frame is there.
  ///
  /// Whatever it says is within bounds, so that memory can be taken for body and payload; whether
  /// it is what the peer wrote is for `verifyChecksum` to say.
  package static func decode(_ head: IOBuffer) throws(FormatError) -> StreamFrameHead {
    guard head.byteCount >= byteCount else {
      throw .field(name: "byteCount", value: UInt64(truncatingIfNeeded: head.byteCount))
    }
    try Preamble.verifyKind(head, magic: magic, version: version)
    let rawKind = head.loadUInt8(at: Field.kind.offset)
    guard let kind = StreamFrameKind(rawValue: rawKind) else {
      throw .field(name: Field.kind.rawValue, value: UInt64(rawKind))
    }
    try head.expectZeros(Field.reserved)
    let decoded = StreamFrameHead(
      timelineID: head.loadIdentifier(at: Field.timelineID.offset),
      frameNumber: head.load(Field.frameNumber), kind: kind,
      bodyByteCount: Int(head.loadUInt32(at: Field.bodyByteCount.offset)),
      payloadBlockCount: Int(head.loadUInt32(at: Field.payloadBlockCount.offset)))
    try decoded.validate()
    return decoded
  }

  /// Whether head and body are those that were sent.
  ///
  /// - Precondition: `head` has 64 bytes.
  package static func verifyChecksum(head: IOBuffer, body: IOBuffer) throws(FormatError) {
    let stored = head.loadUInt32(at: Field.checksum.offset)
    let computed = checksum(head: head.prefix(byteCount), body: body)
    guard stored == computed else { throw .checksum(stored: stored, computed: computed) }
  }

  private func validate() throws(FormatError) {
    guard frameNumber > 0 else { throw .field(Field.frameNumber, frameNumber) }
    guard bodyByteCount >= 0, bodyByteCount <= Self.bodyBytesMax, bodyByteCount % 8 == 0 else {
      throw .field(Field.bodyByteCount, UInt64(truncatingIfNeeded: bodyByteCount))
    }
    guard payloadBlockCount >= 0,
      payloadBlockCount <= (kind.hasPayload ? Self.payloadBlocksMax : 0)
    else {
      throw .field(Field.payloadBlockCount, UInt64(truncatingIfNeeded: payloadBlockCount))
    }
  }
}
