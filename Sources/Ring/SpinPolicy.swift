/// Decides how long the loop polls the completion queue before it sleeps.
///
/// A sleep and a wake-up cost more than a short request. When requests come one at a time, each
/// within `windowNanoseconds` of the last turn, polling for that long saves both. When they do
/// not, polling only burns CPU: so it is switched on by sleeps that turned out short, and off
/// by polls in vain. An idle server therefore never polls.
struct SpinPolicy {
  static let windowNanoseconds: UInt64 = 50_000
  /// So many short sleeps in a row switch polling on; so many vain polls in a row switch it off.
  static let shortSleepsToStart = 3
  static let vainPollsToStop = 3

  private(set) var isSpinning = false
  private var streak = 0

  /// How long to poll now.
  var budgetNanoseconds: UInt64 { isSpinning ? Self.windowNanoseconds : 0 }

  mutating func recordSleep(nanoseconds: UInt64) {
    guard !isSpinning else { return }
    streak = nanoseconds < Self.windowNanoseconds ? streak + 1 : 0
    if streak >= Self.shortSleepsToStart {
      isSpinning = true
      streak = 0
    }
  }

  mutating func recordPoll(wasInVain: Bool) {
    guard isSpinning else { return }
    streak = wasInVain ? streak + 1 : 0
    if streak >= Self.vainPollsToStop {
      isSpinning = false
      streak = 0
    }
  }
}
