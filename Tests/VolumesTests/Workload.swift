import IO
import Simulator
import TestSupport
import Units
import Volumes

/// Clients of one volume that read, write, trim and clear at random, many at once, and hold every
/// answer against the model.
final class Workload<HostedVolume: Volume>: @unchecked Sendable {
  struct Wrong: Error, CustomStringConvertible {
    let description: String
  }

  let model: SectorModel
  /// Whether a failed request is part of the plan.
  var allowsErrors = false
  /// No new requests once this holds.
  var isOver: @Sendable () -> Bool = { false }
  /// Offsets and lengths are multiples of it.
  var granularity: UInt64 = 1
  private(set) var requestCount = 0
  private(set) var errors: [VolumeError] = []
  private(set) var wrong: Wrong?
  private let machine: SimulatedMachine
  private let host: VolumeHost<HostedVolume>
  private let patterns = Patterns.small
  private let lengthMax: UInt64

  init(
    _ machine: SimulatedMachine, _ host: VolumeHost<HostedVolume>, _ model: SectorModel,
    lengthMax: UInt64 = 12_000
  ) {
    self.machine = machine
    self.host = host
    self.model = model
    self.lengthMax = min(lengthMax, model.byteCount)
  }

  func run(clientCount: Int, requestsPerClient: Int) async throws {
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<clientCount {
        group.addTask(executorPreference: self.machine) {
          for _ in 0..<requestsPerClient where self.wrong == nil && !self.isOver() {
            await self.step()
          }
        }
      }
    }
    if let wrong { throw wrong }
  }

  private func draw(_ bound: UInt64) -> UInt64 { machine.randomNumber() % bound }

  private func drawRange() -> ByteRange {
    // Half of them meet in a small part, so that they overlap.
    let area = draw(2) == 0 ? min(model.byteCount, 16 << 10) : model.byteCount
    var length = draw(3) == 0 ? 1 + draw(700) : 1 + draw(lengthMax)
    length = max(granularity, min(length, area) / granularity * granularity)
    var offset = draw(area - length + 1)
    if draw(3) == 0 { offset = offset / 4096 * 4096 }
    return ByteRange(
      from: offset / granularity * granularity, to: offset / granularity * granularity + length)
  }

  private func step() async {
    let range = drawRange()
    requestCount += 1
    let number = requestCount
    let misalignment = draw(2) == 0 ? 0 : Int(draw(600))
    let durably = draw(8) == 0
    switch draw(16) {
    case 0..<6:
      let read = model.beginRead(range)
      let result = await outcome { () async throws(VolumeError) in
        try await host.read(range, misalignment: misalignment)
      }
      note(result.failure)
      if let sector = model.endRead(read, range, try? result.get()) {
        wrong = Wrong(
          description: "request \(number) read \(range.offsetBytes)+\(range.byteCount) and found "
            + "in sector \(sector) what was never to be there")
      }
    case 6..<12:
      let bytes = patterns.bytes(number, at: range.offsetBytes, Int(range.byteCount))
      await change(.write(bytes), range) { () async throws(VolumeError) in
        try await host.write(range, bytes, durably: durably, misalignment: misalignment)
      }
    case 12:
      await change(.maybeZero, range) { () async throws(VolumeError) in
        try await host.trim(range, durably: durably)
      }
    case 13, 14:
      let keepAllocated = draw(2) == 0
      await change(.zero, range) { () async throws(VolumeError) in
        try await host.writeZeroes(range, keepAllocated: keepAllocated, durably: durably)
      }
    default:
      note(await outcome { () async throws(VolumeError) in try await host.flush() }.failure)
    }
  }

  private func change(
    _ effect: SectorModel.Effect, _ range: ByteRange,
    _ body: () async throws(VolumeError) -> Void
  ) async {
    let operation = model.begin(effect, range)
    let error = await outcome(body).failure
    note(error)
    model.end(operation, succeeded: error == nil)
  }

  private func note(_ error: VolumeError?) {
    guard let error else { return }
    errors.append(error)
    if !allowsErrors, wrong == nil { wrong = Wrong(description: "a request failed: \(error)") }
  }
}
