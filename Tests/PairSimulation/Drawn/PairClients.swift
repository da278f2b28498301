import DiskFormat
import RAID
import Simulator

/// The clients of one node, who write and read until they are told to stop.
// Safe: a simulation runs on one thread.
final class PairClients: @unchecked Sendable {
  let node: Int
  let line: PairLine
  private(set) var runs = true
  private(set) var pendingCount = 0
  private(set) var acknowledgedCount = 0
  /// What a reader found that must not be.
  private(set) var complaint: String?
  private let pair: PairDriver
  private let stamps: PairStamps

  init(
    _ pair: PairDriver, node: Int, line: PairLine, stamps: PairStamps, count: Int,
    random: inout RandomSource
  ) {
    self.pair = pair
    self.node = node
    self.line = line
    self.stamps = stamps
    for _ in 0..<count {
      pendingCount += 1
      let own = random.split()
      pair.start { await self.run(own) }
    }
  }

  /// From here on nobody hears what they are told.
  func stop() { runs = false }

  private func run(_ source: RandomSource) async {
    var random = source
    while runs {
      switch random.next() % 12 {
      case 0: await flush()
      case 1, 2: await read(&random)
      case 3: await write(&random, isTrim: true)
      default: await write(&random, isTrim: false)
      }
      await pair.rest(microseconds: 200 + random.next() % 10_000)
    }
    pendingCount -= 1
  }

  private func flush() async {
    let covered = line.unflushed
    if await pair.ask(node, { await $0.flush() }) == true, runs { line.noteFlushed(covered) }
  }

  private func read(_ random: inout RandomSource) async {
    let block = Int(random.next() % UInt64(line.blockCount))
    let oldest = line.oldestVisible(block)
    guard let stamp = await pair.ask(node, { await $0.read(UInt64(block)) }) ?? nil, runs else {
      return
    }
    if let words = line.noteRead(block, stamp, notBefore: oldest),
      // One that was superseded meanwhile shows what its new primary has.
      await pair.role(node) == .primary
    {
      complaint = complaint ?? "at \(pair.nodes[node].name): \(words)"
    }
  }

  private func write(_ random: inout RandomSource, isTrim: Bool) async {
    let count = random.next() % 4 == 0 ? 1 + Int(random.next() % 4) : 1
    let first = Int(random.next() % UInt64(line.blockCount - count + 1))
    let run = first..<first + count
    guard line.reserve(run) else { return }
    let stamp = isTrim ? 0 : stamps.next()
    let isDurable = !isTrim && random.next() % 8 == 0
    let request = line.begin(run, stamp: stamp, at: pair.nowNanoseconds)
    let host = pair.nodes[node].host
    let isDone = await pair.ask(node) { host in
      isTrim
        ? await host.trim(UInt64(first), count)
        : await host.write(UInt64(first), count, stamp: stamp, durably: isDurable)
    }
    if isDone == nil, let host, pair.nodes[node].host === host,
      await pair.access(node) == .readWrite
    {
      complaint = complaint ?? "a write at \(pair.nodes[node].name) has no end (promise P9)"
    }
    line.release(run)
    // Told after it has died is not told.
    guard isDone == true, runs else {
      if isDone != true { await pair.rest(milliseconds: 20) }
      return
    }
    line.acknowledge(request, at: pair.nowNanoseconds, isFlushed: isDurable)
    acknowledgedCount += 1
  }
}

/// Numbers that no two writes of a history share.
// Safe: a simulation runs on one thread.
final class PairStamps: @unchecked Sendable {
  private var last: UInt64 = 0

  func next() -> UInt64 {
    last += 1
    return last
  }
}
