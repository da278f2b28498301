import ArraySimulation
import IO
import Simulator
import Testing

/// A device that does as it is told, so that a test can write a history down, line by line.
final class ScriptedDevice {
  let model: DeviceModel
  private let memory: AlignedMemory
  /// What a read would return now: the stamp of a change, or zeros.
  private var contents: [[UInt8]]

  init(
    sectorCount: Int = 64, atomicBytes: UInt64 = 64 << 10, trimZeroesBlocks: Bool = true,
    goesDirect: Bool = false, excusesTornWrites: Bool = false
  ) {
    var promises = Promises(
      atomicBytes: atomicBytes, trimZeroesBlocks: trimZeroesBlocks, becomesOptimal: false)
    promises.longRequestsGoDirect = goesDirect
    promises.excusesTornWrites = excusesTornWrites
    model = DeviceModel(
      sectorCount: sectorCount,
      promises: promises, salt: 7)
    guard let memory = AlignedMemory(byteCount: sectorCount * 512) else {
      preconditionFailure("no memory for a test")
    }
    self.memory = memory
    contents = [[UInt8]](repeating: [UInt8](repeating: 0, count: 512), count: sectorCount)
    model.serve()
  }

  /// The bytes that a change writes, by sector.
  func bytes(of change: DeviceModel.Change) -> [[UInt8]] {
    let buffer = memory.buffer.prefix(change.sectors.count * 512)
    model.fill(buffer, for: change)
    return (0..<change.sectors.count).map { index in (0..<512).map { buffer[index * 512 + $0] } }
  }

  /// The medium takes the sectors of a write, or some of them.
  func apply(_ change: DeviceModel.Change, _ sectors: Range<Int>? = nil) {
    let bytes = bytes(of: change)
    for sector in sectors ?? change.sectors {
      contents[sector] = bytes[sector - change.sectors.lowerBound]
    }
  }

  func zero(_ sectors: Range<Int>) {
    for sector in sectors { contents[sector] = [UInt8](repeating: 0, count: 512) }
  }

  func flipBit(_ sector: Int, byte: Int) { contents[sector][byte] ^= 4 }

  func copy(_ from: Int, to: Int) { contents[to] = contents[from] }

  /// A write that is applied and acknowledged.
  @discardableResult
  func write(_ sectors: Range<Int>, durably: Bool = false) -> DeviceModel.Change {
    let change = model.beginWrite(sectors)
    apply(change)
    model.acknowledge(change, durably: durably)
    return change
  }

  func flush() { model.endFlush(model.beginFlush(), succeeded: true) }

  /// Reads what is there now; `begin` when the read began earlier.
  @discardableResult
  func read(_ sectors: Range<Int>, begin: Int? = nil) -> Violation.Rule? {
    let begin = begin ?? model.beginRead()
    let buffer = memory.buffer.prefix(sectors.count * 512)
    for sector in sectors {
      buffer.dropFirst((sector - sectors.lowerBound) * 512).copy(from: contents[sector])
    }
    return model.endRead(sectors, buffer, begin: begin)?.rule
  }

  func crash(_ kind: CrashKind) {
    model.crash(kind)
    model.serve()
  }

  /// Puts back what was there before a write: as if it had been lost.
  func restore(_ change: DeviceModel.Change, _ sectors: Range<Int>? = nil) {
    apply(change, sectors)
  }
}
