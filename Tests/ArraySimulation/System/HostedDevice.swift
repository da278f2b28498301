package import IO
package import Simulator
package import Units
package import Volumes

/// A volume and the actor that it belongs to, as the server would be.
package actor HostedDevice<HostedVolume: Volume>: DeviceUnderTest {
  package nonisolated let byteCount: UInt64
  private let machine: SimulatedMachine
  private let volume: HostedVolume
  private let takesBack: (@Sendable () async -> Void)?
  private let isWhole: (@Sendable () async -> Bool)?
  private let upkeep: (any Upkeep)?
  private let members: ArrayOperator?

  /// Hosts a volume; `takesBack` takes members back that are out, `isWhole` says whether none is,
  /// and `members` carries commands out.
  package init(
    _ machine: SimulatedMachine, _ volume: sending HostedVolume,
    takesBack: (@Sendable () async -> Void)? = nil,
    isWhole: (@Sendable () async -> Bool)? = nil, upkeep: (any Upkeep)? = nil,
    members: ArrayOperator? = nil
  ) {
    self.upkeep = upkeep
    self.members = members
    self.isWhole = isWhole
    self.takesBack = takesBack
    self.machine = machine
    byteCount = volume.traits.byteCount
    self.volume = volume
  }

  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps the machine.
    unsafe machine.unownedExecutor
  }

  package func read(_ range: ByteRange, into buffer: IOBuffer) async throws(VolumeError) {
    if try volume.readAtOnce(range, into: buffer) { return }
    if volume.lends(range), let lent = try await volume.readLent(range) {
      defer { lent.giveBack() }
      return buffer.copy(from: lent.bytes)
    }
    try await volume.read(range, into: buffer)
  }

  package func write(
    _ range: ByteRange, from buffer: IOBuffer, durably: Bool
  ) async throws(VolumeError) {
    if try volume.writeAtOnce(range, from: buffer, durably: durably) { return }
    try await volume.write(range, from: buffer, durably: durably)
  }

  package func flush() async throws(VolumeError) { try await volume.flush() }

  package func trim(_ range: ByteRange, durably: Bool) async throws(VolumeError) {
    try await volume.trim(range, durably: durably)
  }

  package func writeZeroes(
    _ range: ByteRange, keepAllocated: Bool, durably: Bool
  ) async throws(VolumeError) {
    try await volume.writeZeroes(
      range, keepAllocated: keepAllocated, onlyIfFast: false, durably: durably)
  }

  package func isOptimal() async -> Bool {
    // Blocks that are lost stay so, however long one waits.
    await isWhole?() ?? (volume.health == .optimal)
  }

  package func takeBackMembers() async { await takesBack?() }

  package func perform(_ action: LifePlan.OperatorAction) async { await upkeep?.perform(action) }

  package func scrub(repairs: Bool) async -> ScrubFindings? {
    await upkeep?.scrub(repairs: repairs)
  }

  package func describe() async -> String {
    "\(volume.health)" + (await upkeep?.describe() ?? "")
  }

  package func carryOut(_ command: LifePlan.MemberCommand) async {
    await members?.carryOut(command)
  }

  package func fillEmptySlots() async { await members?.fillEmptySlots() }

  package func close() async throws(VolumeError) { try await volume.close() }
}

/// What an operator may say to a device that can be scrubbed and rebuilt.
package protocol Upkeep: Sendable {
  /// Says it; what is refused is left.
  func perform(_ action: LifePlan.OperatorAction) async

  /// Scrubs to the end, and tells what was found; nil when nothing was.
  func scrub(repairs: Bool) async -> ScrubFindings?

  /// What it is at, for reports.
  func describe() async -> String
}
