import Simulator
import TestSupport
import Testing
import Units
import Volumes

/// Owns reservations as a volume's actor does.
private actor ReservationHost {
  struct Entry: Sendable {
    var range: ByteRange
    var isExclusive: Bool
  }

  private let machine: SimulatedMachine
  private let reservations = RangeReservations()
  private var held: [Int: Entry] = [:]
  private var waiting: [(number: Int, entry: Entry)] = []
  private var lastNumber = 0
  private(set) var conflictCount = 0
  private(set) var overtakeCount = 0
  private(set) var sharedTogether = 0

  init(_ machine: SimulatedMachine) { self.machine = machine }

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps the machine.
    unsafe machine.unownedExecutor
  }

  private func conflict(_ first: Entry, _ second: Entry) -> Bool {
    (first.isExclusive || second.isExclusive) && first.range.overlaps(second.range)
  }

  func use(_ entry: Entry, nanoseconds: UInt64) async {
    lastNumber += 1
    let number = lastNumber
    waiting.append((number, entry))
    let index = await reservations.reserve(entry.range, isExclusive: entry.isExclusive)
    // Nobody who came before and conflicts may still wait.
    if waiting.contains(where: { $0.number < number && conflict($0.entry, entry) }) {
      overtakeCount += 1
    }
    waiting.removeAll { $0.number == number }
    if held.values.contains(where: { conflict($0, entry) }) { conflictCount += 1 }
    if held.values.contains(where: { $0.range.overlaps(entry.range) }) { sharedTogether += 1 }
    held[number] = entry
    await machine.sleep(nanoseconds: nanoseconds)
    held[number] = nil
    reservations.release(index)
  }
}

@Suite("Volumes: range reservations")
struct RangeReservationsTests {
  @Test("random reservations: no conflict is held, nobody overtakes whom they conflict with")
  func randomReservations() throws {
    for seed in Seeds.of(40) {
      let machine = SimulatedMachine(seed: seed)
      let host = ReservationHost(machine)
      try machine.run {
        await withTaskGroup(of: Void.self) { group in
          for _ in 0..<6 {
            group.addTask(executorPreference: machine) {
              for _ in 0..<15 {
                let start = machine.randomNumber() % 40
                let entry = ReservationHost.Entry(
                  range: range(start, start + 1 + machine.randomNumber() % 20),
                  isExclusive: machine.randomNumber() % 3 == 0)
                await host.use(entry, nanoseconds: machine.randomNumber() % 50_000)
                if machine.randomNumber() % 2 == 0 {
                  await machine.sleep(nanoseconds: machine.randomNumber() % 50_000)
                }
              }
            }
          }
        }
        #expect(await host.conflictCount == 0, "seed \(seed)")
        #expect(await host.overtakeCount == 0, "seed \(seed)")
        #expect(await host.sharedTogether > 0)
      }
    }
  }

  @Test("an exclusive reservation is served though shared ones keep coming")
  func fairness() throws {
    let machine = SimulatedMachine(seed: 3)
    let host = ReservationHost(machine)
    let isServed = Box(false)
    try machine.run {
      for _ in 0..<4 {
        machine.start {
          while !isServed.value {
            await host.use(.init(range: range(0, 10), isExclusive: false), nanoseconds: 100_000)
          }
        }
      }
      await machine.sleep(nanoseconds: 1_000_000)
      let start = machine.nowNanoseconds
      await host.use(.init(range: range(5, 6), isExclusive: true), nanoseconds: 1000)
      isServed.value = true
      // Those who held it when it came, one round of 100 us, and nobody else.
      #expect(machine.nowNanoseconds - start < 400_000)
    }
  }

  @Test("releasing twice traps")
  func releaseTwice() async {
    await #expect(processExitsWith: .failure) {
      let reservations = RangeReservations()
      let index = await reservations.reserve(ByteRange(from: 0, to: 1), isExclusive: true)
      reservations.release(index)
      reservations.release(index)
    }
  }
}
