package import IO
package import Units

/// What the NBD server exports: a device of bytes, whatever is below it.
///
/// A plain file or memory now, the array later. A volume belongs to the actor that serves it and
/// runs on that actor's executor; it is called by many requests at once, interleaved at each
/// `await`. Ranges lie inside the device: the server has checked them. Any offset and length is
/// allowed, aligned or not.
package protocol Volume: AnyObject, SendableMetatype {
  /// Asked once, before data flows.
  var traits: VolumeTraits { get }

  /// How it is now. Never waits.
  var health: VolumeHealth { get }

  /// When the oldest operation that what lies below has not answered was handed to it; nil when
  /// there is none. Never waits.
  var oldestOperationNanoseconds: UInt64? { get }

  /// Fills `buffer` with the bytes of the range; as long as the range.
  func read(_ range: ByteRange, into buffer: IOBuffer) async throws(VolumeError)

  /// Whether `readLent` spares a copy for this range.
  func lends(_ range: ByteRange) -> Bool

  /// Reads into memory of the volume's own.
  ///
  /// - Returns: nil when it has none to lend now: `read` is the way.
  func readLent(_ range: ByteRange) async throws(VolumeError) -> (any LentMemory)?

  /// Writes `buffer` to the range. With `durably`, returns when it would survive power loss.
  func write(_ range: ByteRange, from buffer: IOBuffer, durably: Bool) async throws(VolumeError)

  /// The bytes of the range where they lie, if they lie in memory for good.
  ///
  /// Whoever sends them from there spares a copy and a wait. A write to the range may change them
  /// until they have been sent, as it may change what a read that waits brings back.
  ///
  /// - Returns: nil when they have to be read.
  func residentBytes(of range: ByteRange) -> IOBuffer?

  /// Reads without waiting for anything, where that is possible.
  ///
  /// - Returns: false when it would have to wait: the buffer's contents are undefined, `read` is
  ///   the way.
  func readAtOnce(_ range: ByteRange, into buffer: IOBuffer) throws(VolumeError) -> Bool

  /// Writes without waiting for anything, where that is possible.
  ///
  /// - Returns: false when it would have to wait: nothing was written, `write` is the way.
  func writeAtOnce(
    _ range: ByteRange, from buffer: IOBuffer, durably: Bool
  ) throws(VolumeError) -> Bool

  /// Makes durable every write that had returned when this was called, and those that returned
  /// while it waited for an earlier flush to end.
  func flush() async throws(VolumeError)

  /// Gives space back where that is possible. The range reads as zeros or as before afterwards.
  func trim(_ range: ByteRange, durably: Bool) async throws(VolumeError)

  /// Makes the range read as zeros.
  ///
  /// - Throws: `notSupported` with `onlyIfFast` when it would be no faster than writing zeros;
  ///   the contents are then unchanged.
  func writeZeroes(
    _ range: ByteRange, keepAllocated: Bool, onlyIfFast: Bool, durably: Bool
  ) async throws(VolumeError)

  /// Describes the range from its start: at least one extent, at most `extents.capacity`, perhaps
  /// not the whole range.
  func extents(of range: ByteRange, into extents: ExtentList) async throws(VolumeError)

  /// Asks for the range to be read ahead. Changes no contents.
  func prefetch(_ range: ByteRange) async

  /// Stops the device for good, because a part of it no longer answers: every later request
  /// fails with `stopped`. `cause` is shown in the status.
  func fail(cause: String, action: String)

  /// Flushes and releases what is below. No request may be in flight.
  func close() async throws(VolumeError)
}

// Most volumes have to wait for something.
extension Volume {
  package func residentBytes(of range: ByteRange) -> IOBuffer? { nil }

  package func lends(_ range: ByteRange) -> Bool { false }

  package func readLent(_ range: ByteRange) async throws(VolumeError) -> (any LentMemory)? { nil }

  package func readAtOnce(
    _ range: ByteRange, into buffer: IOBuffer
  ) throws(VolumeError) -> Bool { false }

  package func writeAtOnce(
    _ range: ByteRange, from buffer: IOBuffer, durably: Bool
  ) throws(VolumeError) -> Bool { false }
}

/// What a volume is and can do.
package struct VolumeTraits: Equatable, Sendable {
  /// What it lies on, for the status: `file /srv/a.img (direct)` or `memory`.
  package var kind: String
  package var byteCount: UInt64
  package var isReadOnly: Bool
  package var isRotational: Bool
  /// The size and alignment that need no read-modify-write; a power of two of 512 or more.
  package var preferredBlockBytes: UInt32

  package init(
    kind: String, byteCount: UInt64, isReadOnly: Bool, isRotational: Bool,
    preferredBlockBytes: UInt32
  ) {
    self.kind = kind
    self.byteCount = byteCount
    self.isReadOnly = isReadOnly
    self.isRotational = isRotational
    self.preferredBlockBytes = preferredBlockBytes
  }
}

/// A volume's state in the form that an operator needs: state, cause, action.
package enum VolumeHealth: Equatable, Sendable {
  case optimal
  /// It answers, but something went wrong; `cause` says what, `action` what to do next.
  case impaired(cause: String, action: String)
  /// It has stopped writing, or altogether, until it is restarted.
  case failed(cause: String, action: String)
}

/// Why a request to a volume failed.
package enum VolumeError: Error, Equatable, Sendable {
  /// The medium failed; the reason is for the log.
  case inputOutput(reason: String)
  /// No space left below.
  case noSpace
  /// Cannot be done quickly, or not at all.
  case notSupported
  /// The device has stopped; see `VolumeHealth.failed`.
  case stopped
}

/// A run of bytes of one kind, for `base:allocation`.
package struct Extent: Equatable, Sendable {
  package var byteCount: UInt64
  /// Reads as zeros and has no space reserved; where false, a later write finds space.
  package var isHole: Bool
  /// Reads as zeros.
  package var isZero: Bool

  @inlinable
  package init(byteCount: UInt64, isHole: Bool, isZero: Bool) {
    self.byteCount = byteCount
    self.isHole = isHole
    self.isZero = isZero
  }
}

/// A list of extents that its owner fills again and again; neighbours of one kind are joined.
package final class ExtentList {
  package private(set) var extents: [Extent]
  package private(set) var capacity: Int
  /// The bytes that all extents cover together.
  package private(set) var byteCount: UInt64 = 0

  package init(capacity: Int) {
    precondition(capacity > 0)
    self.capacity = capacity
    self.extents = []
    extents.reserveCapacity(capacity)
  }

  /// Empties the list and takes at most `capacity` extents from now on.
  package func removeAll(capacity: Int) {
    precondition(capacity > 0)
    extents.removeAll(keepingCapacity: true)
    self.capacity = capacity
    byteCount = 0
  }

  /// Adds an extent behind the others.
  ///
  /// - Returns: false when the list is full; the extent was not added.
  package func append(_ extent: Extent) -> Bool {
    guard extent.byteCount > 0 else { return true }
    if let last = extents.last, last.isHole == extent.isHole, last.isZero == extent.isZero {
      extents[extents.count - 1].byteCount += extent.byteCount
    } else {
      guard extents.count < capacity else { return false }
      extents.append(extent)
    }
    byteCount += extent.byteCount
    return true
  }
}
