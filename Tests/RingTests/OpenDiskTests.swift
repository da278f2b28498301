import Glibc
import IO
import Ring
import Testing
import Units

@Suite("Ring: disks")
struct OpenDiskTests {
  /// Runs a test on a ring of its own, with a new file that is removed afterwards.
  private func withFile(
    byteCount: UInt64, _ body: @escaping @Sendable (RingMachine, String) async throws -> Void
  ) throws {
    let path = "/var/tmp/ashlar-ring-test-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    defer { unsafe _ = unlink(path) }
    let machine = try RingMachine()
    let status = machine.run {
      do {
        let (disk, _) = try await machine.openDisk(
          path: path, options: FileOptions(createByteCount: byteCount))
        await disk.close()
        try await body(machine, path)
        return 0
      } catch {
        Issue.record(error)
        return 1
      }
    }
    #expect(status == 0)
  }

  @Test("an extent that is trimmed while it is looked up is no error")
  func extentAgainstTrim() throws {
    try withFile(byteCount: 1 << 20) { machine, path in
      let (disk, _) = try await machine.openDisk(path: path, options: FileOptions())
      guard let memory = AlignedMemory(byteCount: 65536) else { return }
      memory.buffer.fill(with: 1)
      let buffer = memory.buffer
      let writer = Task(executorPreference: machine) {
        for _ in 0..<1000 {
          _ = await disk.writeSome(at: 0, from: buffer)
          _ = await disk.clearOnce(at: 0, byteCount: 65536, mode: .punchHole)
        }
      }
      var errors: [DiskError] = []
      for _ in 0..<3000 {
        do throws(DiskError) { _ = try await disk.extent(at: 0) } catch { errors.append(error) }
      }
      await writer.value
      #expect(errors.isEmpty)
      await disk.close()
      withExtendedLifetime(memory) {}
    }
  }

  @Test("a file that is open elsewhere is refused after the timeout")
  func fileInUse() throws {
    try withFile(byteCount: 1 << 20) { machine, path in
      let (disk, _) = try await machine.openDisk(path: path, options: FileOptions())
      var options = FileOptions()
      options.lockTimeoutNanoseconds = 50_000_000
      await #expect(throws: FileOpeningError.inUse) {
        _ = try await machine.openDisk(path: path, options: options)
      }
      await disk.close()
    }
  }
}
