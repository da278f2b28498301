import DiskFormat
import Glibc
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// A simulated disk behind a connection, with the rules of `NBDDisk`: one that was lost stays lost
/// until the owner has retired it, if something was written over it, and a new one is made by `revive`, in the background.
final class CableDisk: Disk, @unchecked Sendable {
  let disk: SimulatedDisk
  private var isUp = true
  private var hasConnection = true
  private var isLost = false
  private var hasChanged = false
  private(set) var connectionCount = 1
  /// One transfer after the other, each with a seek and so long for each byte; nil for none.
  var spindle: (seekNanoseconds: UInt64, nanosecondsPerByte: UInt64)?
  private var freeNanoseconds: UInt64 = 0

  init(_ disk: SimulatedDisk) { self.disk = disk }

  /// The server goes, and every connection with it.
  func cut() {
    isUp = false
    isLost = true
  }

  /// The server is there again, with what it had.
  func mend() { isUp = true }

  private var isUsable: Bool { hasConnection && !isLost }
  var properties: DiskProperties { disk.properties }

  private func perform(_ body: () async -> Int32) async -> Int32 {
    guard isUsable else { return -ENOTCONN }
    let number = connectionCount
    let result = await body()
    return isUsable && number == connectionCount ? result : -ENOTCONN
  }

  private func waitForSpindle(_ byteCount: Int) async {
    guard let spindle else { return }
    let now = disk.machine.nowNanoseconds
    freeNanoseconds =
      max(now, freeNanoseconds) + spindle.seekNanoseconds
      + UInt64(byteCount) * spindle.nanosecondsPerByte
    await disk.machine.sleep(nanoseconds: freeNanoseconds - now)
  }

  func readSome(at offsetBytes: UInt64, into buffer: IOBuffer) async -> Int32 {
    await waitForSpindle(buffer.byteCount)
    return await perform { await disk.readSome(at: offsetBytes, into: buffer) }
  }

  func writeSome(at offsetBytes: UInt64, from buffer: IOBuffer) async -> Int32 {
    hasChanged = true
    await waitForSpindle(buffer.byteCount)
    return await perform { await disk.writeSome(at: offsetBytes, from: buffer) }
  }

  func synchronizeOnce() async -> Int32 { await perform { await disk.synchronizeOnce() } }
  func synchronizeAllOnce() async -> Int32 { await perform { await disk.synchronizeAllOnce() } }

  func clearOnce(at offsetBytes: UInt64, byteCount: UInt64, mode: ClearMode) async -> Int32 {
    await perform { await disk.clearOnce(at: offsetBytes, byteCount: byteCount, mode: mode) }
  }

  func prefetchOnce(at offsetBytes: UInt64, byteCount: UInt64) async -> Int32 { 0 }

  func extentOnce(at offsetBytes: UInt64) async -> Result<DiskExtent, SystemError> {
    await disk.extentOnce(at: offsetBytes)
  }

  func currentByteCount() -> Result<UInt64, SystemError> { disk.currentByteCount() }

  func retire() async { hasConnection = false }

  func revive() async -> Bool {
    if isUsable { return true }
    guard isUp, !hasConnection || !hasChanged else { return false }
    hasConnection = true
    hasChanged = false
    isLost = false
    connectionCount += 1
    return false
  }

  func close() async { await disk.close() }
}

/// An array whose members can be cut off, and the actor that uses it.
actor CableClient {
  let machine: SimulatedMachine
  let volume: ArrayVolume<SimulatedMachine, CableDisk>
  nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps its machine.
    unsafe machine.unownedExecutor
  }

  init(_ machine: SimulatedMachine, _ volume: sending ArrayVolume<SimulatedMachine, CableDisk>) {
    self.machine = machine
    self.volume = volume
  }

  func read(_ range: ByteRange) async throws -> [UInt8] {
    let memory = try #require(AlignedMemory(byteCount: Int(range.byteCount)))
    let buffer = memory.buffer.prefix(Int(range.byteCount))
    try await volume.read(range, into: buffer)
    let bytes = buffer.array
    withExtendedLifetime(memory) {}
    return bytes
  }

  func write(_ offsetBytes: UInt64, _ bytes: [UInt8], durably: Bool = false) async throws {
    let memory = AlignedMemory.holding(bytes)
    let buffer = memory.buffer.prefix(bytes.count)
    try await volume.write(
      ByteRange(from: offsetBytes, to: offsetBytes + UInt64(bytes.count)), from: buffer,
      durably: durably)
    withExtendedLifetime(memory) {}
  }

  func flush() async throws { try await volume.flush() }
  func trim(_ range: ByteRange) async throws { try await volume.trim(range, durably: false) }
  func close() async throws { try await volume.close() }
  func status() -> ArrayStatus { volume.engine.assumeIsolated { $0.status } }
  func state(_ slot: Int) -> MemberStatus.State { status().members[slot].state }

  func fail(_ memberID: Identifier) async throws { try await volume.engine.failMember(memberID) }
  func replace(_ memberID: Identifier, _ handle: MemberHandle<CableDisk>) async throws {
    try await volume.engine.replaceMember(memberID, with: handle)
  }
  func reinstate(_ memberID: Identifier) async throws -> Int {
    try await volume.engine.reinstateMember(memberID)
  }

  func takeBack() { volume.engine.assumeIsolated { $0.takeBackMembers() } }

  /// Waits until a member is in a state; false when it does not come to that in the time.
  func wait(_ slot: Int, _ wanted: MemberStatus.State, nanoseconds: UInt64) async -> Bool {
    let end = machine.nowNanoseconds + nanoseconds
    while state(slot) != wanted {
      guard machine.nowNanoseconds < end else { return false }
      await machine.sleep(nanoseconds: 1_000_000)
    }
    return true
  }
}

extension ArrayLab {
  func cables(
    _ machine: SimulatedMachine, without lost: Set<Int> = []
  ) -> [MemberHandle<CableDisk>] {
    media.indices.filter { !lost.contains($0) }.map {
      MemberHandle(
        name: "member\($0)", disk: CableDisk(SimulatedDisk(machine, media[$0])),
        byteCount: media[$0].live.byteCount)
    }
  }

  func start(
    _ machine: SimulatedMachine, cables: [MemberHandle<CableDisk>],
    record: @escaping @Sendable (Superblock) async -> Void = { _ in }
  ) async throws -> CableClient {
    CableClient(
      machine,
      try await ArrayEngine.start(
        members: cables, machine: machine, options: options, log: { _, _ in }, record: record))
  }
}
