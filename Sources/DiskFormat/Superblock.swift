package import Geometry

/// What a slot's member counts as, in the list that a configuration holds.
package enum MemberState: UInt8, Equatable, Sendable {
  /// In sync: it has a say, and may be read.
  case current = 0
  /// Not in sync: nothing on it is believed. What changed meanwhile is marked in the page map.
  case out = 1
  /// Being brought up to date: written, never read.
  case syncing = 2
  /// Out by an operator's wish: a start does not bring it up to date by itself.
  case failed = 3
}

/// Which writes take the log.
package enum LogPolicy: UInt8, CaseIterable, Equatable, Sendable {
  /// All of them.
  case full = 0
  /// All but the whole rows of long requests, which go home directly.
  case auto = 1

  /// The word on the command line.
  package var name: String {
    switch self {
    case .auto: "auto"
    case .full: "full"
    }
  }

  package init?(name: String) {
    guard let policy = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = policy
  }
}

/// A member in a seat behind the slots: it waits, or is being made a copy of another.
package struct Reserve: Equatable, Sendable {
  /// `memberCount` of the array, and up.
  package var seat: Int
  package var memberID: Identifier
  /// The slot whose member it is made a copy of; nil for a spare.
  package var targetSlot: Int?

  package init(seat: Int, memberID: Identifier, targetSlot: Int? = nil) {
    self.seat = seat
    self.memberID = memberID
    self.targetSlot = targetSlot
  }
}

/// What a member says of itself and of its array: one of two, A and B, written in turn.
package struct Superblock: Equatable, Sendable {
  package static let byteCount = 4096
  package static let version: UInt32 = 2
  package static let nameBytesMax = 64
  package static let timelineCountMax = 16
  package static let reserveCountMax = 8
  /// A member that leaves and returns makes three configurations, so this reaches back ten returns.
  package static let configurationHistoryCountMax = 32

  // Who it is. Never changes.
  package var arrayID: Identifier
  package var memberID: Identifier
  /// Its place: a slot, or the seat of a reserve.
  package var slot: Int
  package var name: String
  package var level: RAIDLevel
  package var memberCount: Int
  package var chunkBytes: UInt64
  package var memberBlockCount: UInt64
  package var layout: MemberLayout
  /// Seconds since 1970.
  package var createdSeconds: UInt64
  package var logPolicy: LogPolicy

  // The configuration: written on all survivors before the next acknowledgement (rule T6).
  /// Rises by one with each configuration.
  package var eventCount: UInt64
  package var configurationID: Identifier
  /// The member in each slot, and what it counts as; `memberCount` of both.
  package var memberIDs: [Identifier]
  package var memberStates: [MemberState]
  package var timelines: [Timeline]

  // The state of the log.
  /// Rises with each superblock written to this member; the even ones go to A.
  package var superblockSequence: UInt64
  /// Everything is home and the log is empty: set at a proper end, cleared at the start.
  package var isClean: Bool
  package var logEpoch: UInt64
  /// Batches from this number on are valid only if they carry `logEpoch` or a later one.
  package var epochFirstSequence: UInt64
  /// Every batch up to this one is home, with its table pages, durably (rule L6).
  package var checkpointSequence: UInt64
  /// The chain checksum of that batch.
  package var checkpointChain: UInt32
  /// Client records up to this number came before the end of that batch (rule L8).
  package var checkpointClientSequence: UInt64
  /// The chain of client records there (rule C1).
  package var checkpointClientChain: UInt32
  /// Where this member's first batch behind the checkpoint begins, or will; from the start of its
  /// log region.
  package var logTailOffset: UInt64
  /// The highest batch known to be durable together with all before it (rule L1).
  package var horizon: UInt64
  /// Table and map pages written from now on have sequence numbers above this one.
  package var pageSequence: UInt64

  // Who uses it (rule T7).
  /// Drawn by the process that serves the array; `none` when nobody does.
  package var ownerNonce: Identifier
  /// Rises while it serves.
  package var heartbeat: UInt64

  // Where the configuration comes from (rule T6).
  /// The configurations before this one, the newest first; each counts one event less.
  ///
  /// With them an ancestor is told from a fork.
  package var configurationHistory: [Identifier]

  /// Members beside the slots, in the order of their seats; part of the configuration.
  package var reserves: [Reserve]

  /// Who else has the device; part of the configuration.
  package var replication: ReplicationState

  package init(
    arrayID: Identifier,
    memberID: Identifier,
    slot: Int,
    name: String,
    level: RAIDLevel,
    memberCount: Int,
    chunkBytes: UInt64,
    memberBlockCount: UInt64,
    layout: MemberLayout,
    createdSeconds: UInt64,
    eventCount: UInt64,
    configurationID: Identifier,
    memberIDs: [Identifier],
    memberStates: [MemberState],
    timelines: [Timeline],
    superblockSequence: UInt64,
    isClean: Bool,
    logEpoch: UInt64,
    epochFirstSequence: UInt64,
    checkpointSequence: UInt64,
    checkpointChain: UInt32,
    checkpointClientSequence: UInt64,
    logTailOffset: UInt64,
    horizon: UInt64,
    pageSequence: UInt64,
    ownerNonce: Identifier,
    heartbeat: UInt64,
    configurationHistory: [Identifier] = [],
    reserves: [Reserve] = [],
    logPolicy: LogPolicy = .full,
    checkpointClientChain: UInt32 = 0,
    replication: ReplicationState = .alone
  ) {
    self.arrayID = arrayID
    self.memberID = memberID
    self.slot = slot
    self.name = name
    self.level = level
    self.memberCount = memberCount
    self.chunkBytes = chunkBytes
    self.memberBlockCount = memberBlockCount
    self.layout = layout
    self.createdSeconds = createdSeconds
    self.eventCount = eventCount
    self.configurationID = configurationID
    self.memberIDs = memberIDs
    self.memberStates = memberStates
    self.timelines = timelines
    self.superblockSequence = superblockSequence
    self.isClean = isClean
    self.logEpoch = logEpoch
    self.epochFirstSequence = epochFirstSequence
    self.checkpointSequence = checkpointSequence
    self.checkpointChain = checkpointChain
    self.checkpointClientSequence = checkpointClientSequence
    self.logTailOffset = logTailOffset
    self.horizon = horizon
    self.pageSequence = pageSequence
    self.ownerNonce = ownerNonce
    self.heartbeat = heartbeat
    self.configurationHistory = configurationHistory
    self.reserves = reserves
    self.logPolicy = logPolicy
    self.checkpointClientChain = checkpointClientChain
    self.replication = replication
  }
}

/// Why a superblock or page or batch is not believed.
package enum FormatError: Error, Equatable, Sendable {
  /// Nothing of ours is there.
  case noMagic
  case checksum(stored: UInt32, computed: UInt32)
  /// Written by a later Ashlar, or one that does not exist.
  case version(found: UInt32, supported: UInt32)
  /// The checksum is right, but a field makes no sense.
  case field(name: String, value: UInt64)
  /// It belongs to another array, page or place: misdirected.
  case misplaced(what: String, expected: String, found: String)
}
