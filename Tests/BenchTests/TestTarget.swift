import Bench
import IO
import Simulator
import TestSupport

/// A target in memory that does what a test says, and remembers what was asked of it.
///
/// Safe to share: used on the simulation's thread only.
final class TestTarget: BenchTarget, @unchecked Sendable {
  enum Kind: Equatable { case read, write, trim, flush, flushData }

  struct Call: Equatable {
    var kind: Kind
    var offsetBytes: UInt64
    var byteCount: UInt64
    var startNanoseconds: UInt64
  }

  let machine: SimulatedMachine
  let memory: AlignedMemory
  let byteCount: UInt64
  let alignmentBytes = 512
  let description = "test"
  var latencyNanoseconds: UInt64 = 100_000
  var calls: [Call] = []
  var inFlight = 0
  var inFlightMax = 0
  var isClosed = false
  /// Asked with the call's number, from 1 on.
  var failure: (Int) -> TargetError? = { _ in nil }
  /// From this call on nothing returns.
  var hangsFrom = Int.max
  /// Changes what a read returns.
  var alterRead: (UInt64, IOBuffer) -> Void = { _, _ in }
  /// Whether a write is kept; false loses it.
  var keepsWrite: (UInt64) -> Bool = { _ in true }
  /// The ranges in flight, to find operations that must not meet.
  private var ranges: [(offset: UInt64, end: UInt64, changes: Bool)] = []
  var conflictCount = 0

  init(_ machine: SimulatedMachine, byteCount: UInt64) {
    self.machine = machine
    self.byteCount = byteCount
    memory = AlignedMemory.ofTest(Int(byteCount))
  }

  func calls(of kind: Kind) -> [Call] { calls.filter { $0.kind == kind } }

  private func begin(_ kind: Kind, _ offset: UInt64, _ count: UInt64) async throws(TargetError) {
    calls.append(
      Call(
        kind: kind, offsetBytes: offset, byteCount: count,
        startNanoseconds: machine.nowNanoseconds))
    let number = calls.count
    inFlight += 1
    inFlightMax = max(inFlightMax, inFlight)
    let changes = kind != .read
    let isConflict = ranges.contains {
      offset < $0.end && $0.offset < offset + count && ($0.changes || changes)
    }
    if isConflict { conflictCount += 1 }
    ranges.append((offset, offset + count, changes))
    if number >= hangsFrom { await machine.sleep(nanoseconds: 1 << 60) }
    await machine.sleep(nanoseconds: latencyNanoseconds)
    inFlight -= 1
    ranges.remove(at: ranges.firstIndex { $0.offset == offset && $0.end == offset + count } ?? 0)
    if let error = failure(number) { throw error }
  }

  func read(at offsetBytes: UInt64, into buffer: IOBuffer) async throws(TargetError) {
    try await begin(.read, offsetBytes, UInt64(buffer.byteCount))
    let source = memory.buffer
    buffer.copy(from: source.slice(Int(offsetBytes), buffer.byteCount))
    alterRead(offsetBytes, buffer)
  }

  func write(at offsetBytes: UInt64, from buffer: IOBuffer) async throws(TargetError) {
    try await begin(.write, offsetBytes, UInt64(buffer.byteCount))
    guard keepsWrite(offsetBytes) else { return }
    let target = memory.buffer
    target.slice(Int(offsetBytes), buffer.byteCount).copy(from: buffer)
  }

  func flush(isDataOnly: Bool) async throws(TargetError) {
    try await begin(isDataOnly ? .flushData : .flush, 0, 0)
  }

  func trim(at offsetBytes: UInt64, byteCount: UInt64) async throws(TargetError) {
    try await begin(.trim, offsetBytes, byteCount)
    let target = memory.buffer
    target.slice(Int(offsetBytes), Int(byteCount)).fill(with: 0)
  }

  func close() async { isClosed = true }
}
