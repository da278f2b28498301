import Control
import DiskFormat
import Glibc
import IO
import NBDServer
import RAID
import Ring

/// A place where a member is, or may turn up.
struct WatchedPlace: Sendable {
  let place: MemberPlace
  /// Who is there; nil while nobody is known to be.
  var memberID: Identifier?
  /// Where its layout ends.
  var neededByteCount: UInt64
  /// Whether the array has it open.
  var isOpen: Bool
}

/// Looks after the places of an array's members while it is served.
///
/// A file that was removed, replaced or cut short still takes writes, and nobody would find them
/// again: so its path is looked at every few seconds, and the member put out. And where a member is
/// missing it may turn up: then it is opened and offered to the array.
actor MemberWatch {
  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe machine.unownedExecutor }
  private nonisolated let machine: RingMachine
  private let engine: ArrayEngine<RingMachine, MemberDisk>
  private let log: ServerLog
  private var isEnding = false
  /// The members on the array's list; nil until it has changed.
  private var listed: Set<Identifier>?
  /// For each place, how often somebody began to look after it: only the last one goes on.
  private var turns: [String: Int] = [:]

  private static let delayNanoseconds: UInt64 = 2_000_000_000

  init(_ engine: ArrayEngine<RingMachine, MemberDisk>, machine: RingMachine, log: ServerLog) {
    self.engine = engine
    self.machine = machine
    self.log = log
  }

  /// Begins, with a task for each place: one that hangs keeps only its own.
  func start(_ places: [WatchedPlace]) {
    for place in places { watch(place) }
  }

  /// Looks after one place more, or anew: whoever looked after it before ends.
  func watch(_ place: WatchedPlace) {
    guard !isEnding else { return }
    let turn = turns[place.place.text, default: 0] + 1
    turns[place.place.text] = turn
    let machine = machine
    Task(executorPreference: machine) {
      switch place.place {
      case .path(let path): await self.watchPath(path, place, turn)
      case .export: await self.watchExport(place, turn)
      }
    }
  }

  /// Takes note of who is on the array's list: the places of others are left alone from now on.
  func noteListed(_ memberIDs: Set<Identifier>) { listed = memberIDs }

  /// Ends; nothing is offered from now on.
  func stop() { isEnding = true }

  private func isDone(_ place: WatchedPlace, _ turn: Int) -> Bool {
    if isEnding || turns[place.place.text] != turn { return true }
    guard let memberID = place.memberID, let listed else { return false }
    return !listed.contains(memberID)
  }

  // MARK: Files and block devices

  private func watchPath(_ path: String, _ given: WatchedPlace, _ turn: Int) async {
    var place = given
    // The file that the array has, as it was when it was opened just now.
    var held = place.isOpen ? try? await machine.look(at: path).get().identity : nil
    var isLost = false
    var refused: PathFacts?
    var lastRefusal = ""
    while !isDone(place, turn) {
      await machine.sleep(nanoseconds: Self.delayNanoseconds)
      guard !isDone(place, turn) else { return }
      let found = await machine.look(at: path)
      guard !isDone(place, turn) else { return }
      if place.isOpen, let memberID = place.memberID {
        if let loss = loss(found, held, place) {
          // Each time: whoever was out before may have been taken back since.
          await engine.noteLoss(loss, of: memberID)
          isLost = true
          // What cannot be looked at, or has only shrunk, is no other file.
          guard loss == .replaced else { continue }
        } else {
          if isLost, case .success = found { await engine.noteReturn(of: memberID) }
          if case .success = found { isLost = false }
          continue
        }
      }
      guard case .success(let facts) = found, facts != refused else { continue }
      switch await offer(&place) {
      case .taken:
        held = facts.identity
        isLost = false
        refused = nil
        lastRefusal = ""
      case .busy: break
      case .refused(let reason):
        refused = facts
        if reason != lastRefusal { log(.warning, "\(path) is not taken back: \(reason)") }
        lastRefusal = reason
      }
    }
  }

  /// What has become of the file that is held; nil when all is well, or nobody can say.
  private func loss(
    _ found: Result<PathFacts, SystemError>, _ held: PathFacts.Identity?, _ place: WatchedPlace
  ) -> MemberLoss? {
    switch found {
    case .failure(let error):
      return error.number == ENOENT || error.number == ENOTDIR ? .removed : nil
    case .success(let facts):
      guard let held, facts.identity == held else { return .replaced }
      guard !facts.isBlockDevice, facts.byteCount < place.neededByteCount else { return nil }
      return .cutShort(atBytes: facts.byteCount)
    }
  }

  // MARK: Exports

  /// One that the array has is dialled again by itself; one that was absent is, here.
  private func watchExport(_ given: WatchedPlace, _ turn: Int) async {
    var place = given
    var delay = Self.delayNanoseconds
    var lastRefusal = ""
    while !isDone(place, turn), !place.isOpen {
      await machine.sleep(nanoseconds: delay)
      guard !isDone(place, turn) else { return }
      switch await offer(&place) {
      case .taken, .busy: break
      case .refused(let reason):
        if reason != lastRefusal {
          log(.warning, "\(place.place.text) is not taken back: \(reason)")
        }
        lastRefusal = reason
        delay = min(delay * 2, 30_000_000_000)
      }
    }
  }

  // MARK: Offering

  /// Opens what is at a place and offers it; what is not taken is closed again.
  private func offer(_ place: inout WatchedPlace) async -> MemberOffer {
    let opener = MemberOpener(whileServing: machine)
    let member: OpenMember
    do throws(MemberError) {
      member = try await opener.open(place.place, for: .use)
    } catch {
      return error.isInUse ? .busy : .refused(error.message)
    }
    let report = await MemberReport.read(member.handle)
    let outcome: MemberOffer =
      isEnding ? .busy : await engine.offer(member.handle)
    guard outcome == .taken else {
      await member.handle.disk.close()
      return outcome
    }
    if let note = member.note { log(.warning, note) }
    place.memberID = report.newest?.memberID
    place.neededByteCount = report.neededByteCount ?? 0
    place.isOpen = true
    return .taken
  }
}
