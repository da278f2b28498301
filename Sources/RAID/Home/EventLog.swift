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

  /// Adds an event.
  package func note(_ text: String) {
    if recent.count == Self.countMax { recent.removeFirst() }
    recent.append(Event(atNanoseconds: clock(), text: text))
    write(text)
  }
}
