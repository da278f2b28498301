import DiskFormat
package import Geometry
package import IO
import Units
import Volumes

/// Why an array is not created; nothing was written.
package enum CreationRefusal: Error, Equatable, Sendable {
  case name(String)
  case memberCount(Int, level: RAIDLevel, allowed: ClosedRange<Int>)
  case chunkSize(bytes: UInt64)
  /// The same name given twice.
  case repeated(path: String)
  /// Members that hold something, with what it is: `isForced` overwrites it.
  case holdsSomething([String])
  /// The log's size gives each member less than it needs.
  case logTooSmall(byteCount: UInt64, minimum: UInt64)
  /// Members have less than the size asked for.
  case memberSmallerThanAsked(path: String, byteCount: UInt64, asked: UInt64)
  case memberTooSmall(path: String, byteCount: UInt64, needed: UInt64)
  /// A spare could not take the slot of a member.
  case spareTooSmall(path: String, byteCount: UInt64, needed: UInt64)
  case spareCount(Int)
  /// The level cannot lose a member whose slot a spare could take.
  case spareOfNoUse
}

extension CreationRefusal: CustomStringConvertible {
  package var description: String {
    switch self {
    case .name(let name):
      name.isEmpty
        ? "an array needs a name"
        : "'\(name)' cannot be an array's name: use 1 to \(Superblock.nameBytesMax) bytes of text"
    case .memberCount(let count, let level, let allowed):
      "\(level.name) takes \(allowed.lowerBound) to \(allowed.upperBound) members, and "
        + "\(count) \(count == 1 ? "was" : "were") given"
    case .chunkSize(let bytes):
      "a chunk of \(ByteSize.formatExactly(bytes)) cannot be: use a power of two from "
        + "\(ByteSize.formatExactly(StripeGeometry.chunkBytesAllowed.lowerBound)) to "
        + "\(ByteSize.formatExactly(StripeGeometry.chunkBytesAllowed.upperBound))"
    case .repeated(let path): "\(path) is given twice: each member must be a device of its own"
    case .holdsSomething(let members):
      "nothing was written: " + members.joined(separator: "; ")
        + ". Choose other members, or --force to destroy what they hold"
    case .logTooSmall(let byteCount, let minimum):
      "a log of \(ByteSize.formatExactly(byteCount)) is too small for so many members: give at "
        + "least --log-size \(ByteSize.formatExactly(minimum))"
    case .memberSmallerThanAsked(let path, let byteCount, let asked):
      "\(path) has \(ByteSize.formatExactly(byteCount)), less than the "
        + "\(ByteSize.formatExactly(asked)) asked for"
    case .memberTooSmall(let path, let byteCount, let needed):
      "\(path) has \(ByteSize.formatExactly(byteCount)), and a member with such a log needs "
        + "\(ByteSize.formatExactly(needed)) at least: take a larger one or a smaller --log-size"
    case .spareTooSmall(let path, let byteCount, let needed):
      "\(path) has \(ByteSize.formatExactly(byteCount)), and a spare of these members needs "
        + "\(ByteSize.formatExactly(needed)): take a larger one, or use less of each member (--size)"
    case .spareCount(let count):
      "\(count) spares were given, and an array has at most \(Superblock.reserveCountMax)"
    case .spareOfNoUse:
      "\(RAIDLevel.raid0.name) cannot do without any member, so a spare would never be used"
    }
  }
}

/// Why an array's creation stopped halfway.
///
/// What was on the members is gone. What is there now is refused as unfinished, or, after
/// `notFinished`, it may be the whole, empty array.
package enum CreationError: Error, Equatable, Sendable {
  case disk(path: String, step: String, DiskError)
  /// All members are prepared, and one failed while the last word was written.
  case notFinished(path: String, step: String, DiskError)
  case outOfMemory
  /// What was written to one member was read back from another: they are one device.
  case sameDevice(path: String, other: String)
  /// What was written was not there when it was read back.
  case notKept(path: String)
}

extension CreationError: CustomStringConvertible {
  package var description: String {
    let next = "The array was not made; run 'ashlar create' again when this is put right"
    return switch self {
    case .disk(let path, let step, let error): "cannot \(step) \(path): \(error.words). \(next)"
    case .notFinished(let path, let step, let error):
      "cannot \(step) \(path): \(error.words). The array is prepared and may be complete: see "
        + "'ashlar examine', or replace \(path) and run 'ashlar create --force' again"
    case .outOfMemory: "out of memory. \(next)"
    case .sameDevice(let path, let other):
      "\(path) and \(other) are one device by two names: what was written to one was read from "
        + "the other. \(next)"
    case .notKept(let path):
      "\(path) does not keep what is written to it: the superblock read back is another one. "
        + next
    }
  }
}
