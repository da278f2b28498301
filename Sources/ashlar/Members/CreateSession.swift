import Control
import DiskFormat
import Geometry
import Glibc
import IO
import RAID
import Ring
import Units

/// One `ashlar create`: opens the members, looks what they hold, makes the array, tells.
actor CreateSession {
  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe machine.unownedExecutor }

  private nonisolated let machine: RingMachine
  private let request: CreateRequest

  init(machine: RingMachine, request: CreateRequest) {
    self.machine = machine
    self.request = request
  }

  /// Why there is no array, for the operator.
  private struct Failure: Error {
    let message: String
    /// What was made of new files may be an array.
    var keepsFiles = false

    init(_ message: String, keepsFiles: Bool = false) {
      self.message = message
      self.keepsFiles = keepsFiles
    }
  }

  /// - Returns: the process's exit code.
  func run() async -> Int32 {
    do throws(Failure) {
      let lock = try claimName()
      defer { lock.release() }
      try checkRegistry()
      var members = OpenMembers()
      do throws(Failure) {
        try await open(&members)
        let creation = try await make(members)
        await members.close()
        return report(creation, members)
      } catch {
        await members.close(removesCreated: !error.keepsFiles)
        throw error
      }
    } catch {
      Complaint.print(command: "create", error.message)
      return ExitCode.failure
    }
  }

  private func tell(_ line: String) {
    Terminal.error.write("ashlar create: \(line)\n")
  }

  // MARK: Before anything is written

  /// An array that is being served keeps its name.
  private func claimName() throws(Failure) -> NameLock {
    do throws(NameClaim.Refusal) {
      return try NameClaim(request.name, alternative: "choose another name").lock
    } catch {
      throw Failure(error.message)
    }
  }

  private func checkRegistry() throws(Failure) {
    guard let registry = Registry.ofUser, !request.isForgetting else { return }
    let record: RegistryRecord?
    do throws(RegistryError) {
      record = try registry.load(request.name)
    } catch {
      return tell("warning: \(error.explanation)")
    }
    guard let record else { return }
    // All its members are about to be destroyed anyway, and that is said.
    let places = (request.places + request.sparePlaces).map(\.text)
    if request.isForced, record.members.allSatisfy({ places.contains($0.place) }) { return }
    throw Failure(
      "an array called '\(request.name)' (\(record.arrayID)) is known here, on "
        + record.members.map(\.place).joined(separator: ", ")
        + ": choose another name, or --forget to forget where its members are"
        + (request.isForced ? " (--force destroys only what is on the members given)" : ""))
  }

  private func open(_ members: inout OpenMembers) async throws(Failure) {
    let opener = MemberOpener(machine: machine)
    for place in request.places + request.sparePlaces {
      do throws(MemberError) {
        try members.checkIsNew(place)
        let member = try await opener.open(
          place, for: .use, createByteCount: request.memberByteCount)
        members.append(member)
        if let note = member.note { tell("warning: \(note)") }
      } catch {
        guard case .path(let path) = place, request.memberByteCount == nil,
          SmallFile.isMissing(path)
        else { throw Failure(error.message) }
        throw Failure("\(path) does not exist: give --size to have it created")
      }
    }
  }

  // MARK: Making it

  private func make(_ members: OpenMembers) async throws(Failure) -> ArrayCreation {
    let candidates = try await candidates(members)
    var settings = CreationSettings(
      name: request.name, level: request.level, createdSeconds: UInt64(max(0, time(nil))))
    settings.chunkBytes = request.chunkBytes
    settings.logByteCount = request.logByteCount
    settings.memberByteCount = request.memberByteCount
    settings.logPolicy = request.logPolicy
    settings.isForced = request.isForced
    let creation: ArrayCreation
    do throws(CreationRefusal) {
      creation = try ArrayCreation(
        settings, Array(candidates.prefix(request.places.count)),
        spares: Array(candidates.dropFirst(request.places.count))
      ) { machine.randomNumber() }
    } catch {
      throw Failure(error.description)
    }
    for loss in creation.destroyed { tell("destroying what is there: \(loss)") }
    do throws(CreationError) {
      try await creation.write(to: members.handles)
    } catch {
      var mayBeWhole = false
      if case .notFinished = error { mayBeWhole = true }
      throw Failure(error.description, keepsFiles: mayBeWhole)
    }
    return creation
  }

  private func candidates(_ members: OpenMembers) async throws(Failure) -> [CreationCandidate] {
    let reports = await MemberReport.readAll(members.handles)
    do throws(MemberError) {
      let warnings = try await members.checkOwners(reports, machine) { tell($0) }
      for warning in warnings { tell("warning: \(warning)") }
    } catch {
      throw Failure(error.message)
    }
    var candidates: [CreationCandidate] = []
    for (member, report) in zip(members.members, reports) {
      let handle = member.handle
      var candidate = CreationCandidate(
        name: handle.name, byteCount: handle.byteCount, content: MemberContent.detect(report))
      if !member.wasCreated {
        do throws(DiskError) {
          let found = try await ForeignContents.find(
            on: handle.disk, byteCount: handle.byteCount, namedOnly: candidate.content != nil)
          if !found.isEmpty { candidate.foreignContent = found.joined(separator: " and ") }
        } catch {
          throw Failure("cannot look what \(handle.name) holds: \(error.explanation)")
        }
      }
      candidates.append(candidate)
    }
    return candidates
  }

  // MARK: Telling

  private func report(_ creation: ArrayCreation, _ members: OpenMembers) -> Int32 {
    let superblock = creation.finished(slot: 0, superblockSequence: 2)
    let places = zip(creation.drafts.map(\.memberID), members.members.map(\.place.text))
    let placeOf = Dictionary(places) { first, _ in first }
    let record = RegistryRecord(superblock) { placeOf[$0] }
    if let registry = Registry.ofUser {
      do throws(RegistryError) {
        try registry.save(record)
      } catch {
        tell("warning: \(error.explanation)")
      }
    } else {
      tell(
        "warning: there is no place for a registry (no HOME): serve the array by naming its "
          + "members, or set ASHLAR_STATE_DIR")
    }
    let summary = CreationSummary(creation, superblock, members)
    let text = request.wantsJSON ? summary.json.text + "\n" : summary.text
    guard Terminal.output.write(text) else {
      Complaint.print(command: "create", "the array is made, but standard output is closed")
      return ExitCode.failure
    }
    return ExitCode.success
  }
}

extension RegistryRecord {
  /// What a configuration says, and where its members are, reserves included.
  ///
  /// - Parameters:
  ///   - superblock: with the configuration.
  ///   - place: of a member, by its identity; nil leaves it out.
  init(_ superblock: Superblock, place: (Identifier) -> String?) {
    let seats =
      Array(superblock.memberIDs.enumerated())
      + superblock.reserves.map { (offset: $0.seat, element: $0.memberID) }
    self.init(
      name: superblock.name, arrayID: superblock.arrayID.description,
      configurationID: superblock.configurationID.description, eventCount: superblock.eventCount,
      members: seats.compactMap { seat, memberID in
        place(memberID).map { Member(slot: seat, memberID: memberID.description, place: $0) }
      })
  }
}
