package import Control
import Units

extension JobOptions {
  /// The options with everything that depends on the target's size settled and checked.
  ///
  /// Percentages become bytes: of `size` and `io_size` rounded down to the target's blocks, of
  /// `offset` up to the job's smallest block, as fio does. `regionByteCount` is set afterwards.
  ///
  /// - Parameters:
  ///   - byteCount: the target's.
  ///   - alignmentBytes: a power of two.
  /// - Returns: options without percentages, with the region's length.
  /// - Throws: what does not fit, in the terms of the options.
  package func resolved(
    for byteCount: UInt64, alignmentBytes: Int
  ) throws(UsageError) -> JobOptions {
    precondition(alignmentBytes > 0 && alignmentBytes & (alignmentBytes - 1) == 0)
    let alignment = UInt64(alignmentBytes)
    var resolved = self
    try checkAlignment(alignment)
    resolved.offsetBytes = try resolvedOffset(byteCount, alignment)
    let rest = byteCount - resolved.offsetBytes
    resolved.offsetPercent = nil

    if let regionPercent {
      let share = Self.share(regionPercent, of: byteCount)
      resolved.regionByteCount = min(share - share % alignment, rest)
      resolved.regionPercent = nil
    }
    let region = resolved.regionByteCount ?? rest
    guard region <= rest else {
      throw UsageError(
        "size=\(Self.text(region)) from offset=\(Self.text(resolved.offsetBytes)) on passes the "
          + "target's end at \(Self.text(byteCount))")
    }
    guard region >= blockByteCountMin else {
      throw UsageError(
        "the region from offset=\(Self.text(resolved.offsetBytes)) on has \(Self.text(region)) "
          + "bytes, less than a block of bs=\(Self.text(blockByteCountMin))")
    }
    resolved.regionByteCount = region
    if let ioPercent {
      resolved.ioByteCount = max(Self.share(ioPercent, of: region), blockByteCountMin)
      resolved.ioPercent = nil
    }
    try resolved.checkTables(blockCount: region / blockByteCountMin)
    return resolved
  }

  private func checkAlignment(_ alignment: UInt64) throws(UsageError) {
    let isRange = blockByteCountMin != blockByteCountMax
    for size in [blockByteCountMin, blockByteCountMax] where size % alignment != 0 {
      throw UsageError(
        "\(isRange ? "bsrange" : "bs"): \(Self.text(size)) is not a multiple of "
          + "\(alignment) bytes, which the target asks for")
    }
    for (name, size) in [("offset", offsetBytes), ("size", regionByteCount ?? 0)]
    where size % alignment != 0 {
      throw UsageError(
        "\(name): \(Self.text(size)) is not a multiple of \(alignment) bytes, "
          + "which the target asks for")
    }
  }

  private func resolvedOffset(
    _ byteCount: UInt64, _ alignment: UInt64
  ) throws(UsageError) -> UInt64 {
    var offset = offsetBytes
    if let offsetPercent {
      let share = Self.share(offsetPercent, of: byteCount)
      let over = share % blockByteCountMin
      offset = over == 0 ? share : share - over + blockByteCountMin
    }
    guard offset < byteCount else {
      throw UsageError(
        "offset=\(offsetPercent.map { "\($0)%" } ?? Self.text(offset)) leaves nothing of the "
          + "target, which has \(Self.text(byteCount)) bytes")
    }
    return offset
  }

  /// Tables that grow with the number of blocks have a bound.
  private func checkTables(blockCount: UInt64) throws(UsageError) {
    if verify != .none, workload.writes, blockCount > GenerationTable.blockCountMax {
      throw UsageError(
        "verify=crc32c: \(blockCount) blocks are more than the \(GenerationTable.blockCountMax) "
          + "whose generations can be kept: use a larger bs or a smaller size")
    }
    let isMapped =
      workload.isRandom && usesRandomMap && distribution == .random
      && blockByteCountMin != blockByteCountMax
    if isMapped, blockCount > OffsetGenerator.mappedBlockCountMax {
      throw UsageError(
        "bsrange: \(blockCount) blocks are more than the \(OffsetGenerator.mappedBlockCountMax) "
          + "whose use can be kept: use norandommap, a larger bsrange or a smaller size")
    }
  }

  /// Whether the job's regions have bytes in common; both resolved.
  package func overlaps(_ other: JobOptions) -> Bool {
    guard
      let own = ByteRange(offsetBytes: offsetBytes, byteCount: regionByteCount ?? 0),
      let its = ByteRange(offsetBytes: other.offsetBytes, byteCount: other.regionByteCount ?? 0)
    else { return true }
    return own.overlaps(its)
  }

  private static func share(_ percent: UInt64, of byteCount: UInt64) -> UInt64 {
    // At most 100, so the quotient fits.
    let product = byteCount.multipliedFullWidth(by: min(percent, 100))
    return UInt64(100).dividingFullWidth(product).quotient
  }

  private static func text(_ byteCount: UInt64) -> String { ByteSize.formatExactly(byteCount) }
}
