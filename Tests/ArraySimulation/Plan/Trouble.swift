import Simulator

/// The members that may fail in a history, and how.
struct Trouble {
  var members: [Int] = []
  /// They go missing at crashes, and come back with what they had.
  var leaves = false
  /// Operations fail, or lie.
  var rates = DiskFaultRates()
  /// Everything takes very long.
  var isSlow = false
  /// Stops answering in mid-life.
  var getsStuck = false

  /// Leaves damage that only reading finds.
  var isSilent: Bool {
    rates.lostWrite + rates.misdirectedWrite + rates.bitRot + rates.damagedSectorAtPowerLoss > 0
  }

  static func drawn(
    _ shape: ArrayShape, budget: Int, mayBeSilent: Bool, _ random: inout RandomSource
  ) -> Trouble {
    var trouble = Trouble()
    guard budget > 0, random.index(below: 4) > 0 else { return trouble }
    let count = 1 + random.index(below: budget)
    while trouble.members.count < count {
      let slot = random.index(below: shape.memberCount)
      if !trouble.members.contains(slot) { trouble.members.append(slot) }
    }
    trouble.leaves = random.index(below: 4) > 0
    trouble.isSlow = random.index(below: 8) == 0
    trouble.getsStuck = random.index(below: 8) == 0
    /// Each kind in one of four histories, up to one operation in ten.
    func rate(_ random: inout RandomSource) -> Int {
      random.index(below: 4) == 0 ? random.index(below: 100_000) : 0
    }
    trouble.rates.readError = rate(&random)
    trouble.rates.misdirectedRead = rate(&random)
    trouble.rates.writeError = rate(&random) / 10
    trouble.rates.synchronizeError = rate(&random) / 4
    trouble.rates.stuck = random.index(below: 8) == 0 ? random.index(below: 10_000) : 0
    guard mayBeSilent else { return trouble }
    trouble.rates.lostWrite = rate(&random)
    trouble.rates.misdirectedWrite = rate(&random)
    trouble.rates.bitRot = rate(&random)
    trouble.rates.damagedSectorAtPowerLoss = random.index(below: 4) == 0 ? 1_000_000 : 0
    return trouble
  }

  /// Lets a life have it; what every sound disk does now and then, all of them do.
  func afflict(_ life: inout LifePlan, _ random: inout RandomSource) {
    for slot in members {
      life.rates[slot] = rates
      if leaves, random.coin() { life.absent.insert(slot) }
      if isSlow {
        life.latencies[slot] = DiskLatency(
          shortestNanoseconds: 100_000, longestNanoseconds: 20_000_000, synchronizeFactor: 4,
          slowPerMillion: 50_000, slowFactor: 100)
      }
      guard getsStuck, random.coin() else { continue }
      let begin = random.next(below: 1 << (16 + random.next(below: 10)))
      life.incidents.append(
        LifePlan.TimedIncident(afterNanoseconds: begin, incident: .stick(slot: slot)))
      if random.coin() {
        let end = begin + random.next(below: 1 << (20 + random.next(below: 13)))
        life.incidents.append(
          LifePlan.TimedIncident(afterNanoseconds: end, incident: .release(slot: slot)))
      }
    }
    life.interruptionsPerMillion = random.index(below: 4) == 0 ? 20_000 : 0
  }
}
