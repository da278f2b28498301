import Control
import DiskFormat
import IO
import NBDServer
import RAID
import Ring

/// An array whose members are open, and which may be started as far as they tell.
struct PreparedArray: Sendable {
  let name: String
  let arrayID: String
  let members: OpenMembers
  let options: ArrayOptions
  /// Where to look for members while it is served.
  let watchedPlaces: [WatchedPlace]
  /// Where members are, or were when the registry saw them last, by the member's identity.
  let places: [String: String]
  /// What each member needs to have.
  let neededByteCount: UInt64

  /// Opens the members and looks what they make.
  ///
  /// Members that are missing are left out with a warning; the plan decides whether the array can
  /// do without. One that somebody else uses is not missing: there would be two arrays.
  ///
  /// - Throws: `MemberError`; then everything is closed again.
  init(
    _ source: ArraySource, on machine: RingMachine, log: ServerLog
  ) async throws(MemberError) {
    let registry = Registry.ofUser
    var record: RegistryRecord?
    let places: [MemberPlace]
    switch source.choice {
    case .registered(let name):
      let known = try Self.known(name, registry)
      record = known
      places = try Self.places(known)
    case .members(let given): places = given
    }
    var reasons: [String: String] = [:]
    var members = try await Self.open(places, machine, log, &reasons)
    var reports = await MemberReport.readAll(members.handles)
    do throws(MemberError) {
      if let record {
        try await Self.leaveOutForeign(record, &members, &reports, &reasons, log)
      } else if let newest = reports.lazy.compactMap(\.newest).first {
        record = Self.remembered(newest, registry, log)
      }
      options = Self.options(source, record, members, reports, reasons, log)
      name = try Self.decide(reports, options)
    } catch {
      await members.close()
      throw error
    }
    var known: [String: String] = [:]
    for member in record?.members ?? [] { known[member.memberID] = member.place }
    for (member, report) in zip(members.members, reports) {
      if let id = report.newest?.memberID { known[id.description] = member.place.text }
    }
    self.places = known
    arrayID = reports.lazy.compactMap(\.newest?.arrayID.description).first ?? ""
    neededByteCount = reports.compactMap(\.neededByteCount).max() ?? 0
    await members.remove(reports.map(\.isCutShort))
    self.members = members
    watchedPlaces = Self.watched(members, reports, places, record)
  }

  /// Leaves out what lies at a member's place and belongs to another array.
  private static func leaveOutForeign(
    _ record: RegistryRecord, _ members: inout OpenMembers, _ reports: inout [MemberReport],
    _ reasons: inout [String: String], _ log: ServerLog
  ) async throws(MemberError) {
    let isForeign = reports.map { report in
      report.newest.map { $0.arrayID.description != record.arrayID } ?? false
    }
    guard let first = isForeign.firstIndex(of: true), let other = reports[first].newest else {
      return
    }
    guard reports.contains(where: { $0.newest?.arrayID.description == record.arrayID }) else {
      throw MemberError(
        "where the registry remembers '\(record.name)' (\(record.arrayID)) is now array "
          + "'\(other.name)' (\(other.arrayID)): give the members of the one that is meant")
    }
    for (index, member) in members.members.enumerated() where isForeign[index] {
      guard let found = reports[index].newest else { continue }
      let place = member.place.text
      let reason = "at \(place) is now a member of array '\(found.name)' (\(found.arrayID))"
      reasons[place] = reason
      log(.warning, "left out: \(reason)")
    }
    await members.remove(isForeign)
    reports = zip(reports, isForeign).filter { !$0.1 }.map(\.0)
  }

  private static func options(
    _ source: ArraySource, _ record: RegistryRecord?, _ members: OpenMembers,
    _ reports: [MemberReport], _ reasons: [String: String], _ log: ServerLog
  ) -> ArrayOptions {
    var options = source.options
    options.knownConfiguration = record?.proof(members)
    options.absences = members.absences(reports, record, reasons: reasons)
    for (memberID, reason) in cutShort(members, reports) {
      log(.warning, "left out: \(reason)")
      options.absences[memberID, default: MemberAbsence()].reason = reason
    }
    options.watchesOwners = members.members.contains { $0.place.isShared }
    return options
  }

  /// Whether it may start; the engine asks the same again, of what the members say then.
  ///
  /// - Returns: the array's name.
  private static func decide(
    _ reports: [MemberReport], _ options: ArrayOptions
  ) throws(MemberError) -> String {
    let assembly = AssemblyOptions(
      isForced: options.isForced, knownConfiguration: options.knownConfiguration,
      absences: options.absences)
    switch AssemblyPlan.decide(reports: reports, options: assembly) {
    case .success(let plan):
      let name = plan.newest.name
      guard isValidDeviceName(name) else {
        throw MemberError("the array's name '\(name)' \(deviceNameRule)")
      }
      return name
    case .failure(let refusal): throw MemberError(refusal.description)
    }
  }

  /// Members that are shorter than their layout, by identity, and what is wrong.
  private static func cutShort(
    _ members: OpenMembers, _ reports: [MemberReport]
  ) -> [String: String] {
    var words: [String: String] = [:]
    for (member, report) in zip(members.members, reports) {
      guard let newest = report.newest, let needed = report.neededByteCount, report.isCutShort
      else { continue }
      words[newest.memberID.description] =
        "\(member.place.text) was cut short: it has \(report.byteCount) bytes of \(needed)"
    }
    return words
  }

  /// The places of members that are open, and those where members may turn up.
  private static func watched(
    _ members: OpenMembers, _ reports: [MemberReport], _ given: [MemberPlace],
    _ record: RegistryRecord?
  ) -> [WatchedPlace] {
    var watched: [WatchedPlace] = []
    for member in members.members {
      let report = reports.first { $0.name == member.handle.name }
      watched.append(
        WatchedPlace(
          place: member.place, memberID: report?.newest?.memberID,
          neededByteCount: report?.neededByteCount ?? 0, isOpen: true))
    }
    let remembered = (try? record.map { try places($0) }) ?? []
    for place in given + remembered where !watched.contains(where: { $0.place == place }) {
      watched.append(
        WatchedPlace(place: place, memberID: nil, neededByteCount: 0, isOpen: false))
    }
    return watched
  }

  // MARK: Where members are

  private static func known(
    _ name: String, _ registry: Registry?
  ) throws(MemberError) -> RegistryRecord {
    guard let registry else {
      throw MemberError(
        "there is no registry for a user without a home: give the array's members, or set "
          + "ASHLAR_STATE_DIR")
    }
    do throws(RegistryError) {
      if let record = try registry.load(name) { return record }
    } catch {
      throw MemberError(error.explanation)
    }
    throw MemberError(
      "no array called '\(name)' is known in \(registry.folder): give its members, or make one with "
        + "'ashlar create'")
  }

  private static func places(_ record: RegistryRecord) throws(MemberError) -> [MemberPlace] {
    do throws(UsageError) {
      var places: [MemberPlace] = []
      for member in record.members { places.append(try MemberPlace(member.place)) }
      return places
    } catch {
      throw MemberError(
        "the registry's record of '\(record.name)' cannot be used (\(error.message)): give the "
          + "array's members")
    }
  }

  /// What the registry says of an array that was given by its members.
  private static func remembered(
    _ newest: Superblock, _ registry: Registry?, _ log: ServerLog
  ) -> RegistryRecord? {
    guard let registry else { return nil }
    do throws(RegistryError) {
      let record = try registry.load(newest.name)
      return record?.arrayID == newest.arrayID.description ? record : nil
    } catch {
      log(.warning, error.explanation)
      return nil
    }
  }

  private static func open(
    _ places: [MemberPlace], _ machine: RingMachine, _ log: ServerLog,
    _ reasons: inout [String: String]
  ) async throws(MemberError) -> OpenMembers {
    var members = OpenMembers()
    var opener = MemberOpener(machine: machine)
    do throws(MemberError) {
      for place in places {
        try members.checkIsNew(place)
        let begin = machine.readClock()
        do throws(MemberError) {
          let member = try await opener.open(place, for: .use)
          members.append(member)
          if let note = member.note { log(.warning, note) }
        } catch {
          if error.isInUse { throw error }
          reasons[place.text] = error.message
          log(.warning, "left out: \(error.message)")
        }
        // One patience for all of them.
        let spent = machine.readClock() - begin
        opener.lockTimeoutNanoseconds -= min(opener.lockTimeoutNanoseconds, spent)
        opener.killedTimeoutNanoseconds -= min(opener.killedTimeoutNanoseconds, spent)
      }
      guard !members.members.isEmpty else {
        let said = places.compactMap { reasons[$0.text] }
        throw MemberError("no member can be opened: \(said.joined(separator: "; "))")
      }
    } catch {
      await members.close()
      throw error
    }
    return members
  }
}

extension RegistryRecord {
  /// The configuration that the registry saw last; nil where it proves nothing, because members that
  /// are missing may have been served from another host.
  func proof(_ opened: OpenMembers) -> String? {
    for member in members {
      guard let place = try? MemberPlace(member.place), place.isShared else { continue }
      guard opened.members.contains(where: { $0.place.text == place.text }) else { return nil }
    }
    return configurationID
  }
}
