import DiskFormat
import IO
import RAID

/// Frames over a stream: one task sends, one receives.
///
/// Verifies each frame as it comes: magic, bounds, checksum, order and payload.
final class FrameChannel<Stream: ByteStream> {
  let stream: Stream
  private let clock: () -> UInt64
  private var sentCount: UInt64 = 0
  private var receivedCount: UInt64 = 0
  /// When something was received or sent last.
  private(set) var receivedNanoseconds: UInt64
  private(set) var sentNanoseconds: UInt64
  private let sendMemory: AlignedMemory
  /// For a short frame that goes with another.
  private let requestMemory: AlignedMemory
  private let receiveMemory: AlignedMemory
  private let sendPieces = ScatterList(capacity: 64)
  private let receivePieces = ScatterList(capacity: 2)
  /// What came behind what was asked for: small frames cost one call.
  private let aheadMemory: AlignedMemory
  private var ahead = 0..<0

  private static var aheadBytesMax: Int { 64 << 10 }

  init?(_ stream: Stream, clock: @escaping () -> UInt64) {
    let frameBytes = StreamFrameHead.byteCount + StreamFrameHead.bodyBytesMax
    guard let sendMemory = AlignedMemory(byteCount: (frameBytes + 4095) & ~4095),
      let receiveMemory = AlignedMemory(byteCount: (frameBytes + 4095) & ~4095),
      let aheadMemory = AlignedMemory(byteCount: Self.aheadBytesMax),
      let requestMemory = AlignedMemory(byteCount: 4096)
    else { return nil }
    self.requestMemory = requestMemory
    self.aheadMemory = aheadMemory
    self.stream = stream
    self.clock = clock
    self.sendMemory = sendMemory
    self.receiveMemory = receiveMemory
    receivedNanoseconds = clock()
    sentNanoseconds = clock()
  }

  /// An empty place, where a frame has no payload.
  var noPayload: IOBuffer { receiveMemory.buffer.prefix(0) }

  // MARK: Sending

  /// Sends a frame without payload.
  func send(_ message: StreamMessage, timelineID: Identifier) async throws(SessionEnd) {
    try await send(message, payload: nil, timelineID: timelineID)
  }

  /// Sends a frame; the payload is as long as the message says.
  func send(
    _ message: StreamMessage, payload: IOBuffer?, timelineID: Identifier
  ) async throws(SessionEnd) {
    sentCount += 1
    let buffer = sendMemory.buffer
    let count = message.encode(into: buffer, timelineID: timelineID, frameNumber: sentCount)
    sendPieces.removeAll()
    sendPieces.append(buffer.prefix(count))
    if let payload { sendPieces.append(payload) }
    try await sendAll()
  }

  /// Sends records from where they lie, and in one go with them what is asked behind them.
  func send(
    _ batch: StreamBatch, timelineID: Identifier, then request: FlushRequest? = nil
  ) async throws(SessionEnd) {
    sentCount += 1
    let buffer = sendMemory.buffer
    let body = buffer.slice(StreamFrameHead.byteCount, StreamFrameHead.bodyBytesMax)
    var encoder = StreamRecordsEncoder(body, behind: batch.start)
    var payload: [Range<Int>] = []
    var blockCount = 0
    for record in batch.records {
      guard !record.isTrim else {
        encoder.appendTrim(record.run)
        continue
      }
      encoder.appendWrite(record.run) { batch.checksums[record.payloadIndex + $0] }
      let end = record.payloadIndex + Int(record.run.blockCount)
      blockCount += Int(record.run.blockCount)
      if let last = payload.last, last.upperBound == record.payloadIndex {
        payload[payload.count - 1] = last.lowerBound..<end
      } else {
        payload.append(record.payloadIndex..<end)
      }
    }
    let bodyByteCount = encoder.finish()
    let head = StreamFrameHead(
      timelineID: timelineID, frameNumber: sentCount, kind: .records,
      bodyByteCount: bodyByteCount, payloadBlockCount: blockCount)
    head.encode(into: buffer, body: body.prefix(bodyByteCount))
    sendPieces.removeAll()
    sendPieces.append(buffer.prefix(StreamFrameHead.byteCount + bodyByteCount))
    for range in payload {
      sendPieces.append(batch.payload.slice(range.lowerBound * 4096, range.count * 4096))
      if sendPieces.vacantPieceCount == 0 { try await sendAll() }
    }
    if let request {
      sentCount += 1
      let place = requestMemory.buffer
      let count = StreamMessage.flushRequest(request).encode(
        into: place, timelineID: timelineID, frameNumber: sentCount)
      sendPieces.append(place.prefix(count))
    }
    try await sendAll()
    withExtendedLifetime(batch) {}
  }

  private func sendAll() async throws(SessionEnd) {
    do throws(StreamError) {
      try await stream.send(sendPieces)
    } catch {
      throw SessionEnd(error)
    }
    sendPieces.removeAll()
    sentNanoseconds = clock()
  }

  // MARK: Receiving

  /// A frame as it came.
  struct Frame {
    var timelineID: Identifier
    var message: StreamMessage
    var payload: PayloadSlot?
  }

  /// Receives one frame whole, and verifies it.
  ///
  /// `makeSlot`: memory for so many bytes of payload; nil when there is none.
  func receive(
    _ makeSlot: (Int) async -> PayloadSlot?
  ) async throws(SessionEnd) -> Frame {
    let buffer = receiveMemory.buffer
    let headBytes = buffer.prefix(StreamFrameHead.byteCount)
    try await fill(headBytes)
    let head: StreamFrameHead
    do throws(FormatError) {
      head = try StreamFrameHead.decode(headBytes)
    } catch {
      throw .protocolError("a frame's head: \(error)")
    }
    receivedCount += 1
    guard head.frameNumber == receivedCount else {
      throw .protocolError("frame \(head.frameNumber) instead of \(receivedCount)")
    }
    let body = buffer.slice(StreamFrameHead.byteCount, head.bodyByteCount)
    try await fill(body)
    let message: StreamMessage
    do throws(FormatError) {
      message = try StreamMessage.verify(head: headBytes, body: body).message
    } catch {
      throw .protocolError("frame \(receivedCount): \(error)")
    }
    guard head.payloadByteCount > 0 else {
      return Frame(timelineID: head.timelineID, message: message)
    }
    guard let slot = await makeSlot(head.payloadByteCount) else { throw .lost("out of memory") }
    let payload = slot.buffer.prefix(head.payloadByteCount)
    try await fill(payload)
    let bad: UInt64? =
      switch message {
      case .records(let records): records.firstBadBlock(payload)
      case .copyBlocks(let copy): copy.firstBadBlock(payload)
      case .blocks(let blocks): blocks.firstBadBlock(payload)
      default: nil
      }
    if let bad { throw .protocolError("block \(bad) does not have its checksum") }
    return Frame(timelineID: head.timelineID, message: message, payload: slot)
  }

  private func fill(_ target: IOBuffer) async throws(SessionEnd) {
    let inbox = aheadMemory.buffer
    let ready = min(ahead.count, target.byteCount)
    if ready > 0 { target.prefix(ready).copy(from: inbox.slice(ahead.lowerBound, ready)) }
    ahead = ahead.lowerBound + ready..<ahead.upperBound
    var rest = target.dropFirst(ready)
    while rest.byteCount > 0 {
      receivePieces.removeAll()
      receivePieces.append(rest)
      receivePieces.append(inbox)
      let count: Int
      do throws(StreamError) {
        count = try await stream.receive(into: receivePieces)
      } catch {
        throw SessionEnd(error)
      }
      receivedNanoseconds = clock()
      ahead = 0..<max(0, count - rest.byteCount)
      rest = rest.dropFirst(min(count, rest.byteCount))
    }
  }
}

/// Memory for the payload of one frame.
final class PayloadSlot {
  private let memory: AlignedMemory
  var buffer: IOBuffer { memory.buffer }
  /// It is free when so many records have been published.
  var neededThrough: UInt64 = 0

  init?(byteCount: Int) {
    guard let memory = AlignedMemory(byteCount: byteCount) else { return nil }
    self.memory = memory
  }
}

extension SessionEnd {
  init(_ error: StreamError) {
    switch error {
    case .closedByPeer: self = .lost("it closed the connection")
    case .broken(let error): self = .lost("the connection broke (\(error))")
    }
  }
}
