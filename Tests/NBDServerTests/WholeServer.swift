import IO
import NBDServer
import Simulator
import TestSupport
import Units
import Volumes

/// One short history of the whole server: clients that pipeline mixed commands, a faulty disk, a
/// faulty network, and a checker that knows what each sector may hold.
///
/// It runs in rounds. A round ends early when a connection breaks, because the fate of what was
/// under way there is known only when the server has nothing in flight any more; and each round
/// must end, within a bound, with a server that is quiet.
struct WholeServer: Sendable {
  struct Wrong: Error, CustomStringConvertible {
    let description: String
  }

  /// What one history came to.
  struct Result: Equatable, Sendable {
    var digest: UInt64
    var stepCount: Int
    var requestCount: Int
    var errorCount: Int
    var brokenCount: Int
    var deviceHasFailed: Bool
  }

  private final class Progress: @unchecked Sendable {
    var requestCount = 0
    var errorCount = 0
    var brokenCount = 0
    var roundIsOver = false
    var wrong: String?
  }

  private static let byteCount: UInt64 = 32 << 10
  private let site: FileSite
  private let below: Below
  private let model = SectorModel(byteCount: byteCount)
  private let progress = Progress()

  static func run(seed: UInt64) throws -> Result {
    var random = RandomSource(seed: seed ^ 0xA54A)
    let history = WholeServer(seed: seed, &random)
    let site = history.site
    try site.run(within: Simulation.Limits(stepCount: 500_000)) {
      for _ in 0..<3 { try await history.round() }
      try await history.heal()
    }
    let progress = history.progress
    let health = Box(VolumeHealth.optimal)
    try site.clients.run { health.value = await site.server.status().health }
    let hasFailed = if case .failed = health.value { true } else { false }
    return Result(
      digest: site.simulation.trace.digest, stepCount: site.simulation.stepCount,
      requestCount: progress.requestCount, errorCount: progress.errorCount,
      brokenCount: progress.brokenCount, deviceHasFailed: hasFailed)
  }

  private init(seed: UInt64, _ random: inout RandomSource) {
    var conditions = NetworkConditions()
    conditions.bufferBytes = 1 << Int(random.next(from: 8, through: 17))
    conditions.fragmentPerMillion = random.coin() ? 500_000 : 50_000
    conditions.resetPerMillion = random.next(below: 3) == 0 ? 2000 : 0
    let alignment = [1, 512, 4096][random.index(below: 3)]
    var options = testOptions()
    options.requestsPerConnectionMax = [1, 3, 128][random.index(below: 3)]
    options.requestsMax = [2, 4096][random.index(below: 2)]
    options.bytesPerConnectionMax = [8192, 64 << 20][random.index(below: 2)]
    options.bytesMax = [16384, 256 << 20][random.index(below: 2)]
    (site, below) = fileSite(
      seed: seed, byteCount: Self.byteCount, alignment: alignment, conditions: conditions, options)
    below.cachedReadsPerMillion.value = [0, 500_000, 1_000_000][random.index(below: 3)]
    guard random.next(below: 4) > 0 else { return }
    var rates = DiskFaultRates()
    rates.readError = random.coin() ? 20_000 : 0
    rates.writeError = random.coin() ? 20_000 : 0
    rates.noSpace = random.coin() ? 20_000 : 0
    rates.interrupted = 20_000
    rates.tryAgain = 20_000
    // Where a transfer may stop at any byte, two at once may meet inside a sector.
    rates.shortTransfer = alignment > 1 ? 50_000 : 0
    rates.synchronizeError = random.next(below: 6) == 0 ? 50_000 : 0
    below.medium.faultRates = rates
    below.medium.canPunchHoles = random.next(below: 4) > 0
    below.medium.canZeroRanges = random.coin()
  }

  private func draw(_ bound: UInt64) -> UInt64 { site.clients.randomNumber() % bound }

  private func isFailed() async -> Bool {
    if case .failed = await site.server.status().health { return true }
    return false
  }

  // MARK: Rounds

  private func round() async throws {
    progress.roundIsOver = false
    let clientCount = 1 + draw(3)
    let start = site.simulation.nowNanoseconds
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<clientCount {
        group.addTask(executorPreference: self.site.clients) { await self.live() }
      }
    }
    try check(await site.becomesQuiet(), "the server is not quiet after a round")
    try check(site.simulation.nowNanoseconds - start < 30 * second, "a round took too long")
    model.settle()
    if let wrong = progress.wrong { throw Wrong(description: wrong) }
  }

  private func check(_ condition: Bool, _ words: String) throws {
    if !condition { throw Wrong(description: words) }
  }

  /// No more faults: everything is answered, and the device holds what it may hold.
  private func heal() async throws {
    below.medium.faultRates = DiskFaultRates()
    site.network.conditions = smoothConditions
    let client = try await site.connect()
    let whole = try await client.perform(
      TestRequest(TestRequest.read, 0, UInt32(Self.byteCount)))
    let flush = try await client.perform(TestRequest(TestRequest.flush))
    if await isFailed() {
      // P8: once a flush has failed, none succeeds, and nothing is written.
      let write = try await client.perform(.write(0, filled(512, 1)))
      try check(flush.error == Wire.inputOutput, "a flush after a failed one succeeded")
      try check(write.error == Wire.inputOutput, "a write after a failed flush succeeded")
    } else {
      try check(whole.error == 0 && flush.error == 0, "errors after all faults had ended")
      if let sector = model.firstWrongSector(in: whole.data) {
        throw Wrong(description: "at the end, sector \(sector) holds what nobody left there")
      }
      try check(below.medium.unflushedWrites.isEmpty, "a flush left something unflushed")
      try check(
        whole.data == below.medium.durable.bytes(ByteRange(from: 0, to: Self.byteCount)),
        "the medium holds something else")
    }
    client.submit(TestRequest(TestRequest.disconnect))
    try check(await client.expectEnd(), "the server did not close after DISC")
    await client.close()
    try check(await site.becomesQuiet(), "the server is not quiet at the end")
  }

  // MARK: A client

  private enum Pending {
    case change(SectorModel.Operation)
    case read(Int, ByteRange)
    case other
  }

  private func live() async {
    var pending: [UInt64: Pending] = [:]
    let depth = 1 + Int(draw(6))
    var left = 4 + draw(12)
    do throws(ClientError) {
      let client = try await site.connect(draw(3) == 0 ? .simple : TestWishes())
      do throws(ClientError) {
        while left > 0 || !pending.isEmpty {
          while left > 0 && pending.count < depth && !progress.roundIsOver {
            left -= 1
            submit(over: client, &pending)
          }
          if progress.roundIsOver { left = 0 }
          guard !pending.isEmpty else { continue }
          let reply = try await client.nextReply()
          await take(reply, pending.removeValue(forKey: reply.cookie))
        }
        if draw(2) == 0 { client.submit(TestRequest(TestRequest.disconnect)) }
      } catch {
        note(error)
      }
      await client.close()
    } catch {
      note(error)
    }
    for case .read(let read, let range) in pending.values { _ = model.endRead(read, range, nil) }
  }

  private func note(_ error: ClientError) {
    progress.brokenCount += 1
    progress.roundIsOver = true
    if case .malformed(let reason) = error { progress.wrong = "malformed: \(reason)" }
  }

  private func submit(over client: TestClient, _ pending: inout [UInt64: Pending]) {
    progress.requestCount += 1
    let number = progress.requestCount
    let length = draw(3) == 0 ? 1 + draw(600) : 512 * (1 + draw(16))
    var offset = draw(Self.byteCount - length + 1)
    if draw(2) == 0 { offset = offset / 512 * 512 }
    let range = ByteRange(from: offset, to: offset + length)
    let flags = draw(6) == 0 ? TestRequest.durable : 0
    let size = UInt32(length)
    let kind = draw(20)
    switch kind {
    case 0..<7:
      let read = model.beginRead(range)
      pending[client.submit(TestRequest(TestRequest.read, offset, size, flags: flags))] =
        .read(read, range)
    case 7..<14:
      let bytes = Patterns.small.bytes(number, at: offset, Int(length))
      let operation = model.begin(.write(bytes), range)
      pending[client.submit(.write(offset, bytes, flags: flags))] = .change(operation)
    case 14:
      let operation = model.begin(.maybeZero, range)
      pending[client.submit(TestRequest(TestRequest.trim, offset, size, flags: flags))] =
        .change(operation)
    case 15, 16:
      let operation = model.begin(.zero, range)
      let more = [0, TestRequest.noHole, TestRequest.fastZero][Int(draw(3))]
      let request = TestRequest(TestRequest.writeZeroes, offset, size, flags: flags | more)
      pending[client.submit(request)] = .change(operation)
    case 17:
      let request = TestRequest(TestRequest.cache, offset, size)
      pending[client.submit(request)] = .other
    case 18 where client.export.contextIdentifier != nil:
      pending[client.submit(TestRequest(TestRequest.blockStatus, offset, size))] = .other
    default:
      pending[client.submit(TestRequest(TestRequest.flush))] = .other
    }
  }

  private func take(_ reply: TestReply, _ pending: Pending?) async {
    if reply.error != 0 { progress.errorCount += 1 }
    switch pending {
    case .change(let operation): model.end(operation, succeeded: reply.error == 0)
    case .read(let read, let range):
      let sector = model.endRead(read, range, reply.error == 0 ? reply.data : nil)
      // After a failed flush the kernel may show old contents.
      guard let sector, !(await isFailed()) else { return }
      progress.wrong =
        progress.wrong
        ?? "a read of \(range.offsetBytes)+\(range.byteCount) found in sector \(sector) what was "
        + "never to be there"
    case .other, nil: break
    }
  }
}
