import Glibc
import IO
import Simulator
import Testing

private func neverReturns() async {
  // Safe: never resumed, which is the point.
  await unsafe withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in }
}

@Suite("Simulator: machine")
struct SimulatedMachineTests {
  @Test("a body runs to its end and returns its value")
  func bodyReturns() throws {
    let machine = SimulatedMachine(seed: 1)
    let value = try machine.run { () -> Int in
      await machine.sleep(nanoseconds: 1000)
      return 42
    }
    #expect(value == 42)
  }

  @Test("actors on the machine run there, isolated, and may assume it")
  func actorsAreIsolated() throws {
    let machine = SimulatedMachine(seed: 2)
    let counter = Counter(machine)
    let sum = try machine.run { () -> Int in
      await counter.add(0, times: 3)
      await withTaskGroup(of: Void.self) { group in
        for name in 1...4 { group.addTask { await counter.add(name, times: 5) } }
      }
      // The body is on the same executor: it may look inside without waiting.
      counter.preconditionIsolated()
      return counter.orderCountNow
    }
    #expect(sum == 23)
  }

  @Test("two machines of one simulation talk, each actor isolated to its own")
  func twoMachines() throws {
    let simulation = Simulation(seed: 3)
    let first = SimulatedMachine(simulation, name: "first")
    let second = SimulatedMachine(simulation, name: "second")
    let counter = Counter(second)
    let order = try first.run { () -> [Int] in
      for name in 0..<5 {
        await counter.note(name)
        await first.sleep(nanoseconds: 10)
      }
      return await counter.order
    }
    #expect(order == [0, 1, 2, 3, 4])
  }

  @Test("an actor of one machine is not isolated on another")
  func isolationIsPerMachine() async {
    await #expect(processExitsWith: .failure) {
      let simulation = Simulation(seed: 3)
      let first = SimulatedMachine(simulation)
      let counter = Counter(SimulatedMachine(simulation))
      _ = try first.run { counter.orderCountNow }
    }
  }

  @Test("seeds order ready jobs differently, and over many seeds in every way")
  func everyOrderOccurs() throws {
    var orders: Set<[Int]> = []
    for seed: UInt64 in 0..<200 {
      let machine = SimulatedMachine(seed: seed)
      let counter = Counter(machine)
      let order = try machine.run { () -> [Int] in
        await withTaskGroup(of: Void.self) { group in
          for name in 0..<4 { group.addTask { await counter.note(name) } }
        }
        return await counter.order
      }
      orders.insert(try #require(order))
    }
    #expect(orders.count == 24)
  }

  @Test("sleeping takes virtual time, never less than asked, and wakes in order")
  func sleepTakesVirtualTime() throws {
    let machine = SimulatedMachine(seed: 4)
    let woken = Box<[UInt64]>([])
    try machine.run {
      await withTaskGroup(of: Void.self) { group in
        for hours in [3, 1, 2] as [UInt64] {
          group.addTask {
            let start = machine.nowNanoseconds
            await machine.sleep(nanoseconds: hours * 600_000_000_000)
            #expect(machine.nowNanoseconds >= start + hours * 600_000_000_000)
            woken.value.append(hours)
          }
        }
      }
    }
    #expect(woken.value == [1, 2, 3])
  }

  @Test("a body that waits for nothing that will come is a hang, told with its seed")
  func hangIsReported() {
    let machine = SimulatedMachine(seed: 0xABC)
    let failure = #expect(throws: SimulationFailure.self) {
      try machine.run { await neverReturns() }
    }
    #expect(failure?.reason == .hung)
    #expect(failure?.description.contains("0xabc") == true)
  }

  @Test("a body that never waits and never ends meets the limit of steps")
  func endlessLoopIsReported() {
    let machine = SimulatedMachine(seed: 1)
    let failure = #expect(throws: SimulationFailure.self) {
      try machine.run(within: Simulation.Limits(stepCount: 1000)) {
        while true { await Task.yield() }
      }
    }
    #expect(failure?.reason == .tooManySteps)
  }

  @Test("a body that takes too long in virtual time meets the deadline")
  func deadlineIsReported() {
    let machine = SimulatedMachine(seed: 1)
    let failure = #expect(throws: SimulationFailure.self) {
      try machine.run(within: Simulation.Limits(virtualNanoseconds: 1_000_000)) {
        await machine.sleep(nanoseconds: 2_000_000)
      }
    }
    #expect(failure?.reason == .deadlinePassed)
  }

  @Test("what a body throws is told with the seed")
  func thrownErrorIsReported() {
    let machine = SimulatedMachine(seed: 5)
    let failure = #expect(throws: SimulationFailure.self) {
      try machine.run { throw SystemError(EIO) }
    }
    #expect(failure?.reason == .threw("Input/output error (EIO)"))
  }

  @Test("what one run left behind goes on with the next")
  func runsContinue() throws {
    let machine = SimulatedMachine(seed: 6)
    let box = Box(0)
    try machine.run {
      machine.start {
        await machine.sleep(nanoseconds: 1_000_000)
        box.value = 1
      }
    }
    #expect(box.value == 0)
    try machine.simulation.runUntilQuiet()
    #expect(box.value == 1)
  }

  @Test("a crash ends every task of the machine and no other")
  func crashDropsTasks() throws {
    let simulation = Simulation(seed: 7)
    let doomed = SimulatedMachine(simulation, name: "doomed")
    let other = SimulatedMachine(simulation, name: "other")
    let ticks = Box((doomed: 0, other: 0))
    doomed.start {
      while true {
        await doomed.sleep(nanoseconds: 1000)
        ticks.value.doomed += 1
      }
    }
    simulation.schedule(afterNanoseconds: 1_000_000) { doomed.crash(.kill) }
    try other.run {
      for _ in 0..<1000 {
        await other.sleep(nanoseconds: 10_000)
        ticks.value.other += 1
      }
    }
    #expect(ticks.value.doomed > 10)
    #expect(ticks.value.doomed < 1001)
    #expect(ticks.value.other == 1000)
    #expect(doomed.crashKind == .kill)
    try simulation.runUntilQuiet()
  }

  @Test("a run on a machine that crashes returns nil")
  func crashEndsRun() throws {
    let machine = SimulatedMachine(seed: 8)
    let value = try machine.run { () -> Int in
      machine.crash(.powerLoss)
      await machine.sleep(nanoseconds: 1)
      return 1
    }
    #expect(value == nil)
  }

  @Test("the end of a simulation frees its media, though tasks of it are still waiting")
  func endFreesMedia() throws {
    let simulation = Simulation(seed: 9)
    weak var freed: SimulatedMedium?
    try {
      let machine = SimulatedMachine(simulation)
      let medium = SimulatedMedium(byteCount: 4096)
      let disk = SimulatedDisk(machine, medium)
      freed = medium
      disk.isStuck = true
      machine.start { _ = await disk.synchronizeOnce() }
      try simulation.runUntilQuiet()
    }()
    #expect(freed != nil)
    simulation.end()
    #expect(freed == nil)
  }

  @Test("a machine that stalls does nothing until it goes on, late; another does not notice")
  func stalls() throws {
    let simulation = Simulation(seed: 10)
    let (stalled, other) = (SimulatedMachine(simulation), SimulatedMachine(simulation))
    let ticks = Counter(stalled)
    stalled.start {
      for _ in 0..<10 {
        await stalled.sleep(nanoseconds: 1_000_000)
        await ticks.add(0, times: 1)
      }
    }
    try simulation.run(on: other) {
      await other.sleep(nanoseconds: 2_500_000)
      stalled.stall(nanoseconds: 20_000_000)
      await other.sleep(nanoseconds: 19_000_000)
    }
    try simulation.runUntilQuiet()
    #expect(try stalled.run { ticks.orderCountNow } == 10)
    #expect(stalled.nowNanoseconds > 1_000_000_000 + 22_500_000 + 7_000_000)
  }

  @Test("code that has left its machine traps", .timeLimit(.minutes(1)))
  func leavingTraps() async {
    await #expect(processExitsWith: .failure) {
      let machine = SimulatedMachine(seed: 9)
      _ = try machine.run {
        Task.detached { machine.randomNumber() }
        // Holds the simulation's thread until the other one has met the check.
        while true { sched_yield() }
      }
    }
  }
}
