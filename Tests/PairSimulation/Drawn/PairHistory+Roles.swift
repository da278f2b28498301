import DiskFormat
import RAID
import Simulator

// Who is the primary, and what that may cost.
extension PairHistory {
  /// The primary dies, perhaps behind a cut; the replica is promoted, and everything is looked at.
  func failOver() async throws {
    let (old, new) = (primary, 1 - primary)
    guard pair.nodes[new].isUp, pair.nodes[old].isUp else { return }
    if draw(2) == 0 {
      note("cut before the end")
      pair.cut()
      await rest(upTo: 900)
    }
    crash(old, drawnCrash)
    pair.network.heal()
    await rest(upTo: 700)
    try await takeOver(from: old, by: new, isAlive: false)
  }

  /// Promotes a node, by force where nothing else does.
  func takeOver(from old: Int, by new: Int, isAlive: Bool) async throws {
    try await look()
    var wasForced = false
    let first = await promote(new, isForced: false)
    if first == "it is the primary, and serves", unseen.contains(new) {
      return try await lookAtPromoted(new, from: old, wasForced: true, isAlive: isAlive)
    }
    if let refusal = first {
      note("promotion refused: \(refusal)")
      // One that was promoted already, and died, is let go on.
      let isPrimary = refusal.contains("its replicas have not been heard")
      let again =
        draw(4) == 0 && !isPrimary ? refusal : await promote(new, isForced: true)
      if let again {
        note("\(name(new)) is not promoted: \(again)")
        pair.network.heal()
        boot(new)
        return boot(old)
      }
      wasForced = true
    }
    try await lookAtPromoted(new, from: old, wasForced: wasForced, isAlive: isAlive)
  }

  /// Promotes a node; one that dies meanwhile may have been.
  func promote(_ index: Int, isForced: Bool) async -> String? {
    let words = await pair.promote(index, isForced: isForced)
    if words == "no answer" { unseen.insert(index) }
    return words
  }

  /// Sees a promotion that came about although nobody was told.
  func adopt() async throws {
    let (old, new) = (primary, 1 - primary)
    guard await pair.role(old) == .replica, await pair.role(new) == .primary else { return }
    guard unseen.contains(new) else {
      throw PairComplaint("\(name(new)) is the primary, and nobody promoted it")
    }
    try await takeOver(from: old, by: new, isAlive: true)
  }

  /// A node was promoted: what it has is what there is from now on.
  func lookAtPromoted(
    _ new: Int, from old: Int, wasForced: Bool, isAlive: Bool
  ) async throws {
    outcome.promotionCount += 1
    note("\(name(new)) is promoted\(wasForced ? " by force" : "")")
    // What its clients asked for when it was a primary before has an end now.
    try await drainClients(of: new)
    guard let image = try await pair.image(new) else {
      guard !pair.nodes[new].isUp else {
        throw PairComplaint("promoted, and does not serve: \(await pair.describe())")
      }
      // It has died since, and whether it was promoted is seen when it is back.
      unseen.insert(new)
      boot(new)
      try await pair.wait(for: "\(name(new)) is up") { self.pair.nodes[new].isUp }
      return try await takeOver(from: old, by: new, isAlive: isAlive)
    }
    // What the old primary had made of its replica, at its end or by now, decides what may be lost.
    let counts = mode != .a && pair.nodes[old].replicaCountsOnDisk
    var bound = PairLine.Bound.prefix
    if !wasForced || counts { bound = inDoubt.contains(new) ? .flushed : .acknowledged }
    if bound == .flushed, !wasForced {
      throw PairComplaint("\(name(new)) lost its power, and is promoted without force")
    }
    if bound == .prefix { outcome.unboundCount += 1 }
    let parent = try parent(of: image, bound, at: new)
    fork = (image, lines[old])
    if parent !== lines[old] { fork = nil }
    primary = new
    lines[new] = PairLine(image: image)
    inDoubt.remove(new)
    unseen.remove(new)
    startClients()
    guard !isAlive else { return }
    if draw(3) > 0 { await rest(upTo: 500) }
    boot(old)
  }

  /// The line that an image is of: the primary's, or one that the node had before.
  private func parent(
    of image: [UInt64], _ bound: PairLine.Bound, at index: Int
  ) throws -> PairLine {
    guard let words = line.complaint(image, bound) else { return line }
    // Set aside before it had come to the primary's line.
    if bound == .prefix, lines[index].complaint(image, .prefix) == nil { return lines[index] }
    throw PairComplaint("promoted, \(name(index)): \(words)")
  }

  /// The replica is promoted while the primary lives, and goes on as far as it may.
  func split() async throws {
    let (old, new) = (primary, 1 - primary)
    guard pair.nodes[new].isUp, pair.nodes[old].isUp else { return }
    note("cut, and \(name(old)) does not hear that \(name(new)) is promoted")
    pair.cut()
    await rest(upTo: 1000)
    try await takeOver(from: old, by: new, isAlive: true)
    await rest(upTo: 800)
    heal()
    guard primary == new, pair.nodes[old].isUp else { return }
    // Another cut or a stop may come before it hears of it; then a later step sees to it.
    _ = await pair.waits(seconds: 5) {
      if case .readWrite? = await self.pair.access(old) { return false }
      return true
    }
    stopClients(of: old)
  }

  func handOver() async throws {
    let (old, new) = (primary, 1 - primary)
    guard pair.nodes[new].isUp, pair.nodes[old].isUp else { return }
    try await look()
    if let words = await pair.demote(old) {
      note("no hand-over: \(words)")
      return
    }
    stopClients(of: old)
    note("\(name(old)) hands over")
    for _ in 0..<40 where pair.nodes[new].isUp && pair.nodes[old].isUp {
      await pair.rest(milliseconds: 50)
      guard let refusal = await promote(new, isForced: false) else {
        note("\(name(new)) has taken over")
        return try await lookAtPromoted(new, from: old, wasForced: false, isAlive: true)
      }
      note("not yet: \(refusal)")
    }
    // The other never heard of it: the role is taken back.
    note("taken back: \(await pair.promote(old, isForced: true) ?? "yes")")
    startClients()
  }

  /// A replica shows nothing that there never was.
  func readReplica() async throws {
    let index = 1 - primary
    // Clients stop, so that it is one moment that is looked at.
    stopClients(of: primary)
    await pair.rest(milliseconds: 50)
    defer { startClients() }
    guard let image = try await pair.image(index) else { return }
    guard let words = line.complaint(image, .prefix) else { return }
    if lines[index] !== line, lines[index].complaint(image, .prefix) == nil { return }
    throw PairComplaint("at the replica \(name(index)): \(words)")
  }

  // MARK: Forks

  /// What only one of both has is listed exactly, and given up there.
  func resolveFork() async throws {
    let index = 1 - primary
    guard let data = await pair.diverged(index) else { return }
    if case .none? = await pair.access(primary), await pair.role(index) == .replica,
      await pair.isReadable(index)
    {
      // It lost more than it can fetch, and does not serve: the other has it.
      stopClients(of: primary)
      note("\(name(primary)) is not what goes on")
      return try await takeOver(from: primary, by: index, isAlive: true)
    }
    outcome.forkCount += 1
    stopClients(of: index)
    note(
      "\(name(index)) has \(data.recordCount) records of its own: "
        + "\(data.runs.map { "\($0.firstBlock)+\($0.blockCount)" })")
    if data.isComplete, let fork, fork.parent === lines[index] {
      try checkList(data, fork)
    }
    if let words = await pair.resync(index, discarding: data.discardWord) {
      note("no resync: \(words)")
    }
    // One that thinks that it is superseded, by the other that has just given way.
    if case .none(let words)? = await pair.access(primary), words.contains("another history") {
      note("\(name(primary)) goes on: \(await pair.promote(primary, isForced: true) ?? "yes")")
    }
  }

  private func checkList(
    _ data: DivergedData, _ fork: (image: [UInt64], parent: PairLine)
  ) throws {
    var listed: Set<Int> = []
    for run in data.runs {
      for block in run.firstBlock..<run.firstBlock + run.blockCount {
        listed.insert(Int(clamping: block))
      }
    }
    guard let (certain, possible) = fork.parent.diverged(from: fork.image) else { return }
    guard listed.isSuperset(of: certain), listed.isSubset(of: possible) else {
      throw PairComplaint(
        "diverged data is not listed exactly: \(listed.sorted()), and not "
          + "\(certain.sorted()) to \(possible.sorted())")
    }
  }
}
