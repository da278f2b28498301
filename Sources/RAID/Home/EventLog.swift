/// What happened to the array: the last few in memory for the status, all of them to the log.
package final class EventLog {
  /// One thing that happened.
  package struct Event: Equatable, Sendable {
    package var atNanoseconds: UInt64
    package var text: String
  }

  private static let countMax = 50
  package private(set) var recent: [Event] = []
  /// Blocks found bad and rewritten, and blocks beyond repair, since the start.
  package var healedBlockCount: UInt64 = 0
  package var lostBlockCount: UInt64 = 0
  private let clock: () -> UInt64
  private let write: (String) -> Void

  package init(clock: @escaping () -> UInt64, write: @escaping (String) -> Void) {
    self.clock = clock
    self.write = write
  }

  // Heals come by the thousand where a member was damaged: each is counted, and so many are told one
  // by one; the others in a line now and then.
  private static let healsToldMax = 20
  private static let healsToldNanoseconds: UInt64 = 10_000_000_000
  private var healsTold = 0
  private var healsTellFrom: UInt64 = 0
  /// Heals that were counted and not told: how many, and the lowest and highest row of the array.
  private var healsUntold: (count: Int, rows: ClosedRange<UInt64>)?

  /// Counts a block that was bad and has been written again as it should be.
  func noteHealed(row: UInt64, _ text: @autoclosure () -> String) {
    healedBlockCount += 1
    tellHeals(isLast: false)
    guard healsTold >= Self.healsToldMax else {
      healsTold += 1
      return note(text())
    }
    guard let untold = healsUntold else { return healsUntold = (1, row...row) }
    healsUntold = (
      untold.count + 1, min(untold.rows.lowerBound, row)...max(untold.rows.upperBound, row)
    )
  }

  /// Tells in a line what was not told one by one, when it is time, or nothing will follow.
  func tellHeals(isLast: Bool) {
    let now = clock()
    guard isLast || now >= healsTellFrom else { return }
    healsTellFrom = now + Self.healsToldNanoseconds
    healsTold = 0
    guard let untold = healsUntold else { return }
    healsUntold = nil
    note(
      "healed \(untold.count) blocks more, in rows \(untold.rows.lowerBound) to "
        + "\(untold.rows.upperBound): status counts them by member")
  }

  /// Adds an event.
  package func note(_ text: String) {
    if recent.count == Self.countMax { recent.removeFirst() }
    recent.append(Event(atNanoseconds: clock(), text: text))
    write(text)
  }
}
