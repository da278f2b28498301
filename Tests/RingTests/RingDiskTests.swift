import Glibc
import IO
import Ring
import Testing
import Units

@Suite("Ring: files")
struct RingDiskTests {
  @Test(
    "what is written is read back, also by the next opening",
    arguments: [FileOptions.Caching.directIfPossible, .buffered])
  func writtenIsReadBack(caching: FileOptions.Caching) throws {
    let folder = try TemporaryFolder()
    let path = folder.file("a")
    try onRing(folder) { machine in
      let options = FileOptions(caching: caching, createByteCount: 1 << 20)
      let (disk, byteCount) = try await machine.openDisk(path: path, options: options)
      #expect(byteCount == 1 << 20)
      let block = try memory(4096, filledWith: 7)
      try await disk.write(at: 8192, from: block.buffer)
      withExtendedLifetime(block) {}
      try await disk.synchronize()
      await disk.close()
    }
    try onRing(folder) { machine in
      let (disk, _) = try await machine.openDisk(path: path, options: FileOptions(caching: caching))
      let target = try memory(12288, filledWith: 1)
      try await disk.read(at: 4096, into: target.buffer)
      #expect(target.buffer.prefix(4096).isZero)
      #expect(target.buffer[4096] == 7 && target.buffer[8191] == 7)
      #expect(target.buffer.slice(8192, 4096).isZero)
      await disk.close()
    }
  }

  @Test("a buffered file answers from the page cache at once, a direct one never")
  func readAtOnce() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("a")
    try onRing(folder) { machine in
      let options = FileOptions(caching: .buffered, createByteCount: 65536)
      let (disk, _) = try await machine.openDisk(path: path, options: options)
      let block = try memory(8192, filledWith: 7)
      try await disk.write(at: 4096, from: block.buffer)
      block.buffer.fill(with: 1)
      #expect(disk.readAtOnce(at: 4096, into: block.buffer) == 8192)
      #expect(block.buffer[0] == 7 && block.buffer[8191] == 7)
      #expect(disk.readAtOnce(at: 61440, into: block.buffer) == 4096)
      #expect(disk.readAtOnce(at: 65536, into: block.buffer) == 0)
      await disk.close()
      let direct = FileOptions(caching: .directIfPossible)
      let (other, _) = try await machine.openDisk(path: path, options: direct)
      if other.isDirect {
        #expect(other.readAtOnce(at: 4096, into: block.buffer) == -EAGAIN)
      }
      await other.close()
    }
  }

  @Test("a punched range reads as zeros and is a hole; a zeroed one reads as zeros")
  func clearing() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("a")
    try onRing(folder) { machine in
      let (disk, _) = try await machine.openDisk(
        path: path, options: FileOptions(createByteCount: 1 << 20))
      let data = try memory(1 << 20, filledWith: 9)
      try await disk.write(at: 0, from: data.buffer)
      try await disk.synchronize()
      let hole = ByteRange(from: 65536, to: 131_072)
      try await disk.clear(hole, mode: .punchHole)
      try await disk.clear(ByteRange(from: 262_144, to: 266_240), mode: .zeroRange)
      try await disk.read(at: 0, into: data.buffer)
      #expect(data.buffer[65535] == 9 && data.buffer[131_072] == 9)
      #expect(data.buffer.slice(65536, 65536).isZero)
      #expect(data.buffer.slice(262_144, 4096).isZero)
      #expect(try await disk.extent(at: 0) == DiskExtent(endBytes: 65536, isHole: false))
      #expect(try await disk.extent(at: 65536) == DiskExtent(endBytes: 131_072, isHole: true))
      #expect(try await disk.extent(at: 70000) == DiskExtent(endBytes: 131_072, isHole: true))
      await disk.close()
    }
  }

  @Test("many operations at once all end, more than the ring has entries")
  func manyAtOnce() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("a")
    try onRing(folder) { machine in
      let (disk, _) = try await machine.openDisk(
        path: path, options: FileOptions(caching: .buffered, createByteCount: 16 << 20))
      let tasks = (0..<3000).map { index in
        Task(executorPreference: machine) {
          let block = try memory(4096, filledWith: UInt8(index % 251))
          try await disk.write(at: UInt64(index) * 4096, from: block.buffer)
          withExtendedLifetime(block) {}
        }
      }
      for task in tasks { try await task.value }
      let block = try memory(4096)
      for index in [0, 1, 1023, 1024, 2999] {
        try await disk.read(at: UInt64(index) * 4096, into: block.buffer)
        #expect(block.buffer[0] == UInt8(index % 251) && block.buffer[4095] == block.buffer[0])
      }
      await disk.close()
    }
  }

  @Test("a file that shrank answers with its end, and says its size")
  func shrunk() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("a")
    try onRing(folder) { machine in
      let (disk, _) = try await machine.openDisk(
        path: path, options: FileOptions(createByteCount: 1 << 20))
      #expect(unsafe truncate(path, 8192) == 0)
      #expect(disk.currentByteCount() == .success(8192))
      let target = try memory(8192)
      await #expect(throws: DiskError.endedEarly(atBytes: 8192)) {
        try await disk.read(at: 4096, into: target.buffer)
      }
      await disk.close()
    }
  }

  @Test("a file that another process holds is refused, and served once it lets go")
  func heldByAnother() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("a")
    try onRing(folder) { machine in
      var options = FileOptions(createByteCount: 65536)
      options.lockTimeoutNanoseconds = 50_000_000
      let (first, _) = try await machine.openDisk(path: path, options: options)
      await #expect(throws: FileOpeningError.inUse) {
        _ = try await machine.openDisk(path: path, options: options)
      }
      await first.close()
      let (second, _) = try await machine.openDisk(path: path, options: options)
      await second.close()
    }
  }

  @Test("what cannot be served is refused by its reason, and nothing is left behind")
  func refused() throws {
    let folder = try TemporaryFolder()
    try onRing(folder) { machine in
      await #expect(throws: FileOpeningError.missing) {
        _ = try await machine.openDisk(path: folder.file("a"), options: FileOptions())
      }
      await #expect(throws: FileOpeningError.self) {
        _ = try await machine.openDisk(path: folder.path, options: FileOptions())
      }
      await #expect(throws: FileOpeningError.notFileOrDevice) {
        _ = try await machine.openDisk(path: "/dev/null", options: FileOptions())
      }
      let options = FileOptions(createByteCount: 8192)
      let (disk, _) = try await machine.openDisk(path: folder.file("a"), options: options)
      await disk.close()
      await #expect(throws: FileOpeningError.sizeDiffers(actualByteCount: 8192)) {
        _ = try await machine.openDisk(
          path: folder.file("a"), options: FileOptions(createByteCount: 4096))
      }
    }
  }

  @Test(
    "a size that is no multiple of a block is served buffered, or refused when direct is a must")
  func oddSize() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("a")
    try onRing(folder) { machine in
      let (disk, byteCount) = try await machine.openDisk(
        path: path, options: FileOptions(createByteCount: 10_001))
      #expect(byteCount == 10_001 && disk.properties.alignmentBytes == 1)
      await disk.close()
      await #expect(throws: FileOpeningError.directNotPossible) {
        _ = try await machine.openDisk(path: path, options: FileOptions(caching: .direct))
      }
    }
  }

  @Test("a write that the disk has no room for fails with ENOSPC and not otherwise")
  func full() throws {
    // /dev/full stands for a full disk, whatever is free here.
    try onRing { machine in
      let memory = try memory(4096)
      let descriptor = unsafe open("/dev/full", O_WRONLY)
      try #require(descriptor >= 0)
      defer { close(descriptor) }
      let result = await machine.writePipe(descriptor, from: memory.buffer)
      #expect(result == -ENOSPC)
    }
  }
}
