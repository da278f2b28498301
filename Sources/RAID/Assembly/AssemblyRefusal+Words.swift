import DiskFormat
import Geometry
import Units

// What happened, to what, and what to do next.
extension AssemblyRefusal: CustomStringConvertible {
  package var description: String {
    switch self {
    case .noSuperblock(let members): Self.noSuperblockWords(members)
    case .newerVersion(let path, let found, let supported):
      "\(path) was written by a newer ashlar: its format is version \(found), and this one reads "
        + "up to \(supported). Use the newer ashlar, and serve the array with no older one"
    case .contradictoryCopies(let a, let b):
      "the two superblocks of \(a.path) contradict each other: A is of member \(a.memberID), slot "
        + "\(a.slot) of array '\(a.arrayName)' \(a.arrayID); B is of member \(b.memberID), slot "
        + "\(b.slot) of array '\(b.arrayName)' \(b.arrayID). Something else has written to it: "
        + "leave it out; the array starts without it when the others suffice"
    case .foreign(let members): Self.foreignWords(members)
    case .impossible(let member, let field):
      "the superblock of \(member) contradicts itself: \(field). Leave it out; the array "
        + "starts without it when the others suffice"
    case .duplicate(let first, let second):
      "the same member twice: \(first) and \(second). One is a copy of the other, or both names "
        + "lead to one device: give only the one that was in use last"
    case .mixedUp(let first, let second, let field, let values):
      "\(first) and \(second) disagree on \(field): \(values.joined(separator: " and ")). They do "
        + "not belong together: give the members of one array only"
    case .truncated(let member, let byteCount, let needed):
      "\(member) has \(ByteSize.formatExactly(byteCount)), and its layout ends at "
        + "\(ByteSize.formatExactly(needed)): it was cut short. Restore its size and what was "
        + "there, or leave it out: the array starts without it when the others suffice"
    case .creationUnfinished(let members): Self.creationUnfinishedWords(members)
    case .fork(let fork): fork.description
    case .tooOld(let member, let newest):
      "\(member.withConfiguration) is so old that \(newest.withConfiguration) no longer remembers "
        + "whether its configuration is one of its own past: it may hold writes of its own. "
        + "Nothing was changed. Leave it out, and keep it until you know that nothing "
        + "on it is missed"
    case .tooFew(let shortage): shortage.description
    case .mayHaveDiverged(let absence): absence.description
    }
  }

  private static func noSuperblockWords(_ members: [UnreadableMember]) -> String {
    guard !members.isEmpty else { return "nothing that was given could be opened" }
    return "nothing to assemble: "
      + members.map { "\($0.path): \($0.trouble)" }.joined(separator: "; ")
      + ". Check the names, or make an array with 'ashlar create'"
  }

  private static func foreignWords(_ members: [MemberIdentity]) -> String {
    var arrays: [MemberIdentity] = []
    for member in members where !arrays.contains(where: { $0.arrayID == member.arrayID }) {
      arrays.append(member)
    }
    let groups = arrays.map { array in
      let own = members.filter { $0.arrayID == array.arrayID }
      return "of array '\(array.arrayName)' \(array.arrayID): "
        + own.map { "\($0.path) (member \($0.memberID), slot \($0.slot))" }
        .joined(separator: ", ")
    }
    return "these are members of \(arrays.count) arrays: " + groups.joined(separator: "; ")
      + ". Give the members of one array only"
  }

  private static func creationUnfinishedWords(_ members: [MemberIdentity]) -> String {
    let name = members.first.map { "array '\($0.arrayName)' \($0.arrayID)" } ?? "the array"
    return "\(name) was never finished: 'ashlar create' was interrupted, and nothing was ever "
      + "written to it. Run it again with " + members.map(\.path).joined(separator: ", ")
      + " and the others"
  }
}

extension Fork: CustomStringConvertible {
  package var description: String {
    let common =
      switch (commonEventCount, commonConfiguration) {
      case (let count?, let id?): "since configuration \(id) (event count \(count))"
      default: "since a time that they no longer remember"
      }
    let equal =
      first.newest.eventCount == second.newest.eventCount
      ? " Both count \(first.newest.eventCount) events, in different configurations." : ""
    return "array '\(first.newest.arrayName)' \(first.newest.arrayID) has two histories: "
      + "\(Self.words(first)); and \(Self.words(second)). Each went on without the other \(common), "
      + "and each may hold writes that the other lacks.\(equal) Nothing was changed, and nothing is "
      + "merged. Look at each side alone (give only its members), decide for one, serve "
      + "that one by its members alone, and keep the other side's away from it"
  }

  private static func words(_ side: Side) -> String {
    let slots = side.currentSlots.map(String.init).joined(separator: ", ")
    return "\(side.paths.joined(separator: ", ")) at configuration "
      + "\(side.newest.configurationID), event count \(side.newest.eventCount), in sync: slot"
      + "\(side.currentSlots.count == 1 ? "" : "s") \(slots), as member \(side.newest.memberID) says"
  }
}

extension Shortage: CustomStringConvertible {
  package var description: String {
    var text =
      "array '\(arrayName)' \(arrayID) cannot start: of its \(geometry.memberCount) members "
      + "\(currentCount) \(currentCount == 1 ? "is" : "are") present and in sync, and "
      + "\(geometry.level.name) needs \(needed)."
    if !missing.isEmpty {
      text += " Missing: \(missing.map(\.description).joined(separator: ", "))."
    }
    if !stale.isEmpty {
      text += " Present but out of date, so not believed: "
      text += stale.map { "\($0.path) (slot \($0.slot), member \($0.memberID))" }
        .joined(separator: ", ")
      text += "."
    }
    for member in unreadable { text += " \(member.path): \(member.trouble)." }
    return text + " Give the missing ones too, once they are back: without them data is not there, "
      + "and --force cannot make up for that"
  }

  private var needed: String {
    switch geometry.level {
    case .raid0: "all \(geometry.memberCount)"
    case .raid1: "1"
    case .raid5, .raid6: "\(geometry.memberCount - geometry.redundancy)"
    case .raid10:
      "one of each pair, of which these are lacking: "
        + geometry.mirrorPairs.filter { $0.isSubset(of: lostSlots) }
        .map { "slots " + $0.map(String.init).joined(separator: " and ") }.joined(separator: "; ")
    }
  }
}

extension Absence: CustomStringConvertible {
  package var description: String {
    let names = missing.map(\.description).joined(separator: ", ")
    let them = missing.count == 1 ? "it" : "they"
    let proof =
      if let knownConfiguration {
        "The registry last saw configuration \(knownConfiguration), which is not the newest here. "
      } else {
        "Nothing proves here which configuration was the last. "
      }
    var text =
      "array '\(arrayName)' \(arrayID) is not started without \(names): \(them) could have gone on "
      + "without " + present.map { "\($0.path) (slot \($0.slot))" }.joined(separator: ", ")
      + ", and would then hold the newer data. Newest here: configuration \(newestConfiguration), "
      + "event count \(eventCount). \(proof)"
    for member in unreadable { text += "\(member.path): \(member.trouble). " }
    return text + "Give the missing too. If \(them) cannot come back, --force starts without: "
      + "what \(them) may have written alone is then not in this array, and when \(them) return"
      + "\(missing.count == 1 ? "s" : "") with writes of \(missing.count == 1 ? "its" : "their") "
      + "own, joining is refused, not merged"
  }
}
