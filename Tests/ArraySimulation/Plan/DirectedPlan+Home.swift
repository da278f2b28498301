import DiskFormat
import Geometry
import RAID
import Simulator

// Scenarios around blocks, parity and their checksums (D1-D7, T1-T3).
extension DirectedPlan {
  func rottenRow(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.hasSilentFaults = true
    let geometry = plan.shape.geometry
    let row = UInt64(variation / 3) % geometry.rowCount
    var life = LifePlan()
    life.incidents = [
      incident(
        0,
        .flip(
          slot: variation % 3, offsetBytes: plan.shape.layout.dataOffset + row * 4096 + 100))
    ]
    let position = variation / 24 % geometry.dataCount
    life.workload = .script([
      .pause(nanoseconds: 100_000), write(geometry.block(ofRow: row, position: position)),
    ])
    life.idleNanoseconds = 5_000_000
    life.verifiesLast = true
    plan.lives.append(life)
  }

  func scrubbed(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.hasSilentFaults = true
    let row = UInt64(variation / 3) % plan.shape.geometry.rowCount
    var life = LifePlan()
    life.incidents = [
      incident(
        0,
        .flip(
          slot: variation % 3, offsetBytes: plan.shape.layout.dataOffset + row * 4096 + 100))
    ]
    life.actions = [
      LifePlan.TimedAction(
        afterNanoseconds: UInt64(variation / 24 % 16) * 200_000, action: .scrub(repairs: true))
    ]
    life.workload = .script(variation / 24 % 2 == 0 ? [] : [write(3), write(5), .flush])
    life.idleNanoseconds = 50_000_000
    life.scrubsLast = true
    life.verifiesLast = true
    plan.lives += [life, check(without: [variation % 3])]
  }

  func misdirectedReads(_ plan: inout HistoryPlan, _ variation: Int) {
    var life = LifePlan()
    life.rates[variation % 3] = Self.rates(\.misdirectedRead, 200_000)
    life.ratesHoldAtStart = false
    life.verifiesFirst = true
    life.verifiesLast = true
    plan.lives += [life, check(without: [])]
  }

  func readerHeals(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.options.destageDelayNanoseconds = 50_000
    let slot = variation % 2
    var life = LifePlan()
    life.rates[slot] = Self.rates(\.readError, 1_000_000)
    life.ratesHoldAtStart = false
    // Quick, but now and then so slow that a destage is done before a read has failed.
    life.latencies[slot] = DiskLatency(
      shortestNanoseconds: 20_000, longestNanoseconds: 100_000, synchronizeFactor: 1,
      slowPerMillion: 300_000, slowFactor: 80)
    life.latencies[1 - slot] = DiskLatency(
      shortestNanoseconds: 100_000, longestNanoseconds: 300_000, synchronizeFactor: 1,
      slowPerMillion: 0, slowFactor: 1)
    let blocks = 0..<plan.shape.geometry.blockCount
    let readers = blocks.map { block in
      [ClientRequest](repeating: .read(Int(block) * 8..<Int(block) * 8 + 8), count: 3)
    }
    let writer: [ClientRequest] = [
      .pause(nanoseconds: 200_000 + UInt64(variation / 2 % 16) * 250_000),
      .write(0..<plan.shape.sectorCount, durably: false),
    ]
    life.workload = .scripts(readers + [writer])
    life.idleNanoseconds = 100_000_000
    plan.lives += [life, check(without: [1 - slot])]
  }

  func damagedSector(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.hasSilentFaults = true
    let (slot, lost) = (variation % 4, (variation + 1 + variation / 4 % 3) % 4)
    var life = LifePlan()
    life.workload = .script([write(0), write(3), write(5)])
    life.idleNanoseconds = 20_000_000
    life.rates[slot] = Self.rates(\.damagedSectorAtPowerLoss, 1_000_000)
    life.ending = .crash(.powerLoss, .operation(60 + variation / 12 % 20))
    plan.lives += [life, check(without: [lost]), check(without: [lost])]
  }

  func writeHole(_ plan: inout HistoryPlan, _ variation: Int) {
    let lost = variation % 3
    var life = LifePlan()
    life.workload = .script([write(0), write(3), write(5)])
    life.idleNanoseconds = 20_000_000
    life.ending = .crash(
      variation / 3 % 3 == 0 ? .kill : .powerLoss, .operation(40 + variation / 9 % 40))
    if variation / 3 % 3 == 1 { lose(&life, plan.shape) }
    plan.lives += [life, check(without: [lost]), check(without: [lost])]
  }

  func lostRow(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.hasSilentFaults = true
    plan.stepCountMax = 100_000
    plan.options.destageRowCountMax = 8
    let (geometry, layout) = (plan.shape.geometry, plan.shape.layout)
    let row = UInt64(variation) % geometry.rowCount
    var life = LifePlan()
    for position in 0..<geometry.dataCount {
      let place = geometry.place(ofRow: row, position: position)
      let offset = layout.dataOffset + place.memberBlock * 4096 + 100
      life.incidents.append(incident(0, .flip(slot: place.slot, offsetBytes: offset)))
    }
    let blocks = (0..<geometry.dataCount).map { geometry.block(ofRow: row, position: $0) }
    let others = (0..<geometry.blockCount).filter { !blocks.contains($0) }
    // One of them is written, then others until the log has gone round; last the rest of the row.
    life.workload = .script(
      [.pause(nanoseconds: 100_000), write(blocks[0]), .pause(nanoseconds: 3_000_000)]
        + (0..<30).flatMap { _ in others.map { write($0) } }
        + blocks.map { write($0, durably: true) })
    life.idleNanoseconds = 5_000_000
    life.verifiesLast = true
    plan.lives += [life, check(without: [])]
  }

  func largeTrim(_ plan: inout HistoryPlan, _ variation: Int) {
    plan.options.destageRowCountMax = 1
    var life = LifePlan()
    let everything = 0..<plan.shape.sectorCount
    life.workload = .script([
      write(UInt64(variation) % 4096), .trim(everything, durably: false), write(7), .flush,
    ])
    life.idleNanoseconds = 10_000_000
    plan.lives = [life, check(without: [variation % 3])]
  }

  func tornPages(_ plan: inout HistoryPlan, _ variation: Int) {
    var life = LifePlan()
    // Their entries are in different sectors of one page.
    life.workload = .script([write(0), write(20), write(40), write(60)])
    life.idleNanoseconds = 20_000_000
    life.ending = .crash(
      .powerLoss, .operation((variation % 2 == 0 ? 40 : 60) + variation / 2 % 16))
    for slot in 0..<plan.shape.memberCount { life.fates[slot] = .torn(plan.seed &+ UInt64(slot)) }
    plan.lives += [life, check(without: []), check(without: [])]
  }

  func clearedPages(_ plan: inout HistoryPlan, _ variation: Int) {
    // All copies of all table pages: reads fail, but nothing may be taken for never-written.
    plan.allowsErrors = true
    plan.hasSilentFaults = true
    let layout = plan.shape.layout
    var life = LifePlan()
    for slot in 0..<plan.shape.memberCount {
      life.incidents.append(
        incident(
          1_000_000,
          .clear(
            slot: slot, offsetBytes: layout.tableOffset, byteCount: layout.tableByteCount)))
    }
    life.workload = .script([.pause(nanoseconds: 2_000_000), write(UInt64(variation % 8))])
    life.ending = .crash(.kill, .atEnd)
    plan.lives += [life, check(without: [])]
  }
}
