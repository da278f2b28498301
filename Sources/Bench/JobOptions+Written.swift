import Units

extension JobOptions {
  /// The options that differ from the default, and those that are always told, as fio writes them.
  package var asWritten: [(name: String, value: String)] {
    let standard = JobOptions()
    var written: [(String, String)] = [("name", name), ("rw", workload.rawValue)]
    if blockByteCountMin == blockByteCountMax {
      written.append(("bs", ByteSize.formatExactly(blockByteCountMin)))
    } else {
      let range = [blockByteCountMin, blockByteCountMax].map { ByteSize.formatExactly($0) }
      written.append(("bsrange", range.joined(separator: "-")))
    }
    written.append(("iodepth", "\(ioDepth)"))
    func add(_ name: String, _ isGiven: Bool, _ value: @autoclosure () -> String) {
      if isGiven { written.append((name, value())) }
    }
    add("rwmixread", workload.isMixed, "\(readPercent)")
    add("numjobs", jobCount != 1, "\(jobCount)")
    add("size", regionByteCount != nil, ByteSize.formatExactly(regionByteCount ?? 0))
    add("offset", offsetBytes != 0, ByteSize.formatExactly(offsetBytes))
    add("io_size", ioByteCount != nil, ByteSize.formatExactly(ioByteCount ?? 0))
    add("number_ios", operationCountMax != nil, "\(operationCountMax ?? 0)")
    add("runtime", runtimeNanoseconds != nil, Self.seconds(runtimeNanoseconds ?? 0))
    add("time_based", isTimeBased, "1")
    add("ramp_time", rampNanoseconds != 0, Self.seconds(rampNanoseconds))
    add("rate_iops", rateIOPS != nil, "\(rateIOPS ?? 0)")
    add("fsync", fsyncInterval != nil, "\(fsyncInterval ?? 0)")
    add("fdatasync", fdatasyncInterval != nil, "\(fdatasyncInterval ?? 0)")
    add("end_fsync", flushesAtEnd, "1")
    add("randseed", randomSeed != standard.randomSeed, "\(randomSeed)")
    add("norandommap", !usesRandomMap, "1")
    if case .zipf(let theta) = distribution {
      written.append(("random_distribution", "zipf:\(theta)"))
    }
    add("verify", verify != .none, verify.rawValue)
    add("do_verify", !verifiesAtEnd, "0")
    add("verify_fatal", stopsAtFirstBadBlock, "1")
    add("direct", true, isDirect ? "1" : "0")
    add("connections", connectionCount != 1, "\(connectionCount)")
    add("group_reporting", isGroupReporting, "1")
    add("stonewall", waitsForPrevious, "1")
    return written
  }

  private static func seconds(_ nanoseconds: UInt64) -> String {
    for (unit, length) in [("s", UInt64(1_000_000_000)), ("ms", 1_000_000), ("us", 1000)]
    where nanoseconds % length == 0 {
      return "\(nanoseconds / length)\(unit)"
    }
    return "\(nanoseconds)ns"
  }

  /// Whether the job writes or trims.
  package var changesTarget: Bool { workload.writes || workload.trims }

  package var writes: Bool { workload.writes }
}
