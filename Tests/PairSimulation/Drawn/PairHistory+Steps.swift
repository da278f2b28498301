import DiskFormat
import RAID
import Simulator

// What befalls the two nodes.
extension PairHistory {
  func step() async throws {
    try await look()
    try await adopt()
    try await resolveFork()
    switch draw(15) {
    case 0: try await partition(isBothWays: true)
    case 1: try await partition(isBothWays: false)
    case 2: await restart(1 - primary)
    case 3: await restart(primary)
    case 4, 5: try await failOver()
    case 6: try await handOver()
    case 7: try await readReplica()
    case 8: await restartBoth()
    case 9: await slowNetwork()
    case 10: await stall()
    case 11: await hangDisk()
    case 12: try await crashAmidReturn()
    case 13: try await crashAmidPromotion()
    default: try await split()
    }
  }

  var drawnCrash: CrashKind { draw(2) == 0 ? .kill : .powerLoss }
  private var drawnNode: Int { Int(draw(2)) }

  private func partition(isBothWays: Bool) async throws {
    note("cut\(isBothWays ? "" : " one way")")
    if isBothWays { pair.cut() } else { pair.cut(from: drawnNode) }
    await rest(upTo: 1500)
    heal()
  }

  func heal() {
    note("heal")
    pair.network.heal()
  }

  func crash(_ index: Int, _ kind: CrashKind) {
    stopClients(of: index)
    pair.nodes[index].crash(kind)
  }

  /// Boots what is down, and lets clients begin where they are to be.
  func boot(_ index: Int) {
    pair.nodes[index].boot()
    if index == primary { startClients() }
  }

  private func restart(_ index: Int) async {
    crash(index, drawnCrash)
    await rest(upTo: index == primary ? 600 : 1500)
    boot(index)
  }

  private func restartBoth() async {
    let first = drawnNode
    crash(first, drawnCrash)
    if draw(2) == 0 { await rest(upTo: 20) }
    crash(1 - first, drawnCrash)
    let next = drawnNode
    boot(next)
    await rest(upTo: 800)
    boot(1 - next)
  }

  /// Long ways, and connections that break: what was on its way comes again on another.
  private func slowNetwork() async {
    let usual = pair.network.conditions
    pair.network.conditions.longestNanoseconds = 1_000_000 * (1 + draw(250))
    pair.network.conditions.resetPerMillion = draw(2) == 0 ? 0 : 5000
    note("a slow network, \(pair.network.conditions.resetPerMillion) resets in a million")
    await rest(upTo: 2000)
    pair.network.conditions = usual
  }

  /// A machine does nothing for a while, and goes on as if nothing had been.
  private func stall() async {
    let index = drawnNode
    let milliseconds = 1 + draw(draw(2) == 0 ? 200 : 1500)
    note("\(name(index)) does nothing for \(milliseconds) ms")
    pair.nodes[index].machine?.stall(nanoseconds: milliseconds * 1_000_000)
    await rest(upTo: 2 * milliseconds)
  }

  private func hangDisk() async {
    let index = drawnNode
    let disk = Int(draw(UInt64(pair.nodes[index].media.count)))
    note("disk \(disk) of \(name(index)) hangs")
    pair.nodes[index].hangDisk(disk)
    await rest(upTo: 1500)
    pair.nodes[index].releaseDisks()
  }

  /// One of both dies while the replica catches up, or is copied to.
  private func crashAmidReturn() async throws {
    let victim = drawnNode
    if draw(2) == 0 {
      note("cut, and \(name(victim)) dies when it ends")
      pair.cut()
      await rest(upTo: 2500)
    } else {
      note("the replica is away, and \(name(victim)) dies when it is back")
      crash(1 - primary, drawnCrash)
      await rest(upTo: 2500)
      boot(1 - primary)
    }
    pair.nodes[victim].planCrash(in: 1 + Int(draw(400)), drawnCrash)
    pair.network.heal()
    await rest(upTo: 600)
    pair.nodes[victim].forgetPlannedCrashes()
    for index in 0..<2 where !pair.nodes[index].isUp {
      stopClients(of: index)
      boot(index)
    }
  }

  /// The primary is gone, and the replica dies while it is promoted.
  private func crashAmidPromotion() async throws {
    let (old, new) = (primary, 1 - primary)
    guard pair.nodes[new].isUp, pair.nodes[old].isUp else { return }
    crash(old, drawnCrash)
    await rest(upTo: 700)
    note("\(name(new)) dies while it is promoted")
    pair.nodes[new].planCrash(in: 1 + Int(draw(40)), drawnCrash)
    let words = await promote(new, isForced: true)
    note("promoted amid that: \(words ?? "yes")")
    pair.nodes[new].forgetPlannedCrashes()
    guard pair.nodes[new].isUp else {
      boot(new)
      guard await pair.waits(seconds: 20, { self.pair.nodes[new].isUp }) else { return }
      return try await takeOver(from: old, by: new, isAlive: false)
    }
    guard words == nil else { return boot(old) }
    try await lookAtPromoted(new, from: old, wasForced: true, isAlive: false)
  }
}
