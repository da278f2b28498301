import DiskFormat
import Geometry
import IO

/// What is known of one copy of a page: which of its two slots holds the newest durable version.
enum CopyKnowledge: UInt8 {
  case firstIsNewest = 0
  case secondIsNewest = 1
  /// It was looked at, and neither slot is valid.
  case noneIsValid = 2
  case unknown = 3

  /// The slot that may be overwritten (rule T1).
  var nextSlot: Int { self == .firstIsNewest ? 1 : 0 }

  init(newestSlot: Int?) {
    switch newestSlot {
    case 0: self = .firstIsNewest
    case nil: self = .noneIsValid
    default: self = .secondIsNewest
    }
  }
}

/// A page of the checksum table in memory.
final class CachedPage {
  /// Entries as on disk; the header is made when it is written.
  let buffer: IOBuffer
  /// Keeps the buffer.
  private let slab: AlignedMemory
  var number: UInt64 = 0
  /// The batch of the last trim of the whole page.
  var trimSequence: UInt64 = 0
  /// The sequence of what all copies have; 0 where none was written.
  var sequence: UInt64 = 0
  /// Another value after each change, never one that it had before.
  var generation: UInt64 = 0
  /// Changes when the page is forgotten by a trim: what was begun before is of another page.
  var incarnation = 0
  var pinCount = 0
  var isDirty = false
  /// A snapshot of it is being written.
  var isWriting = false
  /// Used since the hand of the clock last passed.
  var wasUsed = true
  /// By copy.
  var copies: [CopyKnowledge]
  /// Members whose copy was damaged or old, and has not been written since.
  var repairSlots = SlotSet()

  init(_ buffer: IOBuffer, of slab: AlignedMemory, copyCount: Int) {
    self.buffer = buffer
    self.slab = slab
    copies = [CopyKnowledge](repeating: .unknown, count: copyCount)
  }

  var isEvictable: Bool { pinCount == 0 && !isDirty && !isWriting }

  /// Makes an object that was evicted serve another page.
  func restart(as number: UInt64) {
    self.number = number
    trimSequence = 0
    sequence = 0
    pinCount = 0
    isDirty = false
    isWriting = false
    wasUsed = true
    repairSlots = SlotSet()
    for index in copies.indices { copies[index] = .unknown }
  }
}

/// The pages that are in memory, bounded: the clock evicts what is clean and nobody has pinned.
final class PageCache {
  private static let pagesPerSlab = 64
  static let pageBytes = Int(TablePlacement.slotBytes)

  let capacity: Int
  private let copyCount: Int
  private var pages: [UInt64: CachedPage] = [:]
  private var clock: [CachedPage] = []
  private var hand = 0
  private var unused: [CachedPage] = []
  private var last: CachedPage?

  init(capacity: Int, copyCount: Int) {
    self.capacity = capacity
    self.copyCount = copyCount
  }

  var count: Int { clock.count }

  /// The page, if it is in memory; counts as a use.
  func find(_ number: UInt64) -> CachedPage? {
    if let last, last.number == number {
      last.wasUsed = true
      return last
    }
    guard let page = pages[number] else { return nil }
    page.wasUsed = true
    last = page
    return page
  }

  /// Makes room if it can, and adds a page whose contents are undefined.
  ///
  /// - Returns: nil when the machine is out of memory.
  func add(_ number: UInt64) -> CachedPage? {
    precondition(pages[number] == nil)
    evict(downTo: capacity - 1)
    if unused.isEmpty { growByOneSlab() }
    guard let page = unused.popLast() else { return nil }
    page.restart(as: number)
    pages[number] = page
    clock.append(page)
    return page
  }

  /// Evicts until at most `target` pages are left, or none can go.
  func evict(downTo target: Int) {
    // Twice around: the first time takes the mark of use away.
    var steps = clock.count * 2
    while clock.count > target, steps > 0 {
      steps -= 1
      if hand >= clock.count { hand = 0 }
      let page = clock[hand]
      if !page.isEvictable {
        hand += 1
      } else if page.wasUsed {
        page.wasUsed = false
        hand += 1
      } else {
        clock.swapAt(hand, clock.count - 1)
        clock.removeLast()
        pages[page.number] = nil
        if last === page { last = nil }
        unused.append(page)
      }
    }
  }

  /// Calls `body` with every page in memory.
  func forEach(_ body: (CachedPage) -> Void) {
    for page in clock { body(page) }
  }

  /// Lets a page go, if nobody needs it.
  func forget(_ number: UInt64) {
    guard let page = pages[number], page.isEvictable,
      let index = clock.firstIndex(where: { $0 === page })
    else { return }
    clock.swapAt(index, clock.count - 1)
    clock.removeLast()
    pages[number] = nil
    if last === page { last = nil }
    unused.append(page)
  }

  /// All dirty pages, in order.
  func dirtyPages() -> [CachedPage] {
    clock.filter(\.isDirty).sorted { $0.number < $1.number }
  }

  private func growByOneSlab() {
    guard let slab = AlignedMemory(byteCount: Self.pagesPerSlab * Self.pageBytes) else { return }
    let buffer = slab.buffer
    for index in 0..<Self.pagesPerSlab {
      let part = buffer.slice(index * Self.pageBytes, Self.pageBytes)
      unused.append(CachedPage(part, of: slab, copyCount: copyCount))
    }
  }
}
