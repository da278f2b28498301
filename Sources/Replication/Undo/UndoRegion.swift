package import DiskFormat
package import IO
import Parity
import RAID

// Safe: everything that has one runs on the array's executor.
/// The old content of blocks that a copy overwrites at a replica, kept in a file beside the array.
///
/// With it the replica can be taken back to the last position at which it was consistent (rule C3).
/// `docs/formats/undo-region.md` has what lies where. A block's old content is durable here before
/// anything takes its place; each block is kept once. Whoever uses it has its turn.
package final class UndoRegion<D: Disk>: @unchecked Sendable {
  /// Where groups begin: behind the two headers.
  private static var groupsOffset: UInt64 { 2 * UInt64(UndoHeader.byteCount) }
  /// The least that makes sense: one whole group.
  package static var byteCountMin: UInt64 {
    groupsOffset + UInt64(UndoGroup.entryCountMax + 1) * 4096
  }

  /// Sessions and commands take turns.
  let turn = TurnLock()
  private let disk: D
  private let byteCount: UInt64
  /// For a group, and behind it for a header.
  private let memory: AlignedMemory
  private var header: UndoHeader
  private var groupCount: UInt64 = 0
  private var endOffset = UndoRegion.groupsOffset
  /// One bit for each block that is kept, 32768 blocks to an entry.
  private var kept: [UInt64: [UInt64]] = [:]

  /// A write of it has failed: what it holds is not known any more (promise P8).
  private var failure: UndoError?

  /// Whether a copy is under way that can be taken back.
  var isOpen: Bool { header.isOpen }
  /// Of the copy; `none` when it is not open.
  var undoID: Identifier { header.isOpen ? header.undoID : .none }
  /// What it leads back to.
  var position: StreamPosition { header.position }
  var timelines: [Timeline] { header.timelines }

  /// Opens what is there; a file of zeros is an empty region.
  ///
  /// - Throws: when it cannot be read, is too small, or something else, or damaged while it is needed.
  package init(
    _ disk: D, byteCount: UInt64, arrayID: Identifier
  ) async throws(UndoError) {
    guard byteCount >= Self.byteCountMin else {
      throw UndoError("it has \(byteCount) bytes; \(Self.byteCountMin) are the least")
    }
    guard let memory = AlignedMemory(byteCount: (UndoGroup.entryCountMax + 2) * 4096) else {
      throw UndoError("there is no memory for it")
    }
    self.disk = disk
    self.byteCount = byteCount / 4096 * 4096
    self.memory = memory
    header = UndoHeader(
      arrayID: arrayID, sequence: 0, undoID: .none, isOpen: false, durableGroupCount: 0,
      position: StreamPosition(number: 0, chain: 0), timelines: [])
    try await readHeaders()
    if header.isOpen { try await findGroups() }
  }

  private func readHeaders() async throws(UndoError) {
    let page = memory.buffer.prefix(UndoHeader.byteCount)
    var isForeign = true
    for slot in 0..<UInt64(2) {
      try await read(at: slot * UInt64(UndoHeader.byteCount), into: page)
      let found: UndoHeader
      do throws(FormatError) {
        found = try UndoHeader.decode(page)
      } catch {
        if case .version = error {
          throw UndoError("another version of Ashlar has written it")
        }
        // Torn, or never written.
        if error != .noMagic || (0..<64).allSatisfy({ page.loadUInt64(at: $0 * 8) == 0 }) {
          isForeign = false
        }
        continue
      }
      isForeign = false
      guard found.arrayID == header.arrayID else {
        guard !found.isOpen else {
          throw UndoError("array \(found.arrayID) needs it to be taken back: name another file")
        }
        continue
      }
      if found.sequence >= header.sequence { header = found }
    }
    guard !isForeign else { throw UndoError("it holds something else: name another file") }
  }

  /// Finds what was kept before a crash.
  ///
  /// Of the last group there may be no descriptor: nothing was overwritten for its sake yet. Any before it
  /// is known to be durable.
  private func findGroups() async throws(UndoError) {
    while let group = try await descriptor(at: endOffset) {
      guard fits(group) else { break }
      for entry in group.entries { mark(entry.block) }
      endOffset += UInt64(group.byteCount)
      groupCount += 1
    }
    guard groupCount >= header.durableGroupCount else {
      throw UndoError(
        "\(header.durableGroupCount) groups were kept, and \(groupCount) can be read: it is damaged, and "
          + "leads back no more; without it the copy goes on")
    }
  }

  private func descriptor(at offset: UInt64) async throws(UndoError) -> UndoGroup? {
    guard offset + UInt64(UndoGroup.descriptorBytes) <= byteCount else { return nil }
    let page = memory.buffer.prefix(UndoGroup.descriptorBytes)
    try await read(at: offset, into: page)
    return try? UndoGroup.decode(page, of: header, number: groupCount)
  }

  private func fits(_ group: UndoGroup) -> Bool {
    endOffset + UInt64(group.byteCount) <= byteCount
  }

  // MARK: Keeping

  /// A copy begins: from now on it leads back to this position, at which everything is durable.
  func begin(
    at position: StreamPosition, timelines: [Timeline], undoID: Identifier
  ) async throws(UndoError) {
    header.undoID = undoID
    header.isOpen = true
    header.position = position
    header.timelines = timelines
    forget()
    try await writeHeader()
  }

  /// The copy is complete, or nobody wants to go back any more.
  func close() async throws(UndoError) {
    guard header.isOpen else { return }
    header.isOpen = false
    forget()
    try await writeHeader()
  }

  private func forget() {
    header.durableGroupCount = 0
    groupCount = 0
    endOffset = Self.groupsOffset
    kept = [:]
  }

  /// Whether a block's old content is kept, durably.
  func keeps(_ block: UInt64) -> Bool {
    guard let words = kept[block >> 15] else { return false }
    return words[Int(block >> 6 & 511)] >> (block & 63) & 1 != 0
  }

  private func mark(_ block: UInt64) {
    kept[block >> 15, default: Array(repeating: 0, count: 512)][Int(block >> 6 & 511)] |=
      1 << (block & 63)
  }

  /// Keeps blocks, durably at the return.
  ///
  /// `fill` reads the content of those entries that have one, in order, into memory.
  ///
  /// - Precondition: none of them is kept already, and they are at most `UndoGroup.entryCountMax`.
  func keep(
    _ entries: [UndoGroup.Entry], _ fill: (IOBuffer) async throws(ArrayError) -> Void
  ) async throws(UndoError) {
    let group = UndoGroup(
      arrayID: header.arrayID, undoID: header.undoID, number: groupCount, entries: entries)
    if let failure { throw failure }
    guard fits(group) else { throw .full }
    let bytes = memory.buffer.prefix(group.byteCount)
    group.encode(into: bytes)
    do throws(ArrayError) {
      try await fill(bytes.dropFirst(UndoGroup.descriptorBytes))
    } catch {
      throw UndoError(error.words)
    }
    // The descriptor says that the contents are there: so it comes behind them, or a power loss would leave
    // it alone, which looks like rot.
    let contents = bytes.dropFirst(UndoGroup.descriptorBytes)
    if contents.byteCount > 0 {
      try await write(at: endOffset + UInt64(UndoGroup.descriptorBytes), from: contents)
      try await synchronize()
    }
    try await write(at: endOffset, from: bytes.prefix(UndoGroup.descriptorBytes))
    // The groups before this one are durable: that is told beside it.
    header.durableGroupCount = groupCount
    try await writeHeader()
    for entry in entries { mark(entry.block) }
    groupCount += 1
    endOffset += UInt64(group.byteCount)
  }

  // MARK: Going back

  /// Gives each group with its verified contents, one behind the other.
  func forEachGroup(
    _ body: (UndoGroup, IOBuffer) async throws(UndoError) -> Void
  ) async throws(UndoError) {
    let count = groupCount
    var offset = Self.groupsOffset
    groupCount = 0
    defer { groupCount = count }
    while groupCount < count {
      guard let group = try await descriptor(at: offset) else {
        throw UndoError("group \(groupCount) of \(count) is damaged: it leads back no more")
      }
      let contents = memory.buffer.prefix(group.contentCount * 4096)
      if group.contentCount > 0 {
        try await read(at: offset + UInt64(UndoGroup.descriptorBytes), into: contents)
      }
      var index = 0
      for entry in group.entries {
        guard let checksum = entry.checksum else { continue }
        guard BlockChecksum.of(contents.slice(index * 4096, 4096).bytes) == checksum else {
          throw UndoError(
            "the old content of block \(entry.block) is damaged: it leads back no more")
        }
        index += 1
      }
      try await body(group, contents)
      offset += UInt64(group.byteCount)
      groupCount += 1
    }
  }

  // MARK: The medium

  private func writeHeader() async throws(UndoError) {
    if let failure { throw failure }
    let all = memory.buffer
    let page = all.slice((UndoGroup.entryCountMax + 1) * 4096, UndoHeader.byteCount)
    header.sequence += 1
    header.encode(into: page)
    // The other of the two is durable.
    try await write(
      at: header.sequence % 2 * UInt64(UndoHeader.byteCount),
      from: page)
    try await synchronize()
  }

  private func synchronize() async throws(UndoError) {
    do throws(DiskError) {
      try await disk.synchronize()
    } catch {
      throw fail("it cannot be made durable: \(error)")
    }
  }

  private func read(at offset: UInt64, into buffer: IOBuffer) async throws(UndoError) {
    do throws(DiskError) {
      try await disk.read(at: offset, into: buffer)
    } catch {
      throw UndoError("it cannot be read at \(offset): \(error)")
    }
  }

  private func fail(_ words: String) -> UndoError {
    let error = UndoError(words + ": it is not used any more before the next start")
    failure = error
    return error
  }

  private func write(at offset: UInt64, from buffer: IOBuffer) async throws(UndoError) {
    do throws(DiskError) {
      try await disk.write(at: offset, from: buffer)
    } catch {
      throw fail("it cannot be written at \(offset): \(error)")
    }
  }
}

/// Why an undo region does not do what it is asked.
package struct UndoError: Error, Equatable, Sendable {
  package let words: String
  /// There is no more room: the operator has to say what follows.
  package let isFull: Bool

  package init(_ words: String) {
    self.words = words
    isFull = false
  }

  private init(full words: String) {
    self.words = words
    isFull = true
  }

  static let full = UndoError(full: "it is full")
}
