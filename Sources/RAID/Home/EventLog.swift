/// How urgent an event is for an operator.
package enum EventSeverity: Sendable {
  case notice
  /// Redundancy is less, or a member has erred.
  case warning
  /// Data is lost, or no longer accepted.
  case error
}

/// What happened to the array: the last few in memory for the status, all of them to the log.
package final class EventLog {
  /// One thing that happened.
  package struct Event: Equatable, Sendable {
    package var atNanoseconds: UInt64
    package var text: String
    /// The array's block that it is about.
    package var block: UInt64?
  }

  private static let countMax = 50
  package private(set) var recent: [Event] = []
  /// Blocks found bad and rewritten since the start.
  package private(set) var healedBlockCount: UInt64 = 0
  private var heals = EventThrottle()
  private var losses = EventThrottle()
  private let clock: () -> UInt64
  private let write: (EventSeverity, String) -> Void

  package init(clock: @escaping () -> UInt64, write: @escaping (EventSeverity, String) -> Void) {
    self.clock = clock
    self.write = write
  }

  /// Counts a block that was bad and has been written again as it should be.
  ///
  /// `block` is nil for parity, which is none of the array's own.
  func noteHealed(row: UInt64, block: UInt64?, _ text: @autoclosure () -> String) {
    healedBlockCount += 1
    tellUntold(isLast: false)
    if heals.tells(row) { note(text(), .warning, block: block) }
  }

  /// Tells of a block that cannot be given back any more.
  func noteLost(block: UInt64, _ text: @autoclosure () -> String) {
    tellUntold(isLast: false)
    if losses.tells(block) { note(text(), .error, block: block) }
  }

  /// Tells in a line what was not told one by one, when it is time, or nothing will follow.
  func tellUntold(isLast: Bool) {
    let now = clock()
    if let untold = heals.takeUntold(now, isLast: isLast) {
      note(
        "healed \(untold.count) blocks more, in rows \(untold.range.lowerBound) to "
          + "\(untold.range.upperBound): status counts them by member", .warning)
    }
    if let untold = losses.takeUntold(now, isLast: isLast) {
      note(
        "\(untold.count) blocks more are beyond redundancy, from block "
          + "\(untold.range.lowerBound) to \(untold.range.upperBound): reads of them fail until "
          + "they are written", .error)
    }
  }

  /// Adds an event.
  package func note(_ text: String, _ severity: EventSeverity = .notice, block: UInt64? = nil) {
    if recent.count == Self.countMax { recent.removeFirst() }
    recent.append(Event(atNanoseconds: clock(), text: text, block: block))
    write(severity, text)
  }
}

/// Which of a kind of events are told one by one, where they come by the thousand: the first few in
/// a while; the others are counted for one line.
private struct EventThrottle {
  private static let countMax = 20
  private static let nanoseconds: UInt64 = 10_000_000_000
  private var toldCount = 0
  private var tellFrom: UInt64 = 0
  private var untold: (count: Int, range: ClosedRange<UInt64>)?

  /// Whether an event is told by itself; else it is counted, with where it was.
  mutating func tells(_ place: UInt64) -> Bool {
    if toldCount < Self.countMax {
      toldCount += 1
      return true
    }
    if let last = untold {
      let range = last.range
      untold = (
        last.count + 1, min(range.lowerBound, place)...max(range.upperBound, place)
      )
    } else {
      untold = (1, place...place)
    }
    return false
  }

  /// What was not told since it was asked last, once in a while.
  mutating func takeUntold(
    _ now: UInt64, isLast: Bool
  ) -> (count: Int, range: ClosedRange<UInt64>)? {
    guard isLast || now >= tellFrom else { return nil }
    tellFrom = now + Self.nanoseconds
    toldCount = 0
    defer { untold = nil }
    return untold
  }
}
