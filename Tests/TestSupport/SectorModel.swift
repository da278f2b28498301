package import Units

/// What a device may hold, told by the history of its clients alone: a register for each sector.
///
/// A sector holds the result of the operations on it in some order: those that have ended, in an
/// order that respects time, and those under way, each as a whole or not yet. Sectors are
/// independent of each other: nothing is claimed of larger pieces. An operation that failed leaves
/// each sector old or new; one whose end is unknown stays open until `settle`.
package final class SectorModel: @unchecked Sendable {
  /// What an operation does to the bytes of its range.
  package enum Effect: Sendable {
    /// As many bytes as the range.
    case write([UInt8])
    case zero
    /// Zeros or nothing, by sector.
    case maybeZero
  }

  /// An operation under way.
  package struct Operation: Hashable, Sendable {
    fileprivate let number: Int
  }

  private struct Opened {
    let range: ByteRange
    let effect: Effect
  }

  private struct Sector {
    /// Each with the operations under way that it has seen.
    var states: [State]
    var open: [Int] = []
    /// How many changes have begun.
    var changeCount = 0
    var reads: [Int: Read] = [:]
  }

  private struct Read {
    /// Everything that the sector may have held since the read began.
    var seen: [[UInt8]]
    /// The sector's `changeCount` then; nil when a change was under way.
    var changeCount: Int?
  }

  private struct State: Equatable {
    var content: [UInt8]
    var applied: [Int] = []
  }

  package static let sectorBytes: UInt64 = 512
  package let byteCount: UInt64
  private var sectors: [Sector]
  private var operations: [Int: Opened] = [:]
  private var lastNumber = 0

  /// A device of zeros, of whole sectors.
  package init(byteCount: UInt64) {
    precondition(byteCount % Self.sectorBytes == 0)
    self.byteCount = byteCount
    let zeros = State(content: [UInt8](repeating: 0, count: Int(Self.sectorBytes)))
    sectors = [Sector](
      repeating: Sector(states: [zeros]), count: Int(byteCount / Self.sectorBytes))
  }

  private func indices(_ range: ByteRange) -> Range<Int> {
    guard !range.isEmpty else { return 0..<0 }
    return Int(range.offsetBytes / Self.sectorBytes)..<Int(
      (range.endBytes - 1) / Self.sectorBytes) + 1
  }

  // MARK: Operations that change

  /// An operation begins: from now on it may take effect.
  package func begin(_ effect: Effect, _ range: ByteRange) -> Operation {
    lastNumber += 1
    operations[lastNumber] = Opened(range: range, effect: effect)
    for index in indices(range) {
      sectors[index].open.append(lastNumber)
      close(over: index)
    }
    return Operation(number: lastNumber)
  }

  /// It has succeeded, or failed.
  package func end(_ operation: Operation, succeeded: Bool) {
    let number = operation.number
    guard let opened = operations.removeValue(forKey: number) else {
      preconditionFailure("an operation ends once")
    }
    for index in indices(opened.range) {
      if succeeded { sectors[index].states.removeAll { !$0.applied.contains(number) } }
      sectors[index].open.removeAll { $0 == number }
      var states: [State] = []
      for var state in sectors[index].states {
        state.applied.removeAll { $0 == number }
        if !states.contains(state) { states.append(state) }
      }
      sectors[index].states = states
      precondition(!states.isEmpty)
    }
  }

  /// Nothing is under way any more, after a crash: whatever was open has happened or never will.
  package func settle() {
    for number in operations.keys.sorted() {
      end(Operation(number: number), succeeded: false)
    }
    for index in sectors.indices { sectors[index].reads = [:] }
  }

  /// Adds every state that the operations under way can lead to.
  private func close(over index: Int) {
    var states = sectors[index].states
    var next = 0
    while next < states.count {
      let state = states[next]
      next += 1
      for number in sectors[index].open where !state.applied.contains(number) {
        guard let opened = operations[number] else { continue }
        for content in results(opened, on: state.content, index) {
          let reached = State(content: content, applied: (state.applied + [number]).sorted())
          if !states.contains(reached) { states.append(reached) }
        }
      }
    }
    sectors[index].states = states
    sectors[index].changeCount += 1
    for read in sectors[index].reads.keys {
      for state in states where sectors[index].reads[read]?.seen.contains(state.content) == false {
        sectors[index].reads[read]?.seen.append(state.content)
      }
    }
  }

  private func results(_ opened: Opened, on content: [UInt8], _ index: Int) -> [[UInt8]] {
    let start = UInt64(index) * Self.sectorBytes
    let from = max(start, opened.range.offsetBytes)
    let to = min(start + Self.sectorBytes, opened.range.endBytes)
    let inside = Int(from - start)..<Int(to - start)
    var changed = content
    switch opened.effect {
    case .write(let bytes):
      let first = Int(from - opened.range.offsetBytes)
      changed.replaceSubrange(inside, with: bytes[first..<first + inside.count])
      return [changed]
    case .zero:
      changed.replaceSubrange(inside, with: repeatElement(0, count: inside.count))
      return [changed]
    case .maybeZero:
      changed.replaceSubrange(inside, with: repeatElement(0, count: inside.count))
      return [changed, content]
    }
  }

  // MARK: Reads

  /// A read begins.
  package func beginRead(_ range: ByteRange) -> Int {
    lastNumber += 1
    for index in indices(range) {
      sectors[index].reads[lastNumber] = Read(
        seen: sectors[index].states.map(\.content),
        changeCount: sectors[index].open.isEmpty ? sectors[index].changeCount : nil)
    }
    return lastNumber
  }

  /// A read has ended.
  ///
  /// - Parameters:
  ///   - read: what `beginRead` returned.
  ///   - range: as it was told there.
  ///   - bytes: what was read; nil when it failed.
  /// - Returns: the first sector that cannot have held what was read.
  package func endRead(_ read: Int, _ range: ByteRange, _ bytes: [UInt8]?) -> UInt64? {
    var wrong: UInt64?
    for index in indices(range) {
      guard let read = sectors[index].reads.removeValue(forKey: read), let bytes else { continue }
      let start = UInt64(index) * Self.sectorBytes
      let from = max(start, range.offsetBytes)
      let to = min(start + Self.sectorBytes, range.endBytes)
      let inside = Int(from - start)..<Int(to - start)
      let first = Int(from - range.offsetBytes)
      let part = bytes[first..<first + inside.count]
      if !read.seen.contains(where: { $0[inside] == part }) { wrong = wrong ?? UInt64(index) }
      // With nothing under way meanwhile, what was read is what it holds.
      if read.changeCount == sectors[index].changeCount {
        let matching = sectors[index].states.filter { $0.content[inside] == part }
        if !matching.isEmpty { sectors[index].states = matching }
      }
    }
    return wrong
  }

  /// Holds a whole image, taken with nothing under way, against the model.
  ///
  /// - Returns: the first sector that is wrong.
  package func firstWrongSector(in image: [UInt8]) -> UInt64? {
    let range = ByteRange(from: 0, to: byteCount)
    return endRead(beginRead(range), range, image)
  }
}
