import DiskFormat
import Geometry
import IO
import Parity
import RAID
import Simulator
import TestSupport
import Testing
import Units

/// What outlives the machines of a log's test: media, what the superblocks say, and what was done.
final class LogWorld: @unchecked Sendable {
  let simulation: Simulation
  let geometry: StripeGeometry
  let layout: MemberLayout
  let arrayID = Identifier(high: 0x1111, low: 0x2222)
  var options: ArrayOptions
  let media: [SimulatedMedium]

  // What the superblocks say: in these tests they change at once.
  var start: LogStart
  var out = SlotSet()

  // What was done, by the numbers of the appends.
  var nextNumber = 0
  /// In the order of the calls.
  var begun: [Int] = []
  var acknowledged: [Int] = []
  /// Acknowledged before a flush that was acknowledged.
  var flushed = Set<Int>()
  /// The checkpoint has passed these.
  var home = Set<Int>()
  /// Published before their batch was written.
  var seenEarly: [Int] = []

  init(
    seed: UInt64, level: RAIDLevel = .raid5, memberCount: Int = 3, logByteCount: UInt64 = 1 << 20,
    options: ArrayOptions = ArrayOptions()
  ) throws {
    simulation = Simulation(seed: seed)
    geometry = try StripeGeometry(
      level: level, memberCount: memberCount, chunkBytes: 65536, memberBlockCount: 1 << 20)
    layout = MemberLayout(geometry: geometry, logByteCount: logByteCount)
    self.options = options
    let byteCount = layout.tableOffset
    media = (0..<memberCount).map { _ in SimulatedMedium(byteCount: byteCount) }
    start = .empty(slots: geometry.allSlots)
  }

  /// A world with copies of the media: to see what would have become of them.
  init(copyOf other: LogWorld, seed: UInt64) {
    simulation = Simulation(seed: seed)
    geometry = other.geometry
    layout = other.layout
    options = other.options
    media = other.media.map { SimulatedMedium(copyOf: $0.live) }
    start = other.start
    out = other.out
    nextNumber = other.nextNumber
    begun = other.begun
    acknowledged = other.acknowledged
    flushed = other.flushed
    home = other.home
  }

  var currentSlots: SlotSet { geometry.allSlots.subtracting(out) }

  func openHost() -> LogHost { LogHost(self) }

  // MARK: Records by number

  /// Append number n writes these blocks, and nobody else does.
  static func run(_ number: Int, blockCount: Int) -> BlockRun {
    BlockRun(firstBlock: UInt64(number) * 64, blockCount: UInt64(blockCount))
  }

  static func number(_ run: BlockRun) -> Int { Int(run.firstBlock / 64) }

  static func fill(_ buffer: IOBuffer, number: Int) {
    for block in 0..<buffer.byteCount / 4096 {
      let bytes = buffer.slice(block * 4096, 4096)
      bytes.fill(with: UInt8(truncatingIfNeeded: number * 7 + block + 1))
      for place in 0..<8 {
        bytes.slice(place, 1).fill(with: UInt8(truncatingIfNeeded: number >> (place * 8)))
      }
    }
  }

  static func checksum(number: Int, block: Int) -> UInt32 {
    let memory = AlignedMemory.ofTest((block + 1) * 4096)
    fill(memory.buffer, number: number)
    let buffer = memory.buffer
    return BlockChecksum.of(buffer.slice(block * 4096, 4096).bytes)
  }

  // MARK: Judging

  /// What is wrong with the records that a recovery found behind the checkpoint, after a crash.
  func firstWrong(_ found: FoundLog, after kind: CrashKind) -> String? {
    if let error = found.error { return "refused: \(error)" }
    guard seenEarly.isEmpty else { return "seen before they were written: \(seenEarly)" }
    var numbers: [Int] = []
    for record in found.records {
      if let wrong = record.wrong { return wrong }
      numbers.append(record.number)
    }
    let known = Set(numbers)
    guard known.count == numbers.count else { return "a record twice: \(numbers)" }
    let order = numbers.map { begun.firstIndex(of: $0) ?? -1 }
    guard order == order.sorted(), !order.contains(-1) else { return "out of order: \(numbers)" }
    let needed = kind == .kill ? Set(acknowledged) : flushed
    let missing = needed.subtracting(known).subtracting(home)
    guard missing.isEmpty else { return "\(kind): lost \(missing.sorted()) of \(numbers)" }
    // A record without one that was logged before it: a hole.
    if let last = order.last {
      let prefix = Set(begun[0...last]).subtracting(known).subtracting(home)
      guard prefix.isEmpty else { return "a hole: \(prefix.sorted()) before \(numbers.last ?? 0)" }
    }
    return nil
  }

  /// What was found is served from now on: so it is durable.
  func goOn(with found: FoundLog) {
    begun = found.numbers
    acknowledged = found.numbers
    flushed = Set(found.numbers)
  }

  /// A member is lost for good.
  func lose(_ slot: Int) {
    out.insert(slot)
    start.members.removeAll { $0.slot == slot }
  }
}

/// What a recovery found, as values.
struct FoundLog: Sendable {
  struct Record: Sendable {
    var number: Int
    var batchSequence: UInt64
    var payloadIndex: Int
    var blockCount: Int
    var isTrim = false
    /// Its content is not what was written.
    var wrong: String?
  }

  var records: [Record] = []
  var error: LogReadError?
  var endSequence: UInt64 = 0
  var clientSequence: UInt64 = 0
  var horizon: UInt64 = 0
  var badCopyCount = 0
  var intentCount = 0

  var numbers: [Int] { records.map(\.number) }
}
