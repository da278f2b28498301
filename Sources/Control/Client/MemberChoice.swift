/// Which member of an array a text means: its slot or seat, its identity, or its place.
package struct MemberChoice: Equatable, Sendable {
  package var memberID: String
  /// A slot, or a seat behind them.
  package var number: UInt64
  package var place: String

  /// Everybody who could be meant, members before reserves.
  package static func all(_ array: ArrayReport) -> [MemberChoice] {
    array.members.map { MemberChoice(memberID: $0.memberID, number: $0.slot, place: $0.place) }
      + array.upkeep.reserves.map {
        MemberChoice(memberID: $0.memberID, number: $0.seat, place: $0.place)
      }
  }

  /// Finds who is meant.
  ///
  /// A whole number is a slot or seat, also where a file has such a name: `./2` names the file.
  package static func find(
    _ text: String, in array: ArrayReport
  ) throws(ControlRefusal) -> MemberChoice {
    let everybody = all(array)
    let found =
      everybody.first { "\($0.number)" == text }
      ?? everybody.first { $0.memberID == text.lowercased() }
      ?? everybody.first { !$0.place.isEmpty && $0.place == text }
    guard let found else {
      let names = everybody.map { "\($0.number) is \($0.place.isEmpty ? "?" : $0.place)" }
      throw ControlRefusal(
        code: "not_a_member",
        message: "'\(text)' is no member of it: \(names.joined(separator: ", "))",
        action: "name it by its number, its path or URI, or its identity")
    }
    guard found.memberID.contains(where: { $0 != "0" && $0 != "-" }) else {
      throw ControlRefusal(
        code: "not_a_member", message: "slot \(found.number) is empty",
        action: "'ashlar member add NAME PLACE' fills it")
    }
    return found
  }
}
