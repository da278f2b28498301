import IO

/// A disk that knows since when its oldest operation has been under way.
///
/// How long a request takes says little about the disk: a long WRITE_ZEROES is thousands of
/// writes, and a small write may wait for many others to the same block. A disk is stuck when one
/// operation does not return.
struct WatchedDisk<Base: Disk, Clock: Machine>: Disk {
  private let base: Base
  private let machine: Clock
  private let operations = OperationStarts()

  init(_ base: Base, machine: Clock) {
    self.base = base
    self.machine = machine
  }

  /// When the oldest operation that has not returned was begun; nil when there is none.
  var oldestNanoseconds: UInt64? { operations.oldestNanoseconds }

  var properties: DiskProperties { base.properties }

  func readSome(at offsetBytes: UInt64, into buffer: IOBuffer) async -> Int32 {
    let number = operations.begin(machine.nowNanoseconds)
    defer { operations.end(number) }
    return await base.readSome(at: offsetBytes, into: buffer)
  }

  func readAtOnce(at offsetBytes: UInt64, into buffer: IOBuffer) -> Int32 {
    base.readAtOnce(at: offsetBytes, into: buffer)
  }

  func writeSome(at offsetBytes: UInt64, from buffer: IOBuffer) async -> Int32 {
    let number = operations.begin(machine.nowNanoseconds)
    defer { operations.end(number) }
    return await base.writeSome(at: offsetBytes, from: buffer)
  }

  func synchronizeOnce() async -> Int32 {
    let number = operations.begin(machine.nowNanoseconds)
    defer { operations.end(number) }
    return await base.synchronizeOnce()
  }

  func clearOnce(at offsetBytes: UInt64, byteCount: UInt64, mode: ClearMode) async -> Int32 {
    let number = operations.begin(machine.nowNanoseconds)
    defer { operations.end(number) }
    return await base.clearOnce(at: offsetBytes, byteCount: byteCount, mode: mode)
  }

  func prefetchOnce(at offsetBytes: UInt64, byteCount: UInt64) async -> Int32 {
    let number = operations.begin(machine.nowNanoseconds)
    defer { operations.end(number) }
    return await base.prefetchOnce(at: offsetBytes, byteCount: byteCount)
  }

  func extentOnce(at offsetBytes: UInt64) async -> Result<DiskExtent, SystemError> {
    let number = operations.begin(machine.nowNanoseconds)
    defer { operations.end(number) }
    return await base.extentOnce(at: offsetBytes)
  }

  func currentByteCount() -> Result<UInt64, SystemError> { base.currentByteCount() }

  func close() async { await base.close() }
}

/// When the operations under way began, each under a small number that is used again.
private final class OperationStarts: @unchecked Sendable {
  // Belongs to the volume, and so is used on its actor's executor only.
  private var starts: [UInt64?] = []
  private var vacant: [Int] = []

  /// Looked for once a second, so begin and end do no more than they must.
  var oldestNanoseconds: UInt64? { starts.lazy.compactMap { $0 }.min() }

  func begin(_ nowNanoseconds: UInt64) -> Int {
    if let number = vacant.popLast() {
      starts[number] = nowNanoseconds
      return number
    }
    starts.append(nowNanoseconds)
    return starts.count - 1
  }

  func end(_ number: Int) {
    starts[number] = nil
    vacant.append(number)
  }
}
