import DiskFormat
import Geometry
import IO
import Units
import Volumes

// Long requests with whole rows in their middle: docs/upkeep.md, section 6.
extension ArrayEngine {
  /// What of a long request goes home directly.
  func directRun(inside range: ByteRange) -> BlockRun? {
    // What replicas have to be sent takes the log.
    guard membership.replication.role == .alone, keeper.directBlockCountMax > 0 else { return nil }
    return geometry.wholeRows(inside: range)
  }

  /// Takes the whole rows home, and the rest to the log meanwhile.
  ///
  /// Where the next request completes the rows behind, these go home as well.
  func writeDirectly(
    _ range: ByteRange, from buffer: IOBuffer, _ run: BlockRun
  ) async throws(ArrayError) {
    guard let blocks = range.alignedOutside(4096) else { return }
    // One hold for all of it: who held a part and waited for another could wait for ever. Nobody logs
    // anything of these blocks meanwhile: what the log has of them is from before.
    let hold = await reservations.reserve(blocks, isExclusive: true)
    defer { reservations.release(hold) }
    // A member may have gone while it waited.
    let blockCountMax = keeper.directBlockCountMax
    guard blockCountMax > 0 else {
      return try await writeInPieces(range, from: buffer, isHeld: true)
    }
    func part(_ part: ByteRange) -> IOBuffer {
      buffer.slice(Int(part.offsetBytes - range.offsetBytes), Int(part.byteCount))
    }
    let middle = ByteRange(from: run.firstBlock * 4096, to: run.endBlock * 4096)
    let before = ByteRange(from: range.offsetBytes, to: middle.offsetBytes)
    let behind = ByteRange(from: middle.endBytes, to: range.endBytes)
    // In the order of the blocks. The tail is offered only to those who come after this one.
    let mayOfferTail = keeper.hasDirectWork
    let boundary = wholeBlocks(before).flatMap {
      keeper.requestBoundaryStripe($0, payload: part(before))
    }
    var requests = directRequests(run, UInt64(blockCountMax)) { part($0) }
    for request in requests { keeper.requestDirectWrite(request) }
    let tail = wholeBlocks(behind).flatMap {
      mayOfferTail ? keeper.offerDirectTail($0, payload: part(behind)) : nil
    }
    if let boundary { requests.append(boundary) }
    var failure: ArrayError?
    if boundary == nil { failure = await logHeld(before, part(before), after: failure) }
    // The payload is in use until each has ended, whatever became of the rest.
    if let tail, case .completed(let request) = await tail.wait() {
      requests.append(request)
    } else {
      failure = await logHeld(behind, part(behind), after: failure)
    }
    for request in requests where await request.wait() == .refused {
      // Of a boundary stripe the other has its own part.
      let own = ByteRange(
        from: max(request.run.firstBlock * 4096, range.offsetBytes),
        to: min(request.run.endBlock * 4096, range.endBytes))
      failure = await logHeld(own, part(own), after: failure)
    }
    if let failure { throw failure }
  }

  /// Logs a part of what is held, unless something went wrong before.
  ///
  /// - Returns: what went wrong first.
  private func logHeld(
    _ part: ByteRange, _ content: IOBuffer, after failure: ArrayError?
  ) async -> ArrayError? {
    guard !part.isEmpty, failure == nil else { return failure }
    do throws(ArrayError) {
      try await writeInPieces(part, from: content, isHeld: true)
      return nil
    } catch {
      return error
    }
  }

  /// A range as blocks; nil when there are none, or not only whole ones.
  private func wholeBlocks(_ range: ByteRange) -> BlockRun? {
    guard !range.isEmpty, range.offsetBytes % 4096 == 0, range.endBytes % 4096 == 0 else {
      return nil
    }
    return BlockRun(
      firstBlock: range.offsetBytes / 4096, blockCount: range.byteCount / 4096)
  }

  /// Requests of so many blocks as one round takes.
  func directRequests(
    _ run: BlockRun, _ most: UInt64, _ content: (ByteRange) -> IOBuffer
  ) -> [DirectRequest] {
    var requests: [DirectRequest] = []
    var first = run.firstBlock
    while first < run.endBlock {
      let end = min(run.endBlock, first + most)
      requests.append(
        DirectRequest(
          BlockRun(firstBlock: first, blockCount: end - first),
          payload: content(ByteRange(from: first * 4096, to: end * 4096))))
      first = end
    }
    return requests
  }
}
