import IO
import NBDServer
import Simulator
import TestSupport
import Testing
import Units
import Volumes

@Suite("Server: memory that the volume lends")
struct LentMemoryTests {
  private typealias Site = ServerSite<LendingVolume>

  private static func site(
    _ ledger: Ledger, _ conditions: NetworkConditions = NetworkConditions()
  ) -> Site {
    Site(seed: 1, options: testOptions(), conditions: conditions, recordsTrace: false) { machine in
      LendingVolume(machine, ledger)
    }
  }

  @Test("what was read is sent from the lent memory, which is given back once, when it was sent")
  func sentThenGivenBack() throws {
    let ledger = Ledger()
    var conditions = smoothConditions
    conditions.bufferBytes = 4096
    let site = Self.site(ledger, conditions)
    try site.run {
      let client = try await site.connect()
      let cookies = (0..<3).map { number in
        client.submit(TestRequest(TestRequest.read, UInt64(number) * 4096, 65536))
      }
      // The socket is full, and nobody reads.
      await site.clients.sleep(nanoseconds: second)
      #expect(ledger.lentCount > 0 && ledger.lentCount == ledger.outCount)
      for (number, cookie) in cookies.enumerated() {
        let reply = try await client.reply(to: cookie)
        let expected = LendingVolume.bytes(from: UInt64(number) * 4096, 65536)
        let isRight = reply.error == 0 && reply.data == expected
        #expect(isRight, "reply \(number)")
      }
      #expect(await site.happens { $0.requestsInFlight == 0 })
      #expect(ledger.outCount == 0)
      #expect(ledger.lentCount == 3)
      await client.close()
      #expect(await site.becomesQuiet())
    }
  }

  @Test("a client that leaves while its reply is being sent does not keep what was lent")
  func clientLeaves() throws {
    let ledger = Ledger()
    var conditions = smoothConditions
    conditions.bufferBytes = 4096
    let site = Self.site(ledger, conditions)
    try site.run {
      let client = try await site.connect()
      for _ in 0..<4 { _ = client.submit(TestRequest(TestRequest.read, 0, 65536)) }
      await site.clients.sleep(nanoseconds: second)
      #expect(ledger.outCount > 0)
      await client.close()
      #expect(await site.becomesQuiet())
      #expect(ledger.outCount == 0)
    }
  }

  @Test("a volume that has nothing to lend, or fails, is read, or tells its error")
  func nothingToLend() throws {
    let ledger = Ledger()
    let site = Self.site(ledger)
    try site.run {
      let client = try await site.connect()
      ledger.hasNothing = true
      let reply = try await client.perform(TestRequest(TestRequest.read, 8192, 65536))
      #expect(reply.error == 0 && reply.data == LendingVolume.bytes(from: 8192, 65536))
      ledger.fails = true
      let failed = try await client.perform(TestRequest(TestRequest.read, 8192, 65536))
      #expect(failed.error == Wire.inputOutput)
      ledger.fails = false
      let short = try await client.perform(TestRequest(TestRequest.read, 0, 4096))
      #expect(short.error == 0 && short.data == LendingVolume.bytes(from: 0, 4096))
      #expect(ledger.lentCount == 0)
      await client.close()
      #expect(await site.becomesQuiet())
    }
  }
}

/// What became of a volume's memory.
private final class Ledger: @unchecked Sendable {
  var lentCount = 0
  var outCount = 0
  var hasNothing = false
  var fails = false
}

private final class Lent: LentMemory, @unchecked Sendable {
  private let memory: AlignedMemory
  private let ledger: Ledger
  let bytes: IOBuffer

  init(_ memory: AlignedMemory, _ byteCount: Int, _ ledger: Ledger) {
    self.memory = memory
    self.ledger = ledger
    bytes = memory.buffer.prefix(byteCount)
    ledger.lentCount += 1
    ledger.outCount += 1
  }

  func giveBack() {
    ledger.outCount -= 1
    // The next read's: nobody may send it any more.
    bytes.fill(with: 0xEE)
  }
}

/// Lends what it reads in requests of more than 4 KiB, after a while.
private final class LendingVolume: Volume {
  let traits = VolumeTraits(
    kind: "test", byteCount: 1 << 20, isReadOnly: false, isRotational: false,
    preferredBlockBytes: 4096)
  let health = VolumeHealth.optimal
  let oldestOperationNanoseconds: UInt64? = nil
  private let machine: SimulatedMachine
  private let ledger: Ledger

  init(_ machine: SimulatedMachine, _ ledger: Ledger) {
    self.machine = machine
    self.ledger = ledger
  }

  static func bytes(from offset: UInt64, _ byteCount: Int) -> [UInt8] {
    (0..<byteCount).map { UInt8(truncatingIfNeeded: (offset + UInt64($0)) / 13 + 1) }
  }

  func lends(_ range: ByteRange) -> Bool { range.byteCount > 4096 }

  func readLent(_ range: ByteRange) async throws(VolumeError) -> (any LentMemory)? {
    await machine.sleep(nanoseconds: 1_000_000)
    if ledger.fails { throw .inputOutput(reason: "as planned") }
    guard !ledger.hasNothing, let memory = AlignedMemory(byteCount: Int(range.byteCount)) else {
      return nil
    }
    let lent = Lent(memory, Int(range.byteCount), ledger)
    try await read(range, into: lent.bytes)
    return lent
  }

  func read(_ range: ByteRange, into buffer: IOBuffer) async throws(VolumeError) {
    let content = AlignedMemory.holding(Self.bytes(from: range.offsetBytes, Int(range.byteCount)))
    buffer.copy(from: content.buffer.prefix(Int(range.byteCount)))
    withExtendedLifetime(content) {}
  }

  func write(
    _ range: ByteRange, from buffer: IOBuffer, durably: Bool
  ) async throws(VolumeError) { throw .notSupported }
  func flush() async throws(VolumeError) {}
  func trim(_ range: ByteRange, durably: Bool) async throws(VolumeError) {}
  func writeZeroes(
    _ range: ByteRange, keepAllocated: Bool, onlyIfFast: Bool, durably: Bool
  ) async throws(VolumeError) { throw .notSupported }
  func extents(of range: ByteRange, into extents: ExtentList) async throws(VolumeError) {}
  func prefetch(_ range: ByteRange) async {}
  func fail(cause: String, action: String) {}
  func close() async throws(VolumeError) {}
}
