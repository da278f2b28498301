import Control
import DiskFormat
import IO
import RAID
import Ring

/// Members opened one after the other, no two of them the same.
struct OpenMembers: Sendable {
  private(set) var members: [OpenMember] = []
  private var identities: [(MemberIdentityOnHost, String)] = []

  var handles: [MemberHandle<MemberDisk>] { members.map(\.handle) }

  /// Refuses a place that is another's by a different name.
  ///
  /// Asked before it is opened: a second lock of ours on the same file would wait for the first.
  func checkIsNew(_ place: MemberPlace) throws(MemberError) {
    guard let identity = place.identity,
      let twin = identities.first(where: { $0.0 == identity })
    else { return }
    throw MemberError(
      twin.1 == place.text
        ? "\(place.text) is given twice: each member must be a device of its own"
        : "\(place.text) is the same as \(twin.1): each member must be a device of its own")
  }

  mutating func append(_ member: OpenMember) {
    members.append(member)
    if let identity = member.place.identity { identities.append((identity, member.place.text)) }
  }

  /// Closes members and leaves them out.
  ///
  /// - Parameter isUnwanted: one for each member, in order.
  mutating func remove(_ isUnwanted: [Bool]) async {
    var kept: [OpenMember] = []
    for (member, isUnwanted) in zip(members, isUnwanted) {
      guard isUnwanted else {
        kept.append(member)
        continue
      }
      await member.handle.disk.close()
    }
    members = kept
  }

  /// Closes all disks.
  ///
  /// - Parameter removesCreated: remove the files that were made, as if nothing had happened.
  func close(removesCreated: Bool = false) async {
    for member in members {
      await member.handle.disk.close()
      if removesCreated, member.wasCreated { SmallFile.remove(member.place.text) }
    }
  }

  /// Where members are or were last, and why they are not there, by identity.
  ///
  /// - Parameters:
  ///   - reports: what the open members say, one for each, in order.
  ///   - record: what the registry remembers.
  ///   - reasons: why places could not be opened, by place.
  /// - Returns: one for each member that is remembered or open.
  func absences(
    _ reports: [MemberReport], _ record: RegistryRecord?, reasons: [String: String]
  ) -> [String: MemberAbsence] {
    var absences: [String: MemberAbsence] = [:]
    let present = reports.compactMap(\.newest?.memberID.description)
    for member in record?.members ?? [] {
      guard let place = try? MemberPlace(member.place) else { continue }
      var reason = reasons[place.text]
      if reason == nil, !present.contains(member.memberID),
        let index = members.firstIndex(where: { $0.place == place })
      {
        reason =
          reports[index].newest.map { "\(place.text) is now member \($0.memberID)" }
          ?? "\(place.text): \(reports[index].trouble ?? "it has no superblock")"
      }
      absences[member.memberID] = MemberAbsence(place: place.text, reason: reason)
    }
    for (member, report) in zip(members, reports) {
      guard let id = report.newest?.memberID.description else { continue }
      absences[id, default: MemberAbsence()].place = member.place.text
    }
    return absences
  }

  /// Looks whether another host is writing to members that no lock of this one guards.
  ///
  /// - Parameters:
  ///   - reports: one for each member, in order.
  ///   - machine: its clock is waited for.
  ///   - note: told before a wait of some seconds.
  /// - Returns: warnings about owners that are taken for dead.
  /// - Throws: that one is in use.
  func checkOwners(
    _ reports: [MemberReport], _ machine: RingMachine, note: (String) -> Void
  ) async throws(MemberError) -> [String] {
    let shared = members.indices.filter { members[$0].place.isShared }
    let before = shared.map { reports[$0] }
    guard Ownership.mustWatch(before) else { return [] }
    let seconds = Ownership.watchNanoseconds / 1_000_000_000
    note(
      "waiting for \(seconds) s to see whether another host uses "
        + before.map(\.name).joined(separator: ", "))
    await machine.sleep(nanoseconds: Ownership.watchNanoseconds)
    let after = await MemberReport.readAll(shared.map { members[$0].handle })
    switch Ownership.judge(before: before, after: after) {
    case .free: return []
    case .abandoned(let warnings): return warnings
    case .inUse(let use): throw MemberError(use.description, isInUse: true)
    }
  }
}
