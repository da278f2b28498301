import Glibc

/// What /proc says of a process: enough to know it again, and to tell how it is.
package struct ProcessFacts: Equatable, Sendable {
  /// As in /proc: `R` running, `S` sleeping, `D` waiting for a disk, `T` stopped, `Z` ended.
  package let state: Character
  /// In clock ticks since the host started; with the number it names one process for good.
  package let startTicks: UInt64

  /// - Returns: nil when there is no such process.
  package init?(processID: Int32) {
    guard processID > 0, let bytes = try? SmallFile.read("/proc/\(processID)/stat") else {
      return nil
    }
    self.init(stat: bytes)
  }

  /// Reads the line of /proc/PID/stat.
  ///
  /// The second field is the program's name in parentheses, which may hold blanks and
  /// parentheses itself: what follows the last closing one counts.
  init?(stat bytes: [UInt8]) {
    guard let close = bytes.lastIndex(of: UInt8(ascii: ")")) else { return nil }
    let rest = String(decoding: bytes[(close + 1)...], as: UTF8.self)
    let fields = rest.split { $0 == " " || $0 == "\n" }
    // Fields 3 and 22 of the line, counted from 1.
    guard fields.count >= 20, let state = fields[0].first, let ticks = UInt64(fields[19]) else {
      return nil
    }
    self.state = state
    self.startTicks = ticks
  }

  /// Whether it has ended and only waits for its parent to notice.
  package var hasEnded: Bool { state == "Z" || state == "X" }

  /// For people: what the process is doing.
  package var stateWords: String {
    switch state {
    case "T", "t": "is stopped (by a signal or a debugger)"
    case "Z", "X": "has ended"
    case "D": "is alive, but waits in the kernel for a disk"
    default: "is alive"
    }
  }

  /// Whether the process that was seen with `startTicks` still runs under that number.
  package static func isRunning(_ processID: Int32, startTicks: UInt64) -> Bool {
    guard let facts = ProcessFacts(processID: processID) else { return false }
    return facts.startTicks == startTicks && !facts.hasEnded
  }
}
