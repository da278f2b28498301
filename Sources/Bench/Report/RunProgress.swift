import Units

/// How far a run has come, and how fast it is at this moment.
package struct RunProgress: Equatable, Sendable {
  package var elapsedNanoseconds: UInt64
  /// Which of the groups that `stonewall` makes is running.
  package var groupNumber: Int
  package var groupCount: Int
  /// Of this group's slowest job, 0 to 1.
  package var fraction = 0.0
  package var remainingNanoseconds: UInt64?
  /// By direction, since the last report.
  package var iops = [0.0, 0.0, 0.0]
  package var bytesPerSecond = [0.0, 0.0, 0.0]
  package var errorCount: UInt64 = 0
  package var isRamping = false
  package var isVerifying = false
  package var isInterrupted = false

  package init(elapsedNanoseconds: UInt64, groupNumber: Int = 0, groupCount: Int = 1) {
    self.elapsedNanoseconds = elapsedNanoseconds
    self.groupNumber = groupNumber
    self.groupCount = groupCount
  }

  /// One line: `42 % 12 s, read 12.3k IOPS 48.1 MB/s, write ..., errors 0, 17 s left`.
  package var line: String {
    var parts: [String] = []
    if groupCount > 1 { parts.append("group \(groupNumber + 1)/\(groupCount)") }
    let percent = Figure.fixed(fraction * 100, 0)
    parts.append("\(percent) % after \(Figure.fixed(Double(elapsedNanoseconds) / 1e9, 0)) s")
    if isRamping { parts.append("ramp, not counted") }
    if isVerifying { parts.append("verifying") }
    for direction in OperationKind.allCases where iops[direction.rawValue] > 0 {
      let rate = Figure.decimal(bytesPerSecond[direction.rawValue])
      parts.append("\(direction.name) \(Figure.short(iops[direction.rawValue])) IOPS \(rate)/s")
    }
    if errorCount > 0 { parts.append("errors \(errorCount)") }
    if isInterrupted {
      parts.append("interrupted")
    } else if let remainingNanoseconds {
      parts.append("\(TimeSpan.formatUptime(nanoseconds: remainingNanoseconds)) left")
    }
    return parts.joined(separator: ", ")
  }
}
