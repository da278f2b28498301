import Glibc
import Synchronization

/// Writes log lines to standard error from a thread of its own.
///
/// Whoever reads our log may stop reading (`| less`, a stuck journal), and a full pipe would then
/// hold up the thread that writes. The loop that serves I/O must not be that thread: it only queues
/// lines here. When too many are queued, further ones are counted and left out.
package final class LogWriter: Sendable {
  private struct Queue {
    var lines: [String] = []
    var leftOutCount = 0
    /// A line has been taken out and is being written.
    var isWriting = false
  }

  /// So many lines may wait; at 100 bytes each that is 100 KB.
  package static let lineCountMax = 1000

  private let queue = Mutex(Queue())
  private let wakeUp: [Int32]
  private let target: Terminal

  /// Starts the thread.
  ///
  /// - Parameter target: where the lines go.
  package init(to target: Terminal = .error) {
    self.target = target
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

  /// Queues a line; never waits.
  package func write(_ line: String) {
    guard let end = wakeUp.last else {
      // No descriptors were left at the start: better a wait than no log.
      target.write(line + "\n")
      return
    }
    queue.withLock { queue in
      if queue.lines.count < Self.lineCountMax {
        queue.lines.append(line)
      } else {
        queue.leftOutCount += 1
      }
    }
    var byte: UInt8 = 0
    // Safe: one byte of a local.
    unsafe _ = Glibc.write(end, &byte, 1)
  }

  /// Waits until everything is written, but not longer than this.
  package func drain(millisecondsMax: Int) {
    for _ in 0..<max(1, millisecondsMax / 5) {
      if queue.withLock({ $0.lines.isEmpty && !$0.isWriting }) { return }
      var wait = pollfd(fd: -1, events: 0, revents: 0)
      // Safe: one element, which lives until the call returns. No event: a pause.
      unsafe _ = poll(&wait, 1, 5)
    }
  }

  private func writeForEver() {
    guard let end = wakeUp.first else { return }
    var bytes = [UInt8](repeating: 0, count: 512)
    while true {
      // Safe: as many bytes as the array has.
      let count = unsafe read(end, &bytes, bytes.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return }
      while let line = next() { target.write(line + "\n") }
    }
  }

  private func next() -> String? {
    queue.withLock { queue in
      queue.isWriting = !queue.lines.isEmpty
      guard !queue.lines.isEmpty else { return nil }
      guard queue.leftOutCount > 0 else { return queue.lines.removeFirst() }
      // Told at the place where they are missing: behind what was queued before them.
      let lines = queue.lines.joined(separator: "\n")
      let text = "\(lines)\nashlar: warning: \(queue.leftOutCount) log lines were left out"
      queue.lines.removeAll()
      queue.leftOutCount = 0
      return text
    }
  }
}
