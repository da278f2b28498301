import Glibc
import IO
import Synchronization

/// Writes records from a thread of its own, the newest one of each array.
///
/// To make a file durable may take long, and the loop that serves I/O must not stand still for it.
/// Who changes the members waits until the record `isIdle`: a record that is behind would prove, after
/// a crash, that members did not go on which did (rule T6).
package final class RegistryWriter: Sendable {
  private struct Work {
    var waiting: RegistryRecord?
    var isWriting = false
  }

  private let registry: Registry
  private let complain: @Sendable (RegistryError) -> Void
  private let work = Mutex(Work())
  private let wakeUp: [Int32]

  /// Starts the thread.
  ///
  /// - Parameters:
  ///   - registry: where the records go.
  ///   - complain: told on that thread of what could not be written.
  package init(
    to registry: Registry, complain: @escaping @Sendable (RegistryError) -> Void
  ) {
    self.registry = registry
    self.complain = complain
    var ends: [Int32] = [-1, -1]
    // Safe: room for two descriptors.
    let isMade = unsafe pipe(&ends) == 0
    wakeUp = isMade ? ends : []
    for end in wakeUp { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    // The end that the loop writes to never blocks: a byte that finds no room is not needed.
    if let end = wakeUp.last { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
    guard isMade else { return }
    startDetachedThread { [self] in writeForEver() }
  }

  /// Has the record written, unless a newer one comes first; never waits.
  package func write(_ record: RegistryRecord) {
    guard let end = wakeUp.last else {
      registry.remove(record.name)
      return complain(.cannotWrite(path: registry.path(of: record.name), .outOfMemory))
    }
    work.withLock { $0.waiting = record }
    var byte: UInt8 = 0
    // Safe: one byte of a local.
    unsafe _ = Glibc.write(end, &byte, 1)
  }

  /// Whether everything is written, or has failed to be.
  package var isIdle: Bool { work.withLock { $0.waiting == nil && !$0.isWriting } }

  /// Waits until everything is written, but not longer than this.
  package func drain(millisecondsMax: Int32) {
    var left = millisecondsMax
    while left > 0 {
      if isIdle { return }
      Deadline.pause(milliseconds: 5)
      left -= 5
    }
  }

  private func writeForEver() {
    guard let end = wakeUp.first else { return }
    var bytes = [UInt8](repeating: 0, count: 64)
    while true {
      // Safe: as many bytes as the array has.
      let count = unsafe read(end, &bytes, bytes.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return }
      while let record = next() {
        do throws(RegistryError) {
          try registry.save(record)
        } catch {
          complain(error)
          // The one from before would prove what is not so: rather none (rule T6).
          registry.remove(record.name)
        }
      }
    }
  }

  private func next() -> RegistryRecord? {
    work.withLock { work in
      let record = work.waiting
      work.waiting = nil
      work.isWriting = record != nil
      return record
    }
  }
}
