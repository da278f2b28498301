import DiskFormat
import Geometry
import IO
package import RAID
package import Simulator
package import Units
import Volumes

/// The real array.
package struct WholeArray: SystemUnderTest {
  package let name = "array"
  package let promises = Promises.ofArray

  package init() {}

  /// Where the array's own words go: to standard error in a replay.
  // Safe: set once, before anything runs.
  nonisolated(unsafe) package static var tell: @Sendable (EventSeverity, String) -> Void = { _, _ in
  }

  package func redundancy(of shape: ArrayShape) -> Int { shape.geometry.redundancy }

  package func create(
    _ shape: ArrayShape, on disks: [SimulatedDisk], of machine: SimulatedMachine
  ) async throws(StartRefusal) {
    let copies: UInt64 =
      switch shape.level {
      case .raid0: 1
      case .raid1: UInt64(shape.memberCount)
      case .raid5, .raid10: 2
      case .raid6: 3
      }
    let settings = CreationSettings(
      name: "simulated", level: shape.level, chunkBytes: shape.chunkBytes,
      // The largest that gives each member this share.
      logByteCount: shape.logBytes * UInt64(shape.memberCount) / copies,
      createdSeconds: 1)
    let members = handles(disks)
    do throws(CreationRefusal) {
      let creation = try ArrayCreation(
        settings, members.map { CreationCandidate(name: $0.name, byteCount: $0.byteCount) },
        randomNumber: { machine.randomNumber() })
      guard creation.layout == shape.layout, creation.geometry == shape.geometry else {
        throw CreationRefusal.name("the array is laid out otherwise than its shape says")
      }
      do throws(CreationError) { try await creation.write(to: members) } catch {
        throw CreationRefusal.name("\(error)")
      }
    } catch {
      throw StartRefusal("\(error)")
    }
  }

  package func start(_ setup: StartSetup) async throws(StartRefusal) -> any DeviceUnderTest {
    let volume: ArrayVolume<SimulatedMachine, SimulatedDisk>
    do throws(ArrayStartError) {
      volume = try await ArrayEngine.start(
        members: handles(given(setup)), machine: setup.machine, options: setup.options,
        log: unsafe WholeArray.tell)
    } catch {
      throw StartRefusal("\(error)", canBeForced: error.canBeForced)
    }
    let engine = volume.engine
    return HostedDevice(
      setup.machine, volume,
      takesBack: {
        await engine.takeBackMembers()
        for member in await engine.status.members where member.isFailed {
          _ = try? await engine.reinstateMember(member.memberID)
        }
      },
      isWhole: { await engine.isWhole },
      upkeep: ArrayUpkeep(engine: engine, machine: setup.machine),
      members: await ArrayOperator(engine, setup.machine, setup.disks))
  }

  package func damageableRanges(of shape: ArrayShape) -> [ByteRange] {
    [ByteRange(from: shape.layout.dataOffset, to: shape.memberBytes)]
  }

  package func isRecognizable(_ medium: SimulatedMedium) -> Bool {
    guard let memory = AlignedMemory(byteCount: 4096) else { return true }
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer
    for copy in 0..<UInt64(2) {
      medium.copyBytes(ByteRange(from: copy * 4096, to: (copy + 1) * 4096), into: buffer)
      if (try? Superblock.decode(buffer)) != nil { return true }
    }
    return false
  }

  /// Members, and devices that say they are.
  private func given(_ setup: StartSetup) -> [SimulatedDisk?] {
    guard setup.disks.count > setup.shape.memberCount else { return setup.disks }
    // Whoever was removed and is being prepared anew says nothing either.
    return setup.disks.map { disk in
      disk.flatMap { isRecognizable($0.medium) ? $0 : nil }
    }
  }

  private func handles(_ disks: [SimulatedDisk?]) -> [MemberHandle<SimulatedDisk>] {
    disks.enumerated().compactMap { slot, disk in
      disk.map {
        MemberHandle(name: "member \(slot)", disk: $0, byteCount: $0.medium.live.byteCount)
      }
    }
  }
}
