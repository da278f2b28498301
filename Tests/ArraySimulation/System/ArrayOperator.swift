import DiskFormat
import RAID
import Simulator

/// Carries out commands about members, as a daemon would: a device that somebody uses, or that was
/// used before in the same life, is not given again.
package actor ArrayOperator {
  private let engine: ArrayEngine<SimulatedMachine, SimulatedDisk>
  private let machine: SimulatedMachine
  /// By medium; nil where nothing is.
  private let disks: [SimulatedDisk?]
  private var used: Set<Int> = []

  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps the machine.
    unsafe machine.unownedExecutor
  }

  init(
    _ engine: ArrayEngine<SimulatedMachine, SimulatedDisk>, _ machine: SimulatedMachine,
    _ disks: [SimulatedDisk?]
  ) async {
    self.engine = engine
    self.machine = machine
    self.disks = disks
    let status = await engine.status
    for member in status.members + status.reserves.map(\.member) {
      if let medium = Self.medium(member) { used.insert(medium) }
    }
  }

  private static func medium(_ member: MemberStatus) -> Int? {
    member.place.split(separator: " ").last.flatMap { Int($0) }
  }

  private func memberID(_ medium: Int) async -> Identifier? {
    let status = await engine.status
    return (status.members + status.reserves.map(\.member))
      .first { Self.medium($0) == medium }?.memberID
  }

  /// Takes one of the devices that are nobody's.
  private func take(_ choice: Int) -> MemberHandle<SimulatedDisk>? {
    let free = disks.indices.filter { disks[$0] != nil && !used.contains($0) }
    guard !free.isEmpty, let disk = disks[free[choice % free.count]] else { return nil }
    let medium = free[choice % free.count]
    used.insert(medium)
    let fresh = SimulatedDisk(machine, disk.medium)
    fresh.latency = disk.latency
    return MemberHandle(
      name: "member \(medium)", disk: fresh, byteCount: disk.medium.live.byteCount)
  }

  /// What is refused is refused; the device is nobody's then, if it is sound.
  func carryOut(_ command: LifePlan.MemberCommand) async {
    let before = used
    do throws(MemberCommandError) {
      switch command {
      case .fail(let medium):
        if let memberID = await memberID(medium) { try await engine.failMember(memberID) }
      case .remove(let medium):
        if let memberID = await memberID(medium) { try await engine.removeMember(memberID) }
      case .add(let choice):
        if let handle = take(choice) { _ = try await engine.addMember(handle) }
      case .replace(let medium, let choice):
        guard let memberID = await memberID(medium), let handle = take(choice) else { return }
        try await engine.replaceMember(memberID, with: handle)
      }
    } catch {
      if case .notWritable = error {} else { used = before }
      unsafe WholeArray.tell(.notice, "\(command) is refused: \(error.words)")
    }
  }

  func fillEmptySlots() async {
    let status = await engine.status
    let isSomebodyThere = status.reserves.contains { $0.member.state == .syncing }
    guard !isSomebodyThere, status.members.contains(where: { $0.memberID == .none }) else { return }
    await carryOut(.add(choice: 0))
  }
}
