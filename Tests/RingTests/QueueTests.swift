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

@Suite("Ring: resting")
struct RestTests {
  @Test("a rest keeps no sleeper waiting")
  func sleepersWake() throws {
    let nanoseconds = try onRing { machine in
      let start = machine.readClock()
      machine.rest(nanoseconds: 60_000_000_000)
      await machine.sleep(nanoseconds: 1_000_000)
      return machine.readClock() - start
    }
    #expect(nanoseconds >= 1_000_000)
    #expect(nanoseconds < 30_000_000_000)
  }

  @Test("what completes during a rest is dealt with when it is over")
  func completionsWait() throws {
    let (nanoseconds, result) = try onRing { machine in
      var ends: [Int32] = [0, 0]
      // Safe: room for the two descriptors.
      try #require(unsafe pipe(&ends) == 0)
      defer { for end in ends { close(end) } }
      let block = try memory(4096, filledWith: 1)
      // Safe: inside the block.
      try #require(unsafe write(ends[1], block.buffer.baseAddress, 16) == 16)
      let start = machine.readClock()
      machine.rest(nanoseconds: 5_000_000)
      let result = await machine.readPipe(ends[0], into: block.buffer)
      return (machine.readClock() - start, result)
    }
    #expect(result == 16)
    #expect(nanoseconds < 30_000_000_000)
  }
}
