import Glibc
import IO
import Simulator
import Testing
import Units

/// State that jobs of one simulation share; they run on one thread.
final class Box<Value>: @unchecked Sendable {
  var value: Value

  init(_ value: Value) {
    self.value = value
  }
}

/// Memory of whole pages filled with one byte.
func filled(_ byteCount: Int, with byte: UInt8) -> AlignedMemory {
  guard let memory = AlignedMemory(byteCount: byteCount) else {
    preconditionFailure("no memory for a test")
  }
  memory.buffer.fill(with: byte)
  return memory
}

func range(_ start: UInt64, _ end: UInt64) -> ByteRange { ByteRange(from: start, to: end) }

extension IOBuffer {
  subscript(index: Int) -> UInt8 {
    // Safe: the slice checks the bounds; a byte has no invalid patterns.
    unsafe slice(index, 1).bytes.unsafeLoad(as: UInt8.self)
  }

  /// The values of its bytes, each once, in order of first sight.
  var distinctBytes: [UInt8] {
    var seen: [UInt8] = []
    for index in 0..<byteCount where !seen.contains(self[index]) { seen.append(self[index]) }
    return seen
  }
}

extension DiskImage {
  /// One letter a sector: the value of its first byte.
  func sectorValues(_ sectors: Range<UInt64>) -> [UInt8] {
    sectors.map { bytes(ByteRange(from: $0 * 512, to: $0 * 512 + 1))[0] }
  }
}

/// An actor on a machine that counts, with a suspension in between.
actor Counter {
  private let machine: SimulatedMachine
  private(set) var count = 0
  private(set) var order: [Int] = []

  init(_ machine: SimulatedMachine) {
    self.machine = machine
  }

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps the machine.
    unsafe machine.unownedExecutor
  }

  func add(_ name: Int, times: Int) async {
    for _ in 0..<times {
      let before = count
      await Task.yield()
      order.append(name)
      count = max(count, before) + 1
    }
  }

  func note(_ name: Int) { order.append(name) }

  /// For code that is on the executor already, and traps where it is not.
  nonisolated var orderCountNow: Int { assumeIsolated { $0.order.count } }
}
