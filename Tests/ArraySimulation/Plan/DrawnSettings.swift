import DiskFormat
import Geometry
import RAID
import Simulator

extension ArrayShape {
  /// Small arrays of every kind.
  static func drawn(level fixed: RAIDLevel?, _ random: inout RandomSource) -> ArrayShape {
    let levels = RAIDLevel.allCases
    let level = fixed ?? levels[random.index(below: levels.count)]
    let chunkBytes: UInt64 = 4096 << random.next(below: 3)
    let memberCount =
      switch level {
      case .raid0, .raid1: 2 + random.index(below: 3)
      case .raid5: 3 + random.index(below: 4)
      case .raid6: 4 + random.index(below: 3)
      case .raid10: 2 + random.index(below: 5)
      }
    // 64 to 512 KiB of data.
    let dataMembers =
      switch level {
      case .raid0: memberCount
      case .raid1: 1
      case .raid5: memberCount - 1
      case .raid6: memberCount - 2
      case .raid10: max(1, memberCount / 2)
      }
    let dataBlocks = UInt64(16) << random.next(below: 4)
    let chunkBlocks = chunkBytes / StripeGeometry.blockBytes
    let perMember = (dataBlocks / UInt64(dataMembers) / chunkBlocks + 1) * chunkBlocks
    do throws(GeometryError) {
      return try ArrayShape(
        level: level, memberCount: memberCount, chunkBytes: chunkBytes,
        memberBlockCount: perMember, logBytes: 1 << 20)
    } catch {
      preconditionFailure("a drawn shape is impossible: \(error)")
    }
  }
}

extension ArrayOptions {
  /// Limits so small that the rare paths become common: each in one history of four.
  static func drawn(_ random: inout RandomSource) -> ArrayOptions {
    func isSmall(_ random: inout RandomSource) -> Bool { random.index(below: 4) == 0 }
    var options = ArrayOptions()
    options.memberDeadlineNanoseconds = 2_000_000_000
    options.logPolicy = isSmall(&random) ? .full : .auto
    if isSmall(&random) { options.dirtyBytesMax = (64 << 10) << random.index(below: 4) }
    if isSmall(&random) { options.tableCacheBytes = 4096 << random.index(below: 4) }
    if isSmall(&random) { options.batchesInFlightMax = 1 + random.index(below: 4) }
    if isSmall(&random) { options.batchPayloadBlockCountMax = 17 << random.index(below: 3) }
    if isSmall(&random) { options.destageRowCountMax = 1 + random.index(below: 4) }
    if isSmall(&random) { options.destageDelayNanoseconds = random.next(below: 5_000_000) }
    if isSmall(&random) { options.sealDelayNanoseconds = random.next(below: 1_000_000) }
    if isSmall(&random) { options.hedgeNanosecondsMin = 200_000 }
    return options
  }
}
