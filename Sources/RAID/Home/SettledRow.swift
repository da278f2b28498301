import DiskFormat
import Geometry
import IO

/// What the settler knows of a row.
struct SettledRow {
  let intent: RowIntent
  /// The new content.
  let image: RowImage
  /// Of the table; pinned.
  let page: UInt64
  /// The table's, by position.
  let entries: [BlockEntry]
  /// What is at home: old, new or in between; of the whole group.
  private var raw: OwnedBuffer?
  private var rawOffset = 0
  var scratch: OwnedBuffer?
  /// Its member can be read, and has been as far as was needed.
  var isPresent: [Bool]
  /// Home is what the table says.
  var isOldKnown: [Bool]
  /// For each parity and sector: it is of the new generation.
  var isNewSector: [[Bool]] = []
  var lost: [Int] = []
  var healed: [Int] = []

  init(intent: RowIntent, image: RowImage, page: UInt64, entries: [BlockEntry]) {
    self.intent = intent
    self.image = image
    self.page = page
    self.entries = entries
    isPresent = entries.map { _ in false }
    // What was never written, or is lost, counts as zeros.
    isOldKnown = entries.map { $0.state != .written }
  }

  /// Where what is at home of its blocks goes, one after the other.
  mutating func setHome(_ memory: OwnedBuffer, offset: Int) {
    raw = memory
    rawOffset = offset
  }

  func home(_ position: Int) -> IOBuffer {
    guard let raw else { preconditionFailure("the row was not read") }
    let buffer = raw.buffer
    return buffer.slice(rawOffset + position * 4096, 4096)
  }

  /// Nothing of it is lost or unknown.
  var isWhole: Bool {
    let known = intent.paritySectorChecksums.isEmpty ? intent.blocks.count : image.width
    return lost.isEmpty && (0..<known).allSatisfy { image.isKnown($0) }
  }

  var changedPositions: [Int] { intent.blocks.indices.filter { intent.blocks[$0] != .unchanged } }

  /// Data that stays as it is and is not zeros: what the new parity needs of home.
  var keptPositions: [Int] {
    intent.blocks.indices.filter {
      intent.blocks[$0] == .unchanged && entries[$0].state == .written
    }
  }

  var parityWritten: [Int] {
    guard !intent.paritySectorChecksums.isEmpty else { return [] }
    return (intent.blocks.count..<image.width).filter { image.parts[$0] == .good }
  }

  var dataWritten: [Int] {
    intent.blocks.indices.filter { position in
      if healed.contains(position) { return true }
      if case .written = intent.blocks[position] { return true }
      return false
    }
  }
}
