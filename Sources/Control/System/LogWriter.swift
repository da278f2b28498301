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
  private let thread = WakingThread()
  private let target: Terminal

  /// Starts the thread.
  ///
  /// - Parameter target: where the lines go.
  package init(to target: Terminal = .error) {
    self.target = target
    thread.start { [self] in
      while let line = next() { self.target.write(line + "\n") }
    }
  }

  /// Queues a line; never waits.
  package func write(_ line: String) {
    queue.withLock { queue in
      if queue.lines.count < Self.lineCountMax {
        queue.lines.append(line)
      } else {
        queue.leftOutCount += 1
      }
    }
    guard !thread.wake() else { return }
    // No descriptors were left at the start: better a wait than no log.
    while let line = next() { target.write(line + "\n") }
  }

  /// Waits until everything is written, but not longer than this.
  package func drain(millisecondsMax: Int) {
    for _ in 0..<max(1, millisecondsMax / 5) {
      if queue.withLock({ $0.lines.isEmpty && !$0.isWriting }) { return }
      Deadline.pause(milliseconds: 5)
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
