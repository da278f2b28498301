import DiskFormat
import Geometry
import IO
import Parity
import TestSupport
import Testing

@testable import RAID

/// Every way in which a crash can leave a row amid a direct write, and what may come of it.
///
/// With up to r members lost or blocks damaged at once: docs/upkeep.md, section 6.
@Suite("Direct writes: what a crash leaves of a row")
struct DirectRowTests {
  /// What happens to a block besides.
  private enum Fault: CaseIterable {
    case none
    /// Its member is gone.
    case missing
    /// A bit of its last sector has turned over.
    case rotten
  }

  /// A row before and after, with its checksums.
  private final class Scene {
    let geometry: StripeGeometry
    /// nil stands for content, whose checksum follows from it.
    let old: [DirectOldBlock?]
    let keepsFirst: Bool
    let before: RowImage
    let after: RowImage
    /// By position, 8 each.
    var oldSectors: [UInt32] = []
    var newSectors: [UInt32] = []

    /// `keepsFirst`: the first sector of each block is the same before and after.
    init(_ geometry: StripeGeometry, old: [DirectOldBlock?], keepsFirst: Bool = false) throws {
      self.geometry = geometry
      self.old = old
      self.keepsFirst = keepsFirst
      before = try #require(RowImage(width: geometry.width))
      after = try #require(RowImage(width: geometry.width))
      let copies = geometry.isMirrored ? geometry.width : geometry.dataCount
      for position in 0..<copies {
        let data = geometry.isMirrored ? 0 : position
        let hasContent = old[data] == nil
        put(before, position) { hasContent ? $0 &* 7 &+ data &* 13 &+ 1 : 0 }
        put(after, position) { $0 &* 11 &+ $0 / 512 &+ data &* 29 &+ 100 }
        if keepsFirst {
          after.buffer(position).slice(0..<512).copy(from: before.buffer(position).slice(0..<512))
        }
      }
      for image in [before, after] where geometry.parityCount > 0 {
        for data in 0..<geometry.dataCount { image.parts[data] = .good }
        image.sumData(geometry, into: geometry.dataCount, leavingOut: [])
        guard geometry.parityCount == 2 else { continue }
        image.sumScaledData(geometry, into: geometry.dataCount + 1, leavingOut: [])
      }
      for position in 0..<geometry.width {
        oldSectors += Scene.sectors(before.buffer(position))
        newSectors += Scene.sectors(after.buffer(position))
      }
    }

    private func put(_ image: RowImage, _ position: Int, _ byte: (Int) -> Int) {
      let memory = AlignedMemory.holding((0..<4096).map { UInt8(truncatingIfNeeded: byte($0)) })
      image.buffer(position).copy(from: memory.buffer)
      withExtendedLifetime(memory) {}
    }

    static func sectors(_ block: IOBuffer) -> [UInt32] {
      (0..<8).map { BlockChecksum.ofSector(block.slice($0 * 512, 512).bytes) }
    }
  }

  /// What a crash left of it.
  private struct Case {
    let scene: Scene
    /// By position, a bit for each sector.
    let reached: [UInt8]
    let faults: [Fault]

    var geometry: StripeGeometry { scene.geometry }
    var faultCount: Int { faults.filter { $0 != .none }.count }

    var description: String {
      "\(geometry.level.name) of \(geometry.memberCount), old \(scene.old), reached \(reached), "
        + faults.map { "\($0)" }.joined(separator: " ")
    }

    /// What the media hold.
    func fill(_ image: RowImage) {
      for position in 0..<geometry.width {
        let target = image.buffer(position)
        if faults[position] == .missing {
          target.fill(with: 0xEE)
          continue
        }
        for sector in 0..<8 {
          let isNew = reached[position] >> UInt8(sector) & 1 != 0
          let source = (isNew ? scene.after : scene.before).buffer(position)
          target.slice(sector * 512, 512).copy(from: source.slice(sector * 512, 512))
        }
        if faults[position] == .rotten { target.storeUInt8(target[4000] ^ 4, at: 4000) }
      }
    }

    func row(_ image: RowImage) -> DirectRow {
      let hasParity = scene.old.contains(nil)
      return DirectRow(
        geometry: geometry, image: image,
        old: (0..<geometry.dataCount).map {
          scene.old[$0]
            ?? .written(checksum: BlockChecksum.ofSectors(scene.oldSectors[$0 * 8..<$0 * 8 + 8]))
        },
        newSectors: scene.newSectors[..<(geometry.dataCount * 8)],
        isPresent: faults.map { $0 != .missing },
        oldParity: (geometry.dataCount..<geometry.dataCount + geometry.parityCount).map {
          hasParity ? BlockChecksum.ofSectors(scene.oldSectors[$0 * 8..<$0 * 8 + 8]) : nil
        })
    }
  }

  // MARK: What must hold

  /// What is wrong with how a case was settled; nil when nothing is.
  private func trouble(_ item: Case, _ image: RowImage, _ other: RowImage) -> String? {
    item.fill(image)
    var row = item.row(image)
    row.settle()
    if let text = judge(item, row) { return text }
    return row.isUntouched ? nil : judgeAgain(item, row, other)
  }

  private func judge(_ item: Case, _ row: DirectRow) -> String? {
    let geometry = item.geometry
    let isAllNew = item.reached.allSatisfy { $0 == 0xff }
    let isAllOld = item.reached.allSatisfy { $0 == 0 }
    for data in 0..<geometry.dataCount {
      let position =
        geometry.isMirrored && row.isUntouched ? row.found.firstIndex(of: .old) ?? 0 : data
      let found = Scene.sectors(row.image.buffer(position))
      let old = Array(item.scene.oldSectors[data * 8..<data * 8 + 8])
      let new = Array(item.scene.newSectors[data * 8..<data * 8 + 8])
      switch row.outcomes[data] {
      case .lost:
        if item.scene.old[data] == .lost, !isAllNew { continue }
        if !mayBeLost(item, data) { return "block \(data) is lost without a reason" }
        // With content before, parity that nothing reached gives it back.
        if isAllNew || (isAllOld && item.scene.old.allSatisfy { $0 == nil }) {
          return "block \(data) is lost although the row is of one generation"
        }
      case .neverWritten:
        if item.scene.old[data] != .neverWritten || isAllNew {
          return "block \(data) is never-written"
        }
      case .written:
        if isAllNew, found != new { return "block \(data) is not new" }
        if isAllOld, found != old { return "block \(data) is not old" }
        for sector in 0..<8 where found[sector] != new[sector] {
          if found[sector] == old[sector], item.scene.old[data] != .lost { continue }
          // Rot where the crash left a sector old, in a block that it tore (D2, ADR 0022).
          if sector == 7, canBeTorn(item, data) { continue }
          return "sector \(sector) of block \(data) is garbage"
        }
      }
    }
    return nil
  }

  /// Whether a rotten block looks like one that the crash tore, and nothing gives its last sector
  /// back: more sectors of that column are not known to be new than there is new parity.
  private func canBeTorn(_ item: Case, _ data: Int) -> Bool {
    let geometry = item.geometry
    guard geometry.parityCount > 0, item.faults[data] == .rotten,
      item.reached[data] & 0x7f != 0 || item.scene.keepsFirst, !isOldProvable(item)
    else { return false }
    func isNew(_ position: Int) -> Bool {
      item.faults[position] == .none && item.reached[position] & 0x80 != 0
    }
    let unknownCount = (0..<geometry.dataCount).filter { !isNew($0) }.count
    let parityCount = (geometry.dataCount..<geometry.width).filter { isNew($0) }.count
    return unknownCount > parityCount
  }

  /// Whether old parity gives everything back that is not old.
  private func isOldProvable(_ item: Case) -> Bool {
    func isOld(_ position: Int) -> Bool {
      item.faults[position] == .none && item.reached[position] == 0
    }
    let geometry = item.geometry
    let oldParityCount = (geometry.dataCount..<geometry.width).filter { isOld($0) }.count
    return item.scene.old.allSatisfy { $0 == nil }
      && (0..<geometry.dataCount).filter { !isOld($0) }.count <= oldParityCount
  }

  /// Whether a block may be lost.
  private func mayBeLost(_ item: Case, _ data: Int) -> Bool {
    guard item.geometry.isMirrored else { return item.faults[data] != .none }
    // Copies that disagree, none of which is of one generation.
    let hasRot = item.faults.contains(.rotten)
    return item.faultCount == item.geometry.width
      || hasRot
        && item.reached.indices.allSatisfy {
          item.faults[$0] != .none || (item.reached[$0] != 0 && item.reached[$0] != 0xff)
        }
  }

  /// A second crash, while the outcome was being written: after the data, and after all of it.
  private func judgeAgain(_ item: Case, _ first: DirectRow, _ image: RowImage) -> String? {
    let geometry = item.geometry
    for hasParity in [false, true] {
      item.fill(image)
      for position in 0..<geometry.width where item.faults[position] != .missing {
        let isData = geometry.parityCount == 0 || position < geometry.dataCount
        let isWritten =
          isData ? first.outcomes[geometry.isMirrored ? 0 : position] == .written : hasParity
        if isWritten { image.buffer(position).copy(from: first.image.buffer(position)) }
      }
      var row = item.row(image)
      row.settle()
      for data in 0..<geometry.dataCount where item.faults[data] != .missing {
        guard first.outcomes[data] == .written else { continue }
        if row.outcomes[data] != .written {
          return "block \(data) was there, and is \(row.outcomes[data]) after a second crash"
        }
        let now = Scene.sectors(image.buffer(data))
        if now != Scene.sectors(first.image.buffer(data)),
          now != Array(item.scene.newSectors[data * 8..<data * 8 + 8])
        {
          return "block \(data) changed in a second crash"
        }
      }
    }
    return nil
  }

  // MARK: Enumeration

  private func forEach(
    _ choices: [[UInt8]], _ body: ([UInt8]) throws -> Void
  ) rethrows {
    var index = [Int](repeating: 0, count: choices.count)
    while true {
      try body(index.indices.map { choices[$0][index[$0]] })
      var place = 0
      while place < index.count {
        index[place] += 1
        if index[place] < choices[place].count { break }
        index[place] = 0
        place += 1
      }
      if place == index.count { return }
    }
  }

  private func faultSets(_ width: Int, most: Int) -> [[Fault]] {
    var sets: [[Fault]] = []
    forEach([[UInt8]](repeating: [0, 1, 2], count: width)) { numbers in
      guard numbers.filter({ $0 != 0 }).count <= most else { return }
      sets.append(numbers.map { Fault.allCases[Int($0)] })
    }
    return sets
  }

  private func check(
    _ level: RAIDLevel, _ memberCount: Int, old: [DirectOldBlock?], data: [UInt8],
    parity: [UInt8], keepsFirst: Bool = false
  ) throws -> Int {
    let geometry = try StripeGeometry(
      level: level, memberCount: memberCount, chunkBytes: 4096, memberBlockCount: 8)
    let dataLike = geometry.parityCount > 0 ? geometry.dataCount : geometry.width
    let choices = (0..<geometry.width).map { $0 < dataLike ? data : parity }
    let scene = try Scene(geometry, old: old, keepsFirst: keepsFirst)
    let image = try #require(RowImage(width: geometry.width))
    let other = try #require(RowImage(width: geometry.width))
    var count = 0
    for faults in faultSets(geometry.width, most: geometry.redundancy) {
      forEach(choices) { reached in
        let item = Case(scene: scene, reached: reached, faults: faults)
        let text = trouble(item, image, other)
        if let text { Issue.record("\(item.description): \(text)") }
        count += 1
      }
    }
    return count
  }

  @Test(
    "RAID-5: every subset of sectors, with any one block missing or rotten",
    arguments: [
      [nil, nil], [nil, .neverWritten], [.neverWritten, .neverWritten], [nil, .lost],
    ] as [[DirectOldBlock?]])
  func raid5(old: [DirectOldBlock?]) throws {
    let count = try check(
      .raid5, 3, old: old, data: [0, 0xff, 0x0f, 0x81], parity: [0, 0xff, 0x3c])
    #expect(count == 7 * 48)
  }

  @Test(
    "the same where old and new content have a sector in common, which looks new before anything came",
    arguments: [(RAIDLevel.raid5, 3), (.raid5, 4), (.raid6, 4), (.raid1, 2)])
  func sectorInCommon(level: RAIDLevel, memberCount: Int) throws {
    let dataCount = level == .raid1 ? 1 : memberCount - (level == .raid6 ? 2 : 1)
    _ = try check(
      level, memberCount, old: [DirectOldBlock?](repeating: nil, count: dataCount),
      data: [0, 0xff, 0x0f], parity: level == .raid1 ? [] : [0, 0xff, 0x0f], keepsFirst: true)
  }

  @Test("RAID-5 of four data blocks: none, half and all of each, with any one missing or rotten")
  func widerRAID5() throws {
    let count = try check(
      .raid5, 5, old: [nil, nil, .neverWritten, nil], data: [0, 0xff, 0x0f],
      parity: [0, 0xff, 0x0f])
    #expect(count == 11 * 243)
  }

  @Test(
    "RAID-6: the same with any two",
    arguments: [[nil, nil], [nil, .neverWritten]] as [[DirectOldBlock?]])
  func raid6(old: [DirectOldBlock?]) throws {
    let count = try check(.raid6, 4, old: old, data: [0, 0xff, 0x0f], parity: [0, 0xff, 0x0f])
    #expect(count == 33 * 81)
  }

  @Test("mirrors: any copy that is new, else old, else torn", arguments: [2, 3])
  func mirrors(copyCount: Int) throws {
    for old: DirectOldBlock? in [nil, .neverWritten] {
      _ = try check(
        .raid1, copyCount, old: [old], data: [0, 0xff, 0x0f, 0x81], parity: [])
    }
  }

  @Test("a block alone: new, old or torn as it is, and lost when it is neither")
  func alone() throws {
    let geometry = try StripeGeometry(
      level: .raid0, memberCount: 2, chunkBytes: 4096, memberBlockCount: 8)
    for (reached, fault, expected) in [
      (0xff, Fault.none, DirectRow.Outcome.written), (0x0f, .none, .written),
      (0, .none, .written), (0, .rotten, .lost),
    ] as [(UInt8, Fault, DirectRow.Outcome)] {
      let item = Case(
        scene: try Scene(geometry, old: [nil]), reached: [reached], faults: [fault])
      let image = try #require(RowImage(width: 1))
      item.fill(image)
      var row = item.row(image)
      row.settle()
      #expect(row.outcomes == [expected])
      #expect(row.isUntouched == (reached == 0 && fault == .none))
    }
  }

  @Test("rot that is adopted as torn is garbage: what these tests would see")
  func adoptedRot() throws {
    let geometry = try StripeGeometry(
      level: .raid5, memberCount: 3, chunkBytes: 4096, memberBlockCount: 8)
    let item = Case(
      scene: try Scene(geometry, old: [nil, nil]), reached: [0, 0xff, 0x0f],
      faults: [.rotten, .none, .none])
    for isPlanted in [false, true] {
      let image = try #require(RowImage(width: 3))
      item.fill(image)
      var row = item.row(image)
      row.plantsRotAdopted = isPlanted
      row.settle()
      #expect((judge(item, row) != nil) == isPlanted)
    }
  }
}
