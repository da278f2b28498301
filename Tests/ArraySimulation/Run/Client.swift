import IO
import Simulator
import Units
import Volumes

/// One client of a device: a request at a time, and word of each to the model.
struct Client: Sendable {
  let device: any DeviceUnderTest
  let model: DeviceModel
  let machine: SimulatedMachine
  let tally: Tally
  /// Errors are no violation.
  let allowsErrors: Bool
  let memory: AlignedMemory

  /// - Returns: false when there is no point in going on.
  func perform(_ request: ClientRequest) async -> Bool {
    guard model.violation == nil else { return false }
    tally.requestCount += 1
    let begun = machine.nowNanoseconds
    defer {
      tally.longestNanoseconds = max(tally.longestNanoseconds, machine.nowNanoseconds - begun)
    }
    switch request {
    case .read(let sectors): return await read(sectors)
    case .write(let sectors, let durably):
      let change = model.beginWrite(sectors)
      let buffer = memory.buffer.prefix(sectors.count * SectorStamp.byteCount)
      model.fill(buffer, for: change)
      return await end(change, durably, "write") { () async throws(VolumeError) in
        try await device.write(bytes(sectors), from: buffer, durably: durably)
      }
    case .zero(let sectors, let keepAllocated, let durably):
      return await end(model.beginZeroes(sectors), durably, "zeroing") {
        () async throws(VolumeError) in
        try await device.writeZeroes(
          bytes(sectors), keepAllocated: keepAllocated, durably: durably)
      }
    case .trim(let sectors, let durably):
      return await end(model.beginTrim(sectors), durably, "trim") { () async throws(VolumeError) in
        try await device.trim(bytes(sectors), durably: durably)
      }
    case .flush: return await flush()
    case .pause(let nanoseconds):
      await machine.sleep(nanoseconds: nanoseconds)
      return true
    }
  }

  /// Reads sectors and has them judged.
  func read(_ sectors: Range<Int>) async -> Bool {
    let buffer = memory.buffer.prefix(sectors.count * SectorStamp.byteCount)
    let begin = model.beginRead()
    do throws(VolumeError) {
      try await device.read(bytes(sectors), into: buffer)
    } catch {
      guard model.excuses(sectors), error != .stopped else {
        return refused("read of sectors \(sectors)", error)
      }
      return await readApart(sectors)
    }
    return model.endRead(sectors, buffer, begin: begin) == nil
  }

  /// Some block of it may be unreadable: the others may not.
  private func readApart(_ sectors: Range<Int>) async -> Bool {
    tally.errorCount += 1
    guard sectors.lowerBound / 8 != (sectors.upperBound - 1) / 8 else { return true }
    var start = sectors.lowerBound
    while start < sectors.upperBound {
      let end = min(sectors.upperBound, (start / 8 + 1) * 8)
      guard await read(start..<end) else { return false }
      start = end
    }
    return true
  }

  /// Reads everything; where errors are allowed, block by block, so that each is judged.
  func readAll() async -> Bool {
    let step = allowsErrors ? 8 : 128
    for start in stride(from: 0, to: model.sectorCount, by: step) {
      guard await read(start..<min(start + step, model.sectorCount)) else { return false }
    }
    return true
  }

  private func flush() async -> Bool {
    let begin = model.beginFlush()
    do throws(VolumeError) { try await device.flush() } catch {
      model.endFlush(begin, succeeded: false)
      return refused("flush", error)
    }
    model.endFlush(begin, succeeded: true)
    return true
  }

  private func end(
    _ change: DeviceModel.Change, _ durably: Bool, _ what: String,
    _ body: () async throws(VolumeError) -> Void
  ) async -> Bool {
    do throws(VolumeError) { try await body() } catch {
      model.fail(change)
      // A part of a block that cannot be read cannot be changed.
      if model.excuses(change.sectors), error != .stopped {
        tally.errorCount += 1
        return true
      }
      return refused("\(what) of sectors \(change.sectors)", error)
    }
    model.acknowledge(change, durably: durably)
    return true
  }

  private func refused(_ what: String, _ error: VolumeError) -> Bool {
    tally.errorCount += 1
    guard allowsErrors else {
      model.report(
        Violation(.rightOrError, "a \(what) failed, which no fault excuses: \(error)"))
      return false
    }
    return error != .stopped
  }

  private func bytes(_ sectors: Range<Int>) -> ByteRange {
    ByteRange(from: UInt64(sectors.lowerBound) * 512, to: UInt64(sectors.upperBound) * 512)
  }
}

/// What happened in a history, to be added up.
package final class Tally: @unchecked Sendable {
  package var requestCount = 0
  package var errorCount = 0
  package var lifeCount = 0
  package var crashCount = 0
  package var refusalCount = 0
  package var forcedCount = 0
  /// Lives that ended without an answer to every request, where that is allowed.
  package var unansweredCount = 0
  /// Sectors read that were garbage, and excused: see `DeviceModel.isBeyondJudgement`.
  package var adoptedCount = 0
  /// Operations of disks.
  package var operationCount = 0
  /// Faults that the media really did.
  package var injectedCount = 0
  package var longestNanoseconds: UInt64 = 0
}
