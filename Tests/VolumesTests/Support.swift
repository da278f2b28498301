import Glibc
import IO
import Simulator
import TestSupport
import Units
import Volumes

typealias SimulatedFileVolume = FileVolume<SimulatedMachine>

/// The actor that a volume belongs to, as the server is one.
actor VolumeHost<HostedVolume: Volume> {
  private let machine: SimulatedMachine
  private let volume: HostedVolume

  init(_ machine: SimulatedMachine, _ volume: sending HostedVolume) {
    self.machine = machine
    self.volume = volume
  }

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    // Safe: the actor keeps the machine.
    unsafe machine.unownedExecutor
  }

  var health: VolumeHealth { volume.health }

  // `misalignment` says where in its page the buffer starts.
  func read(
    _ range: ByteRange, misalignment: Int = 0
  ) async throws(VolumeError) -> [UInt8] {
    let memory = AlignedMemory.holding(
      [UInt8](repeating: 0xAA, count: Int(range.byteCount)), offset: misalignment)
    let buffer = memory.buffer.slice(misalignment, Int(range.byteCount))
    try await volume.read(range, into: buffer)
    return buffer.array
  }

  /// What can be had without waiting; nil when nothing can.
  func readAtOnce(_ range: ByteRange) throws(VolumeError) -> [UInt8]? {
    let memory = AlignedMemory.holding([UInt8](repeating: 0xAA, count: Int(range.byteCount)))
    let buffer = memory.buffer.prefix(Int(range.byteCount))
    return try volume.readAtOnce(range, into: buffer) ? buffer.array : nil
  }

  func write(
    _ range: ByteRange, _ bytes: [UInt8], durably: Bool = false, misalignment: Int = 0
  ) async throws(VolumeError) {
    let memory = AlignedMemory.holding(bytes, offset: misalignment)
    try await volume.write(
      range, from: memory.buffer.slice(misalignment, bytes.count), durably: durably)
  }

  func flush() async throws(VolumeError) { try await volume.flush() }

  func trim(_ range: ByteRange, durably: Bool = false) async throws(VolumeError) {
    try await volume.trim(range, durably: durably)
  }

  func writeZeroes(
    _ range: ByteRange, keepAllocated: Bool = false, onlyIfFast: Bool = false,
    durably: Bool = false
  ) async throws(VolumeError) {
    try await volume.writeZeroes(
      range, keepAllocated: keepAllocated, onlyIfFast: onlyIfFast, durably: durably)
  }

  func extents(of range: ByteRange, capacity: Int = 64) async throws(VolumeError) -> [Extent] {
    let list = ExtentList(capacity: capacity)
    try await volume.extents(of: range, into: list)
    return list.extents
  }

  func prefetch(_ range: ByteRange) async { await volume.prefetch(range) }

  func close() async throws(VolumeError) { try await volume.close() }
}

func range(_ start: UInt64, _ end: UInt64) -> ByteRange { ByteRange(from: start, to: end) }

/// One file on one machine of its own.
struct FileSite {
  let simulation: Simulation
  let machine: SimulatedMachine
  let medium: SimulatedMedium
  let disk: SimulatedDisk
  let host: VolumeHost<SimulatedFileVolume>

  init(
    seed: UInt64, byteCount: UInt64 = 64 << 10, alignment: Int = 4096,
    isBlockDevice: Bool = false
  ) {
    let simulation = Simulation(seed: seed)
    let medium = SimulatedMedium(byteCount: byteCount, isBlockDevice: isBlockDevice)
    self.init(simulation, medium, alignment: alignment)
  }

  /// A new process that opens what another has left.
  init(_ simulation: Simulation, _ medium: SimulatedMedium, alignment: Int) {
    self.simulation = simulation
    self.medium = medium
    machine = SimulatedMachine(simulation)
    disk = SimulatedDisk(machine, medium, alignmentBytes: alignment)
    host = Self.makeHost(machine, disk, medium.live.byteCount)
  }

  private static func makeHost(
    _ machine: SimulatedMachine, _ disk: SimulatedDisk, _ byteCount: UInt64
  ) -> VolumeHost<SimulatedFileVolume> {
    let volume = SimulatedFileVolume(
      disk: disk, byteCount: byteCount, kind: "file /srv/a.img", isReadOnly: false,
      machine: machine)
    return VolumeHost(machine, volume)
  }

  var image: [UInt8] { medium.live.bytes(ByteRange(from: 0, to: medium.live.byteCount)) }
}

/// What an operation came to, where its error is part of the test.
func outcome<Value: Sendable>(
  _ body: () async throws(VolumeError) -> Value
) async -> Result<Value, VolumeError> {
  do throws(VolumeError) { return .success(try await body()) } catch { return .failure(error) }
}

extension Result {
  var isSuccess: Bool { if case .success = self { true } else { false } }
  var failure: Failure? { if case .failure(let error) = self { error } else { nil } }
}
