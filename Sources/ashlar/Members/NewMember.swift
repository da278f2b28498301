import Control
import DiskFormat
import Glibc
import IO
import RAID
import Ring
import Units

/// Opens a device that is to become a member of an array that is being served, and looks what it
/// holds: as `create` does, and without holding up the loop.
struct NewMember: Sendable {
  /// A member that may be taken.
  struct Opened: Sendable {
    let member: OpenMember
    let destroyed: [String]
    let notes: [String]

    /// Takes it back, as if nothing had happened.
    func discard(_ offload: Offload) async {
      await member.handle.disk.close()
      if member.wasCreated { await offload.removeFile(member.place.text) }
    }
  }

  let machine: RingMachine
  /// What a member needs to have; a file that does not exist is created so large.
  let neededByteCount: UInt64
  /// How the array is now.
  let array: ArrayReport
  let log: @Sendable (String) -> Void

  /// For files, servers and what they hold, together: within the time that an orderly end has.
  static let nanosecondsMax: UInt64 = 30_000_000_000

  /// Opens it.
  ///
  /// - Parameters:
  ///   - text: a path or NBD URI.
  ///   - isForced: destroy what it holds; what the array itself uses is refused all the same.
  /// - Returns: it, or why not; then nothing is left of it.
  func open(_ text: String, isForced: Bool) async -> Result<Opened, ControlRefusal> {
    let place: MemberPlace
    do throws(UsageError) {
      place = try MemberPlace(text)
    } catch {
      return .failure(Self.refusal("bad_place", error.message, "give a path or an NBD URI"))
    }
    let offload = Offload(machine: machine)
    let opened = await offload.bounded(
      nanosecondsMax: Self.nanosecondsMax,
      late: { result in
        if case .success(let opened) = result { await opened.discard(offload) }
      },
      { await self.openUnbounded(place, isForced) })
    return opened
      ?? .failure(
        Self.refusal(
          "no_answer",
          "\(place.text) was not opened and read within "
            + "\(Self.nanosecondsMax / 1_000_000_000) s",
          "look what is wrong with it; nothing was written to it"))
  }

  private func openUnbounded(
    _ place: MemberPlace, _ isForced: Bool
  ) async -> Result<Opened, ControlRefusal> {
    do throws(ControlRefusal) {
      let wasCreated = try await prepare(place)
      let member: OpenMember
      do throws(MemberError) {
        member = try await opened(place, wasCreated)
      } catch {
        if wasCreated { await Offload(machine: machine).removeFile(place.text) }
        throw Self.refusal(
          error.isInUse ? "in_use" : "cannot_open", error.message, "choose another member")
      }
      do throws(ControlRefusal) {
        let destroyed = try await checkContents(member, isForced)
        return .success(
          Opened(
            member: member, destroyed: destroyed,
            notes: [member.note].compactMap { $0 }))
      } catch {
        await Opened(member: member, destroyed: [], notes: [])
          .discard(Offload(machine: machine))
        throw error
      }
    } catch {
      return .failure(error)
    }
  }

  private static func refusal(
    _ code: String, _ message: String, _ action: String
  ) -> ControlRefusal {
    ControlRefusal(code: code, message: message, action: action)
  }

  // MARK: Before it is opened

  /// Looks who it is, and creates a file that does not exist; on a thread, since all of that asks a
  /// file system.
  ///
  /// - Returns: whether a file was created.
  private func prepare(_ place: MemberPlace) async throws(ControlRefusal) -> Bool {
    let places = MemberChoice.all(array)
    let byteCount = neededByteCount
    let result = await Offload(machine: machine).onThread {
      () -> Result<Bool, ControlRefusal> in
      if let twin = Self.twin(of: place, among: places) {
        return .failure(
          Self.refusal(
            "is_a_member", "\(place.text) is where member \(twin.number) of this array is",
            "choose another member; for a new disk under the same name 'ashlar member remove NAME "
              + "\(twin.number)' and then 'ashlar member add NAME PLACE'; one that an operator failed "
              + "is taken again by 'member add'"))
      }
      guard case .path(let path) = place, SmallFile.isMissing(path) else { return .success(false) }
      return Self.create(path, byteCount)
    }
    return try result.get()
  }

  private static func twin(
    of place: MemberPlace, among members: [MemberChoice]
  ) -> MemberChoice? {
    let identity = place.identity
    return members.first { member in
      guard !member.place.isEmpty, let other = try? MemberPlace(member.place) else { return false }
      if other == place { return true }
      return identity != nil && other.identity == identity
    }
  }

  /// Makes a file, durably; one that cannot be made whole is removed again.
  private static func create(
    _ path: String, _ byteCount: UInt64
  ) -> Result<Bool, ControlRefusal> {
    guard !path.hasPrefix("/dev/") else {
      return .failure(
        refusal("missing", "\(path) does not exist", "no file is created among the devices"))
    }
    // Safe: the path lives until the call returns.
    let descriptor = unsafe Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      return .failure(
        refusal(
          "cannot_create", "cannot create \(path): \(SystemError.last)", "choose another place"))
    }
    defer { close(descriptor) }
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    guard let size = off_t(exactly: byteCount), ftruncate(descriptor, size) == 0,
      fsync(descriptor) == 0, SmallFile.synchronizeFolder(folder)
    else {
      let error = SystemError.last
      SmallFile.remove(path)
      return .failure(
        refusal(
          "cannot_create", "cannot create \(path): \(error)", "make room, or choose another place"))
    }
    return .success(true)
  }

  private func opened(
    _ place: MemberPlace, _ wasCreated: Bool
  ) async throws(MemberError) -> OpenMember {
    var opener = MemberOpener(whileServing: machine)
    opener.requestNanoseconds = 10_000_000_000
    let member = try await opener.open(place, for: .use)
    return OpenMember(
      place: member.place, handle: member.handle, wasCreated: wasCreated, note: member.note)
  }

  // MARK: What it holds

  /// - Returns: what will be destroyed.
  private func checkContents(
    _ member: OpenMember, _ isForced: Bool
  ) async throws(ControlRefusal) -> [String] {
    let handle = member.handle
    let report = await MemberReport.read(handle)
    try refuseOurOwn(report)
    do throws(MemberError) {
      var members = OpenMembers()
      members.append(member)
      for warning in try await members.checkOwners([report], machine, note: { log($0) }) {
        log(warning)
      }
    } catch {
      throw Self.refusal("in_use", error.message, "choose another member")
    }
    guard !member.wasCreated else { return [] }
    var candidate = CreationCandidate(
      name: handle.name, byteCount: handle.byteCount, content: MemberContent.detect(report))
    do throws(DiskError) {
      let found = try await ForeignContents.find(
        on: handle.disk, byteCount: handle.byteCount, namedOnly: candidate.content != nil)
      if !found.isEmpty { candidate.foreignContent = found.joined(separator: " and ") }
    } catch {
      throw Self.refusal(
        "cannot_read", "cannot look what \(handle.name) holds: \(error.explanation)",
        "choose another member")
    }
    guard let loss = candidate.loss else { return [] }
    guard isForced else {
      throw Self.refusal(
        OrderRefusalCode.holdsSomething, loss,
        "choose another member, or --force to destroy what it holds")
    }
    return [loss]
  }

  /// A member of this very array, by another name than the one it is known by, is never destroyed.
  private func refuseOurOwn(_ report: MemberReport) throws(ControlRefusal) {
    guard let found = report.newest, found.arrayID.description == array.arrayID,
      let member = MemberChoice.all(array).first(where: {
        $0.memberID == found.memberID.description
      })
    else { return }
    throw Self.refusal(
      "is_a_member", "\(report.name) is member \(member.number) of this array",
      "to use it anew, take it off the list first: 'ashlar member remove NAME MEMBER'")
  }
}
