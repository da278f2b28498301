package import DiskFormat
package import Geometry
import Units

/// What is wanted of a new array.
package struct CreationSettings: Equatable, Sendable {
  package static let chunkBytesDefault: UInt64 = 64 << 10
  package static let logByteCountDefault: UInt64 = 256 << 20
  /// A share that holds a 64 KiB request with all that may be under way beside it.
  package static let logShareBytesMin: UInt64 = 1 << 20

  package var name: String
  package var level: RAIDLevel
  package var chunkBytes: UInt64
  /// Logged bytes that the array holds at once; each is kept on as many members as the level
  /// needs.
  package var logByteCount: UInt64
  /// Use only so much of each member; nil is all that the smallest has.
  package var memberByteCount: UInt64?
  package var logPolicy: LogPolicy
  /// Seconds since 1970.
  package var createdSeconds: UInt64
  /// Destroy what the members hold.
  package var isForced: Bool

  package init(
    name: String, level: RAIDLevel, chunkBytes: UInt64 = Self.chunkBytesDefault,
    logByteCount: UInt64 = Self.logByteCountDefault, memberByteCount: UInt64? = nil,
    logPolicy: LogPolicy = .auto, createdSeconds: UInt64, isForced: Bool = false
  ) {
    self.name = name
    self.level = level
    self.chunkBytes = chunkBytes
    self.logByteCount = logByteCount
    self.memberByteCount = memberByteCount
    self.logPolicy = logPolicy
    self.createdSeconds = createdSeconds
    self.isForced = isForced
  }
}

/// A device that is to become a member, and what was found on it.
package struct CreationCandidate: Equatable, Sendable {
  /// Path or URI.
  package var name: String
  package var byteCount: UInt64
  /// What of ours is there.
  package var content: MemberContent?
  /// What else is there, in words: "an ext4 file system".
  package var foreignContent: String?

  package init(
    name: String, byteCount: UInt64, content: MemberContent? = nil, foreignContent: String? = nil
  ) {
    self.name = name
    self.byteCount = byteCount
    self.content = content
    self.foreignContent = foreignContent
  }

  /// What would be destroyed, if anything.
  package var loss: String? {
    if let content, content.isWorthKeeping { return "\(name) holds \(content)" }
    return foreignContent.map { "\(name) holds \($0)" }
  }
}

/// An array that can be created: what goes to each member, and what that does.
package struct ArrayCreation: Equatable, Sendable {
  package let geometry: StripeGeometry
  package let layout: MemberLayout
  /// Paths or URIs, by slot; then those of the spares, by seat.
  package let memberNames: [String]
  /// The first superblock of each slot, then of each seat that has a spare, with an event count of 0:
  /// the array is not finished.
  package let drafts: [Superblock]
  /// What the members hold and will lose, in words.
  package let destroyed: [String]
  /// What an operator should know: space that stays unused.
  package let notes: [String]
  let finalConfigurationID: Identifier

  /// Checks what is wanted, and lays the array out.
  ///
  /// `candidates` has one for each slot, in order, and `spares` those that wait in seats behind them;
  /// `randomNumber` gives fresh bits, for identities.
  package init(
    _ settings: CreationSettings, _ candidates: [CreationCandidate],
    spares: [CreationCandidate] = [], randomNumber: () -> UInt64
  ) throws(CreationRefusal) {
    try Self.check(settings, candidates, spares)
    let everybody = candidates + spares
    let losses = everybody.compactMap(\.loss)
    guard settings.isForced || losses.isEmpty else { throw .holdsSomething(losses) }
    (geometry, layout) = try Self.laidOut(settings, candidates)
    let endBytes = layout.endBytes(geometry: geometry)
    if let small = spares.first(where: { $0.byteCount < endBytes }) {
      throw .spareTooSmall(path: small.name, byteCount: small.byteCount, needed: endBytes)
    }
    memberNames = everybody.map(\.name)
    destroyed = losses
    notes = Self.notes(candidates, endBytes: endBytes)
    func identifier() -> Identifier {
      // Never `none`, however unlikely.
      Identifier(high: randomNumber(), low: randomNumber() | 1)
    }
    let arrayID = identifier()
    let configurationID = identifier()
    let timeline = Timeline(
      timelineID: identifier(), start: StreamPosition(number: 0, chain: 0))
    let memberIDs = candidates.map { _ in identifier() }
    let reserves = spares.indices.map {
      Reserve(seat: candidates.count + $0, memberID: identifier())
    }
    finalConfigurationID = identifier()
    let (geometry, layout) = (geometry, layout)
    drafts = (memberIDs + reserves.map(\.memberID)).enumerated().map { place, memberID in
      Superblock(
        arrayID: arrayID, memberID: memberID, slot: place, name: settings.name,
        level: settings.level, memberCount: candidates.count, chunkBytes: settings.chunkBytes,
        memberBlockCount: geometry.memberBlockCount, layout: layout,
        createdSeconds: settings.createdSeconds, eventCount: 0,
        configurationID: configurationID, memberIDs: memberIDs,
        memberStates: memberIDs.map { _ in .current }, timelines: [timeline],
        superblockSequence: 0, isClean: true, logEpoch: 1, epochFirstSequence: 1,
        checkpointSequence: 0, checkpointChain: 0, checkpointClientSequence: 0,
        logTailOffset: 0, horizon: 0, pageSequence: 1, ownerNonce: .none, heartbeat: 0,
        reserves: reserves, logPolicy: settings.logPolicy)
    }
  }

  /// A superblock that makes who is in a slot or seat a member of a finished array.
  package func finished(slot: Int, superblockSequence: UInt64) -> Superblock {
    var superblock = drafts[slot].reconfigured(
      memberIDs: drafts[slot].memberIDs, memberStates: drafts[slot].memberStates,
      configurationID: finalConfigurationID)
    superblock.superblockSequence = superblockSequence
    return superblock
  }

  private static func check(
    _ settings: CreationSettings, _ candidates: [CreationCandidate], _ spares: [CreationCandidate]
  ) throws(CreationRefusal) {
    let isText = settings.name.unicodeScalars.allSatisfy {
      $0.properties.generalCategory != .control
    }
    guard (1...Superblock.nameBytesMax).contains(settings.name.utf8.count), isText else {
      throw .name(settings.name)
    }
    let allowed = settings.level.memberCountMin...StripeGeometry.memberCountMax
    guard allowed.contains(candidates.count) else {
      throw .memberCount(candidates.count, level: settings.level, allowed: allowed)
    }
    guard spares.isEmpty || settings.level != .raid0 else { throw .spareOfNoUse }
    guard spares.count <= Superblock.reserveCountMax else { throw .spareCount(spares.count) }
    let everybody = candidates + spares
    for (index, candidate) in everybody.enumerated() {
      guard !everybody[..<index].contains(where: { $0.name == candidate.name }) else {
        throw .repeated(path: candidate.name)
      }
      if let asked = settings.memberByteCount, candidate.byteCount < asked {
        throw .memberSmallerThanAsked(
          path: candidate.name, byteCount: candidate.byteCount, asked: asked)
      }
    }
    let copies = copyCount(settings.level, candidates.count)
    let members = UInt64(candidates.count)
    guard
      logShareBytes(settings.logByteCount, copies: copies, members: members)
        >= CreationSettings.logShareBytesMin
    else {
      // The least whole number of pages whose share is rounded up to enough.
      let tooLittle = (CreationSettings.logShareBytesMin - 4096) * members / copies
      let minimum = (tooLittle / 4096 + 1) * 4096
      throw .logTooSmall(byteCount: settings.logByteCount, minimum: minimum)
    }
  }

  private static func laidOut(
    _ settings: CreationSettings, _ candidates: [CreationCandidate]
  ) throws(CreationRefusal) -> (StripeGeometry, MemberLayout) {
    guard let smallest = candidates.min(by: { $0.byteCount < $1.byteCount }) else {
      preconditionFailure("the number of members was checked")
    }
    let share = logShareBytes(
      settings.logByteCount, copies: copyCount(settings.level, candidates.count),
      members: UInt64(candidates.count))
    let memberByteCount = settings.memberByteCount ?? smallest.byteCount
    do throws(GeometryError) {
      return try MemberLayout.largest(
        level: settings.level, memberCount: candidates.count, chunkBytes: settings.chunkBytes,
        memberByteCount: memberByteCount, logByteCount: share)
    } catch {
      switch error {
      case .chunkSize(let bytes): throw .chunkSize(bytes: bytes)
      case .memberCount(let count, let allowed):
        throw .memberCount(count, level: settings.level, allowed: allowed)
      case .memberTooSmall:
        throw .memberTooSmall(
          path: smallest.name, byteCount: memberByteCount,
          needed: smallestEndBytes(settings, candidates.count, share))
      }
    }
  }

  /// Where a member of a single chunk ends.
  private static func smallestEndBytes(
    _ settings: CreationSettings, _ memberCount: Int, _ share: UInt64
  ) -> UInt64 {
    do throws(GeometryError) {
      let least = try StripeGeometry(
        level: settings.level, memberCount: memberCount, chunkBytes: settings.chunkBytes,
        memberBlockCount: settings.chunkBytes / StripeGeometry.blockBytes)
      return MemberLayout(geometry: least, logByteCount: share).endBytes(geometry: least)
    } catch {
      return 2 * MemberLayout.superblockBytes + share + settings.chunkBytes
    }
  }

  /// On how many members each batch lies.
  private static func copyCount(_ level: RAIDLevel, _ memberCount: Int) -> UInt64 {
    switch level {
    case .raid0: 1
    case .raid1: UInt64(memberCount)
    case .raid5, .raid10: 2
    case .raid6: 3
    }
  }

  /// Each member's part of the log; a multiple of 4096.
  private static func logShareBytes(
    _ total: UInt64, copies: UInt64, members: UInt64
  ) -> UInt64 {
    // Beyond any device, and far from overflow: `MemberLayout` finds it too large.
    let bounded = min(total, 1 << 56)
    let share = (bounded * copies + members - 1) / members
    return (share + 4095) & ~4095
  }

  private static func notes(_ candidates: [CreationCandidate], endBytes: UInt64) -> [String] {
    let smallest = candidates.map(\.byteCount).min() ?? 0
    return candidates.compactMap { candidate in
      let unused = candidate.byteCount - min(candidate.byteCount, endBytes)
      // What is less than a chunk's rest on members of equal size is not worth a word.
      guard candidate.byteCount > smallest || unused > endBytes / 100 else { return nil }
      return "\(candidate.name): \(ByteSize.format(unused)) of "
        + "\(ByteSize.format(candidate.byteCount)) stay unused"
    }
  }
}
