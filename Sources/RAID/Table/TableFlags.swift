import DiskFormat

/// The page map in memory: what is known of each page of the checksum table.
struct TableFlags {
  /// One table page's flags: those on disk, and one that only memory has.
  struct Flags: OptionSet {
    let rawValue: UInt8

    static let present = Flags(rawValue: PageMap.Flags.present.rawValue)
    static let changed = Flags(rawValue: PageMap.Flags.changed.rawValue)
    /// Present, but not yet durably so: the map must not say it before the page is written.
    static let unwritten = Flags(rawValue: 0x80)
  }

  /// One page of the map.
  struct MapPage {
    var isDirty = false
    /// By member.
    var copies: [CopyKnowledge]
  }

  private var flags: [UInt8]
  var mapPages: [MapPage]
  private(set) var presentCount = 0
  private(set) var changedCount = 0

  init(pageCount: UInt64, memberCount: Int) {
    flags = [UInt8](repeating: 0, count: Int(pageCount))
    let empty = MapPage(copies: [CopyKnowledge](repeating: .unknown, count: memberCount))
    mapPages = [MapPage](
      repeating: empty, count: Int(PageMap.pageCount(tablePageCount: pageCount)))
  }

  var pageCount: UInt64 { UInt64(flags.count) }

  subscript(page: UInt64) -> Flags { Flags(rawValue: flags[Int(page)]) }

  /// Changes the flags of a page, without a mark that the map has to be written.
  mutating func set(_ page: UInt64, _ new: Flags) {
    let old = self[page]
    presentCount += Self.step(old, new, .present)
    changedCount += Self.step(old, new, .changed)
    flags[Int(page)] = new.rawValue
  }

  private static func step(_ old: Flags, _ new: Flags, _ flag: Flags) -> Int {
    (new.contains(flag) ? 1 : 0) - (old.contains(flag) ? 1 : 0)
  }

  /// The page of the map that describes a table page.
  static func mapPage(of page: UInt64) -> Int { Int(page / PageMap.entriesPerPage) }

  /// Says that the map page which describes a table page has to be written.
  mutating func markDirty(_ page: UInt64) { mapPages[Self.mapPage(of: page)].isDirty = true }

  /// The table pages that a map page describes.
  func pages(ofMapPage number: Int) -> Range<UInt64> {
    let first = UInt64(number) * PageMap.entriesPerPage
    return first..<min(first + PageMap.entriesPerPage, pageCount)
  }

  /// The first page from `start` on that has a flag.
  func next(_ flag: Flags, from start: UInt64) -> UInt64? {
    guard start < pageCount else { return nil }
    for index in Int(start)..<flags.count where flags[index] & flag.rawValue != 0 {
      return UInt64(index)
    }
    return nil
  }

  /// A page's flags as they may be written to disk now.
  func durableFlags(_ page: UInt64) -> PageMap.Flags {
    let flags = self[page]
    var durable: PageMap.Flags = []
    if flags.contains(.present), !flags.contains(.unwritten) { durable.insert(.present) }
    if flags.contains(.changed) { durable.insert(.changed) }
    return durable
  }
}
