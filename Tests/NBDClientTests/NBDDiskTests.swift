import Glibc
import IO
import NBDClient
import NBDServer
import NBDWire
import Simulator
import TestSupport
import Testing
import Units
import Volumes

typealias ClientDisk = NBDDisk<SimulatedMachine>

extension ClientSite {
  /// The export "a" of whoever listens at the address, as a disk.
  func openDisk(
    _ change: (inout NBDDiskOptions) -> Void = { _ in }
  ) async throws(NBDDiskError) -> ClientDisk {
    var options = NBDDiskOptions(exportName: "a")
    change(&options)
    return try await ClientDisk.connect(on: machine, options: options) { [network, machine] in
      await network.connect(from: machine, to: address).mapError { error in
        .unreachable("nobody answers: \(error)")
      }
    }
  }

  /// Disks over scripted connections, one script for each in turn.
  func openDisk(
    scripts: [@Sendable (ScriptedServer) async -> Void],
    _ change: (inout NBDDiskOptions) -> Void = { _ in }
  ) async throws(NBDDiskError) -> ClientDisk {
    var options = NBDDiskOptions(exportName: "a")
    change(&options)
    let turn = Box(0)
    return try await ClientDisk.connect(on: machine, options: options) {
      guard turn.value < scripts.count else { return .failure(.unreachable("no more scripts")) }
      defer { turn.value += 1 }
      return .success(play(scripts[turn.value]))
    }
  }

  /// The error of opening a scripted export.
  func openingError(
    _ change: (inout NBDDiskOptions) -> Void = { _ in },
    _ script: @escaping @Sendable (ScriptedServer) async -> Void
  ) async -> NBDDiskError? {
    do throws(NBDDiskError) {
      let disk = try await openDisk(scripts: [script], change)
      await disk.close()
      return nil
    } catch {
      return error
    }
  }
}

extension Disk {
  func readBytes(_ offset: UInt64, _ count: Int) async throws(DiskError) -> [UInt8] {
    let memory = AlignedMemory.ofTest(count)
    defer { withExtendedLifetime(memory) {} }
    let buffer = memory.buffer.prefix(count)
    buffer.fill(with: 0xEE)
    try await read(at: offset, into: buffer)
    return buffer.array
  }

  func writeBytes(_ offset: UInt64, _ bytes: [UInt8]) async throws(DiskError) {
    let memory = AlignedMemory.holding(bytes)
    defer { withExtendedLifetime(memory) {} }
    try await write(at: offset, from: memory.buffer.prefix(bytes.count))
  }
}

/// The error of an operation, nil when it succeeded.
func diskFailure(_ body: () async throws(DiskError) -> Void) async -> DiskError? {
  do throws(DiskError) {
    try await body()
    return nil
  } catch {
    return error
  }
}

/// The error of a reconnection, nil when it succeeded.
func reconnectFailure(_ disk: ClientDisk) async -> NBDDiskError? {
  do throws(NBDDiskError) {
    try await disk.reconnect()
    return nil
  } catch {
    return error
  }
}

let disconnected = DiskError.refused(.disconnected)

@Suite("NBDClient: an export as a disk")
struct NBDDiskTests {
  @Test("what is written is read, flushed and cleared, and the end is the end", arguments: 1...8)
  func works(seed: Int) throws {
    let site = ClientSite(seed: UInt64(seed))
    try site.run {
      let server = await site.serve(byteCount: 1 << 20)
      let disk = try await site.openDisk()
      #expect(disk.byteCount == 1 << 20)
      #expect(disk.properties.alignmentBytes == 1)
      let bytes = Patterns.small.bytes(7, at: 4096, 20480)
      try await disk.writeBytes(4096, bytes)
      try await disk.synchronize()
      #expect(try await disk.readBytes(4096, 20480) == bytes)
      let hole = ByteRange(from: 8192, to: 12288)
      for mode in [ClearMode.punchHole, .zeroRange] {
        try await disk.writeBytes(4096, bytes)
        try await disk.clear(hole, mode: mode)
        let cleared = bytes[..<4096] + [UInt8](repeating: 0, count: 4096) + bytes[8192...]
        #expect(try await disk.readBytes(4096, 20480) == Array(cleared))
      }
      // As of a file that ends, and of a device that is full.
      let end: UInt64 = 1 << 20
      let short = await diskFailure { () async throws(DiskError) in
        _ = try await disk.readBytes(end - 4096, 8192)
      }
      #expect(short == .endedEarly(atBytes: end))
      let full = await diskFailure { () async throws(DiskError) in
        try await disk.writeBytes(end, [1])
      }
      #expect(full == .refused(SystemError(ENOSPC)))
      #expect(disk.currentByteCount() == .success(1 << 20))
      await disk.close()
      let closed = await diskFailure { () async throws(DiskError) in try await disk.synchronize() }
      #expect(closed == disconnected)
      #expect(await reconnectFailure(disk) == .busy)
      #expect(await server.stop() == nil)
    }
  }

  @Test("each of the server's errors arrives as the errno that it is, and ends nothing")
  func errorsAreErrnos() throws {
    let site = ClientSite()
    try site.run {
      let errors: [Int32] = [EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, EOPNOTSUPP, ESHUTDOWN]
      let disk = try await site.openDisk(scripts: [
        { server in
          await server.greet()
          for error in errors {
            for _ in 0..<4 {
              guard let request = await server.takeRequest() else { return }
              await server.say(Bytes.error(request.cookie, UInt64(error)))
            }
          }
          await server.leave()
        }
      ])
      for error in errors {
        let expected = DiskError.refused(SystemError(error))
        let read = await diskFailure { () async throws(DiskError) in
          _ = try await disk.readBytes(0, 4096)
        }
        let write = await diskFailure { () async throws(DiskError) in
          try await disk.writeBytes(0, [UInt8](repeating: 1, count: 4096))
        }
        let flush = await diskFailure { () async throws(DiskError) in
          try await disk.synchronize()
        }
        let clear = await diskFailure { () async throws(DiskError) in
          try await disk.clear(ByteRange(from: 0, to: 4096), mode: .zeroRange)
        }
        #expect([read, write, flush, clear] == [expected, expected, expected, expected])
      }
      #expect(disk.isConnected)
      await disk.close()
    }
  }

  // MARK: What cannot be a member

  @Test("an export without FLUSH, or for reading only, is refused unless it is only looked at")
  func refusesWithoutFlush() throws {
    let site = ClientSite()
    try site.run {
      for (flags, words) in [(0b1001 as UInt16, "FLUSH"), (0b111, "reading only")] {
        let script: @Sendable (ScriptedServer) async -> Void = { server in
          await server.greet(flags: flags)
          await server.leave()
        }
        guard case .unsuitable(let reason) = await site.openingError({ _ in }, script) else {
          Issue.record("an export with flags \(flags) was taken")
          return
        }
        #expect(reason.contains(words))
        #expect(await site.openingError({ $0.isReadOnly = true }, script) == nil)
      }
    }
  }

  @Test(
    "block sizes that do not allow 4096 bytes are refused by their numbers",
    arguments: [(8192, 8192, 65536, "multiples of 8192"), (512, 512, 2048, "takes 2048 bytes")])
  func refusesBlockSizes(minimum: UInt64, preferred: UInt64, maximum: UInt64, words: String) throws
  {
    let site = ClientSite()
    try site.run {
      let error = await site.openingError { server in
        await server.say(Bytes.greeting)
        _ = await server.take(20)
        await server.say(
          Bytes.optionReply(8, 0x8000_0001) + Bytes.exportInfo(1 << 20, 0b10_1101)
            + Bytes.blockInfo(minimum, preferred, maximum) + Bytes.optionReply(7, 1))
        await server.leave()
      }
      guard case .unsuitable(let reason) = error else {
        Issue.record("taken: \(String(describing: error))")
        return
      }
      #expect(reason.contains(words))
    }
  }

  @Test("an empty export is refused, and nobody at the address is told in words")
  func refusesNothing() throws {
    let site = ClientSite()
    try site.run {
      let error = await site.openingError { server in
        await server.greet(byteCount: 0)
        await server.leave()
      }
      #expect(error?.explanation.contains("empty") == true)
      do throws(NBDDiskError) {
        _ = try await site.openDisk()
        Issue.record("a disk without a server")
      } catch {
        #expect(error.explanation.contains("nobody answers"))
      }
    }
  }

  // MARK: Loss

  @Test("a lost connection fails what is under way and everything after it", arguments: 1...8)
  func lossIsForGood(seed: Int) throws {
    let site = ClientSite(seed: UInt64(seed))
    try site.run {
      let server = await site.serve(byteCount: 1 << 20)
      let disk = try await site.openDisk()
      try await disk.writeBytes(0, [UInt8](repeating: 1, count: 4096))
      #expect(await server.stop() == nil)
      // The next server has the same export, empty: as after a crash that lost what was not flushed.
      let next = await site.serve(byteCount: 1 << 20)
      for _ in 0..<3 {
        let flush = await diskFailure { () async throws(DiskError) in
          try await disk.synchronize()
        }
        #expect(flush == disconnected)
      }
      #expect(!disk.isConnected)
      #expect(disk.lossReason != nil)
      #expect(disk.currentByteCount() == .failure(.disconnected))
      #expect(await reconnectFailure(disk) == .busy)
      await disk.retire()
      #expect(await reconnectFailure(disk) == nil)
      #expect(try await disk.readBytes(0, 4096) == [UInt8](repeating: 0, count: 4096))
      await disk.close()
      #expect(await next.stop() == nil)
    }
  }

  @Test("a server that falls silent loses the connection when a request's time is over")
  func silenceEnds() throws {
    let site = ClientSite()
    try site.run {
      let disk = try await site.openDisk(scripts: [
        { server in
          await server.greet()
          _ = await server.takeRequest()
          await server.leave()
        }
      ]) { $0.requestNanoseconds = 5 * second }
      let start = site.machine.nowNanoseconds
      let error = await diskFailure { () async throws(DiskError) in
        _ = try await disk.readBytes(0, 4096)
      }
      #expect(error == disconnected)
      #expect(site.machine.nowNanoseconds - start < 8 * second)
      #expect(disk.lossReason?.contains("no answer for 5 s") == true)
      // A read changes nothing: there is nothing to wait for.
      await disk.retire()
      #expect(disk.drainNanosecondsLeft == 0)
      await disk.close()
    }
  }

  @Test("retiring a disk ends what is under way, and a lost write delays the next connection")
  func retiringDrains() throws {
    let site = ClientSite()
    try site.run {
      let disk = try await site.openDisk(scripts: [
        { server in
          await server.greet()
          _ = await server.takeRequest()
          await server.leave()
        },
        { server in
          await server.greet()
          guard let request = await server.takeRequest() else { return }
          await server.say(Bytes.chunk(request.cookie, 0, isLast: true))
          await server.leave()
        },
      ]) { $0.drainNanoseconds = 10 * second }
      let result = Box<DiskError?>(nil)
      let writer = Task(executorPreference: site.machine) {
        result.value = await diskFailure { () async throws(DiskError) in
          try await disk.writeBytes(0, [UInt8](repeating: 1, count: 4096))
        }
      }
      await site.machine.sleep(nanoseconds: second)
      #expect(result.value == nil)
      await disk.retire()
      await writer.value
      #expect(result.value == disconnected)
      #expect(disk.lossReason == "the disk was set aside")
      guard case .draining(let left) = await reconnectFailure(disk) else {
        Issue.record("connected although the write may still land")
        return
      }
      #expect(left > 9 * second)
      await site.machine.sleep(nanoseconds: left)
      #expect(await reconnectFailure(disk) == nil)
      try await disk.synchronize()
      await disk.close()
    }
  }

  @Test("an export that came back smaller is refused with both sizes; a larger one keeps its size")
  func sizeNeverShrinks() throws {
    let site = ClientSite()
    try site.run {
      let greet = { @Sendable (byteCount: UInt64) in
        { @Sendable (server: ScriptedServer) in
          await server.greet(byteCount: byteCount)
          await server.leave()
        }
      }
      let disk = try await site.openDisk(
        scripts: [greet(1 << 20), greet(1 << 19), greet(1 << 21)])
      await disk.retire()
      let error = await reconnectFailure(disk)
      #expect(error == .shrunk(fromByteCount: 1 << 20, toByteCount: 1 << 19))
      #expect(error?.explanation.contains("1048576") == true)
      #expect(error?.explanation.contains("524288") == true)
      #expect(!disk.isConnected)
      #expect(await reconnectFailure(disk) == nil)
      #expect(disk.byteCount == 1 << 20)
      #expect(disk.currentByteCount() == .success(1 << 20))
      await disk.close()
    }
  }

  @Test("a reply that nobody asked for ends the connection")
  func lyingServerIsLeft() throws {
    let site = ClientSite()
    try site.run {
      let disk = try await site.openDisk(scripts: [
        { server in
          await server.greet()
          guard let request = await server.takeRequest() else { return }
          await server.say(
            Bytes.data(request.cookie, 0, [UInt8](repeating: 1, count: 8192), isLast: true))
          await server.leave()
        }
      ])
      let error = await diskFailure { () async throws(DiskError) in
        _ = try await disk.readBytes(0, 4096)
      }
      #expect(error == disconnected)
      #expect(disk.lossReason?.contains("READ") == true)
      await disk.close()
    }
  }
}

@Suite("NBDClient: connecting again")
struct ReviveTests {
  @Test("attempts come at growing distances, and the first that succeeds connects")
  func backsOff() throws {
    let site = ClientSite()
    try site.run {
      let server = await site.serve(byteCount: 1 << 20)
      let attempts = Box<[UInt64]>([])
      let disk = try await ClientDisk.connect(
        on: site.machine, options: NBDDiskOptions(exportName: "a")
      ) {
        attempts.value.append(site.machine.nowNanoseconds)
        return await site.network.connect(from: site.machine, to: address).mapError { error in
          .unreachable("nobody answers: \(error)")
        }
      }
      #expect(await disk.revive())
      #expect(attempts.value.count == 1)
      #expect(await server.stop() == nil)
      await disk.retire()
      #expect(!disk.isConnected)
      while attempts.value.count < 10 {
        #expect(!(await disk.revive()))
        await site.machine.sleep(nanoseconds: second / 20)
      }
      #expect(disk.reconnectError?.explanation.contains("nobody answers") == true)
      let waits = zip(attempts.value.dropFirst(2), attempts.value.dropFirst()).map { $0.0 - $0.1 }
      // A quarter more or less, and a tick of this test.
      for (wait, usual) in zip(waits, [1, 2, 4, 8, 16, 32, 60] as [UInt64]) {
        let usual = usual * second / 2
        #expect(wait >= usual * 3 / 4 && wait <= usual * 5 / 4 + second / 10)
      }
      let next = await site.serve(byteCount: 1 << 20)
      while !(await disk.revive()) { await site.machine.sleep(nanoseconds: second) }
      #expect(disk.isConnected)
      #expect(disk.reconnectError == nil)
      try await disk.synchronize()
      await disk.close()
      #expect(await next.stop() == nil)
    }
  }

  @Test("nothing is tried before the owner has retired the disk, nor while writes may still land")
  func waitsForTheOwner() throws {
    let site = ClientSite()
    try site.run {
      let server = await site.serve(byteCount: 1 << 20)
      let disk = try await site.openDisk { $0.drainNanoseconds = 10 * second }
      #expect(await server.stop() == nil)
      let next = await site.serve(byteCount: 1 << 20)
      let error = await diskFailure { () async throws(DiskError) in
        try await disk.writeBytes(0, [1])
      }
      #expect(error == disconnected)
      let lost = site.machine.nowNanoseconds
      #expect(!(await disk.revive()))
      #expect(disk.reconnectError == nil)
      await site.machine.sleep(nanoseconds: 10 * second)
      #expect(!(await disk.revive()))
      await site.machine.sleep(nanoseconds: second)
      #expect(!disk.isConnected)
      #expect(disk.reconnectError == .busy)
      await disk.retire()
      while !(await disk.revive()) { await site.machine.sleep(nanoseconds: second / 10) }
      #expect(site.machine.nowNanoseconds - lost >= 10 * second)
      await disk.close()
      #expect(await next.stop() == nil)
    }
  }

  @Test("a new connection that is lost before anything was written over it is made anew")
  func lostAgain() throws {
    let site = ClientSite()
    try site.run {
      let first = await site.serve(byteCount: 1 << 20)
      let disk = try await site.openDisk()
      #expect(await first.stop() == nil)
      await disk.retire()
      let second = await site.serve(byteCount: 1 << 20)
      while !(await disk.revive()) { await site.machine.sleep(nanoseconds: 1_000_000_000) }
      #expect(await second.stop() == nil)
      let third = await site.serve(byteCount: 1 << 20)
      // As an engine does that has not taken the member back yet.
      var tries = 0
      while !(await disk.revive()), tries < 60 {
        tries += 1
        await site.machine.sleep(nanoseconds: 2_000_000_000)
      }
      #expect(disk.isConnected, "\(disk.reconnectError?.explanation ?? "")")
      await disk.close()
      #expect(await third.stop() == nil)
    }
  }
}
