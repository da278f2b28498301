import Glibc
import IO
import Testing

@testable import Ring

@Suite("Ring: queues and the spin policy")
struct QueueTests {
  @Test("an idle loop never polls: long sleeps leave polling off")
  func longSleepsLeavePollingOff() {
    var policy = SpinPolicy()
    for _ in 0..<100 { policy.recordSleep(nanoseconds: SpinPolicy.windowNanoseconds) }
    #expect(policy.budgetNanoseconds == 0)
  }

  @Test("short sleeps in a row switch polling on, vain polls in a row switch it off")
  func shortSleepsSwitchPollingOn() {
    var policy = SpinPolicy()
    for _ in 0..<SpinPolicy.shortSleepsToStart { policy.recordSleep(nanoseconds: 1000) }
    #expect(policy.isSpinning)
    for _ in 1..<SpinPolicy.vainPollsToStop { policy.recordPoll(wasInVain: true) }
    policy.recordPoll(wasInVain: false)
    #expect(policy.isSpinning)
    for _ in 0..<SpinPolicy.vainPollsToStop { policy.recordPoll(wasInVain: true) }
    #expect(!policy.isSpinning)
  }

  @Test("one long sleep among short ones starts the count anew")
  func longSleepStartsAnew() {
    var policy = SpinPolicy()
    for _ in 1..<SpinPolicy.shortSleepsToStart { policy.recordSleep(nanoseconds: 1000) }
    policy.recordSleep(nanoseconds: 10 * SpinPolicy.windowNanoseconds)
    for _ in 1..<SpinPolicy.shortSleepsToStart { policy.recordSleep(nanoseconds: 1000) }
    #expect(!policy.isSpinning)
  }
}
