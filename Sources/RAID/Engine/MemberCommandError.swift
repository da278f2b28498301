package import DiskFormat
import Units

/// Why a command about a member was not carried out.
package enum MemberCommandError: Error, Equatable, Sendable {
  case notAMember(Identifier)
  /// It serves: it has to fail, or to be replaced, before it can be removed.
  case isServing(slot: Int)
  /// A spare or a replacement: it can only be removed.
  case isReserve(seat: Int)
  /// The level cannot spare it.
  case wouldStop(slot: Int, words: String)
  case tooSmall(neededBytes: UInt64, haveBytes: UInt64)
  /// What was given is a member already, perhaps by another name.
  case isMember(name: String, memberID: Identifier)
  /// It was failed, and is not there to be taken again.
  case notThere(slot: Int, name: String)
  /// All seats are taken.
  case noRoom
  /// It cannot be done now, and why.
  case busy(String)
  /// The new member cannot be written.
  case notWritable(name: String, words: String)
  case stopped(ArrayError)

  /// For an operator.
  package var words: String {
    switch self {
    case .notAMember(let memberID): "member \(memberID) is not on the array's list"
    case .isServing(let slot):
      "the member in slot \(slot) serves: take it out ('ashlar member fail NAME MEMBER') or replace it "
        + "('ashlar member replace NAME MEMBER WITH') first"
    case .isReserve(let seat):
      "the member in seat \(seat) is a reserve: it can be removed ('ashlar member remove NAME MEMBER')"
    case .wouldStop(let slot, let words): "without the member in slot \(slot) \(words)"
    case .tooSmall(let needed, let have):
      "it has \(ByteSize.formatExactly(have)), and a member of this array needs "
        + "\(ByteSize.formatExactly(needed))"
    case .isMember(let name, let memberID):
      "it is member \(memberID) of this array already (\(name))"
    case .notThere(let slot, let name):
      "the member in slot \(slot)\(name.isEmpty ? "" : ", last at \(name),") is not there"
    case .noRoom:
      "all \(Superblock.reserveCountMax) seats of reserves are taken: remove a spare first"
    case .busy(let words): words
    case .notWritable(let name, let words): "\(name) \(words)"
    case .stopped(let error): error.words
    }
  }
}

/// What became of a new member.
package enum MemberSeat: Equatable, Sendable {
  /// It has a slot, and is being rebuilt.
  case slot(Int)
  /// It waits, in this seat.
  case spare(seat: Int)
}
