import IO
import RAID
package import Simulator
package import Units
import Volumes

/// One file on the first member, in the array's place: the negative control.
///
/// It keeps P1 and P2 and nothing else: no redundancy, no checksums, no atomic requests. A checker
/// that does not convict it of that is blind.
package struct PlainFile: SystemUnderTest {
  package let name = "plain"
  package let promises: Promises

  /// A file that is held to P6, or only to what a file can keep.
  package init(isHeldToAtomicity: Bool) {
    promises = Promises(
      atomicBytes: isHeldToAtomicity ? 64 << 10 : 512, trimZeroesBlocks: false,
      becomesOptimal: false)
  }

  package func redundancy(of shape: ArrayShape) -> Int { 0 }

  package func mediumBytes(of shape: ArrayShape) -> UInt64 { shape.deviceBytes }

  package func create(
    _ shape: ArrayShape, on disks: [SimulatedDisk], of machine: SimulatedMachine
  ) async throws(StartRefusal) {}

  package func start(_ setup: StartSetup) async throws(StartRefusal) -> any DeviceUnderTest {
    guard let disk = setup.disks.first ?? nil else { throw StartRefusal("the file is not there") }
    // What a killed process left in the page cache is served as good: so make it good (L3).
    do throws(DiskError) { try await disk.synchronize() } catch {
      throw StartRefusal("the file cannot be made durable: \(error)")
    }
    let volume = FileVolume<SimulatedMachine>(
      disk: disk, byteCount: setup.shape.deviceBytes, kind: "file", isReadOnly: false,
      machine: setup.machine)
    return HostedDevice(setup.machine, volume)
  }

  package func damageableRanges(of shape: ArrayShape) -> [ByteRange] {
    [ByteRange(from: 0, to: shape.deviceBytes)]
  }
}
