import DiskFormat
package import IO
package import RAID
package import Simulator
package import Units
package import Volumes

/// What is put to the test: something that makes a device of a few disks and opens it again after
/// every crash.
///
/// The real array and the plain file that serves as a control stand behind the same protocol; the
/// rest of the simulation knows nothing of either.
package protocol SystemUnderTest: Sendable {
  /// The word on the command line.
  var name: String { get }

  /// What the checker holds it to.
  var promises: Promises { get }

  /// How many members may be lost or lie in a shape without a loss of data.
  func redundancy(of shape: ArrayShape) -> Int

  /// How large a member has to be; what its shape says, where the system needs no more.
  func mediumBytes(of shape: ArrayShape) -> UInt64

  /// Makes the array on fresh media, once for each history, without faults.
  func create(
    _ shape: ArrayShape, on disks: [SimulatedDisk], of machine: SimulatedMachine
  ) async throws(StartRefusal)

  /// Opens what is on the disks; returns when it can be served.
  func start(_ setup: StartSetup) async throws(StartRefusal) -> any DeviceUnderTest

  /// Where damage beyond redundancy leaves nobody in doubt about what was acknowledged: not in a
  /// log, whose last batches cannot be told from ones that were never written.
  func damageableRanges(of shape: ArrayShape) -> [ByteRange]

  /// Whether a member still says who it is. One that lies may have lost both superblocks: then it
  /// is missing until an operator replaces it.
  func isRecognizable(_ medium: SimulatedMedium) -> Bool

  /// What is wrong between the members of an array that was stopped in order with all of them up
  /// to date: copies that differ, parity that does not fit. Nil when all agree.
  func disagreement(between media: [SimulatedMedium], _ shape: ArrayShape) -> String?

  /// How many records of clients the log of an array has taken that was stopped in order, by its
  /// own count; nil where nothing counts them.
  func clientRecordCount(on media: [SimulatedMedium]) -> UInt64?
}

extension SystemUnderTest {
  package func isRecognizable(_ medium: SimulatedMedium) -> Bool { true }

  package func mediumBytes(of shape: ArrayShape) -> UInt64 { shape.memberBytes }

  package func disagreement(between media: [SimulatedMedium], _ shape: ArrayShape) -> String? {
    nil
  }

  package func clientRecordCount(on media: [SimulatedMedium]) -> UInt64? { nil }
}

/// What the checker demands beyond P1 and P2, which everything must keep.
package struct Promises: Equatable, Sendable {
  /// Requests up to so many bytes are whole or absent after a crash (P6); 512 asks nothing.
  package var atomicBytes: UInt64
  /// Requests to zero are such requests, too; otherwise each of their sectors is for itself.
  package var zeroingIsAtomic = true
  /// Whole blocks of 4 KiB of a trim read as zeros; otherwise as zeros or as before, sector by
  /// sector.
  package var trimZeroesBlocks: Bool
  /// The sectors of requests beyond `atomicBytes` are for themselves after a crash.
  package var longRequestsGoDirect = false
  /// Blocks of such a request may be unreadable after a crash: members may be lost in it.
  package var excusesTornWrites = false
  /// More is damaged than redundancy makes good.
  package var toleratesLoss = false
  /// All members are said to be up to date a while after they are all there.
  package var becomesOptimal: Bool

  package init(atomicBytes: UInt64, trimZeroesBlocks: Bool, becomesOptimal: Bool) {
    self.atomicBytes = atomicBytes
    self.trimZeroesBlocks = trimZeroesBlocks
    self.becomesOptimal = becomesOptimal
  }

  /// What Ashlar's array promises.
  package static let ofArray = Promises(
    atomicBytes: 64 << 10, trimZeroesBlocks: true, becomesOptimal: true)

  /// What is left of it in a history.
  func held(to plan: HistoryPlan) -> Promises {
    var promises = self
    guard self == .ofArray, plan.options.logPolicy != .full else { return promises }
    promises.longRequestsGoDirect = true
    promises.toleratesLoss = plan.allowsErrors
    promises.excusesTornWrites =
      !plan.excusesNothing
      && plan.lives.contains {
        !$0.absent.isEmpty || !$0.rates.isEmpty || !$0.incidents.isEmpty || !$0.latencies.isEmpty
      }
    return promises
  }
}

/// What a start is given.
package struct StartSetup: Sendable {
  package var machine: SimulatedMachine
  package var shape: ArrayShape
  /// By slot, then devices that may become members; nil for what is not there.
  package var disks: [SimulatedDisk?]
  package var options: ArrayOptions

  package init(
    machine: SimulatedMachine, shape: ArrayShape, disks: [SimulatedDisk?], options: ArrayOptions
  ) {
    self.machine = machine
    self.shape = shape
    self.disks = disks
    self.options = options
  }
}

/// Why an array was not made or not started, in the words that an operator gets.
package struct StartRefusal: Error, Equatable, Sendable {
  package var reason: String
  /// Whether `isForced` would make the difference.
  package var canBeForced: Bool

  package init(_ reason: String, canBeForced: Bool = false) {
    self.reason = reason
    self.canBeForced = canBeForced
  }
}

/// A device that serves.
///
/// The clients' view of it, and a little of an operator's. Its machine is the one it was started
/// on; buffers belong to the caller until the call returns.
package protocol DeviceUnderTest: Sendable {
  /// Asked once, after the start.
  nonisolated var byteCount: UInt64 { get }

  func read(_ range: ByteRange, into buffer: IOBuffer) async throws(VolumeError)
  func write(_ range: ByteRange, from buffer: IOBuffer, durably: Bool) async throws(VolumeError)
  func flush() async throws(VolumeError)
  func trim(_ range: ByteRange, durably: Bool) async throws(VolumeError)
  func writeZeroes(
    _ range: ByteRange, keepAllocated: Bool, durably: Bool
  ) async throws(VolumeError)

  /// Whether every member is up to date and redundancy is whole (T8).
  func isOptimal() async -> Bool

  /// What an operator does who sees a member out that is there: wants it taken back.
  func takeBackMembers() async

  /// What an operator says to it; a system without such words ignores them.
  func perform(_ action: LifePlan.OperatorAction) async

  /// Scrubs to the end.
  ///
  /// - Returns: what was found; nil when nothing was, or there is no scrub.
  func scrub(repairs: Bool) async -> ScrubFindings?

  /// What else an operator does; what is refused is refused.
  func carryOut(_ command: LifePlan.MemberCommand) async

  /// Puts devices that are nobody's into slots that are empty.
  func fillEmptySlots() async

  /// What its status says, for reports.
  func describe() async -> String

  /// Stops in order. No request may be in flight.
  func close() async throws(VolumeError)
}

/// What a scrub found.
package struct ScrubFindings: Sendable {
  package var words: String
  /// The sectors of blocks that are lost, where these are all that was found; else nil.
  package var lostSectors: [Range<Int>]?
}
