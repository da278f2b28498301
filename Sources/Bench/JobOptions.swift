/// What a job does to its target; fio's `--rw`.
package enum Workload: String, CaseIterable, Sendable {
  case read, write, randread, randwrite, trim, randtrim
  /// Sequential reads and writes, mixed.
  case rw
  /// Random reads and writes, mixed.
  case randrw

  package var isRandom: Bool {
    switch self {
    case .randread, .randwrite, .randrw, .randtrim: true
    case .read, .write, .rw, .trim: false
    }
  }

  /// Reads and writes at once.
  package var isMixed: Bool { self == .rw || self == .randrw }

  package var writes: Bool {
    switch self {
    case .write, .randwrite, .rw, .randrw: true
    case .read, .randread, .trim, .randtrim: false
    }
  }

  package var trims: Bool { self == .trim || self == .randtrim }
}

/// Where random offsets fall; fio's `--random_distribution`.
package enum RandomDistribution: Equatable, Sendable {
  case random
  /// Zipf with this exponent, greater than 0 and not 1.
  case zipf(theta: Double)
}

/// How blocks are checked; fio's `--verify`.
package enum VerifyMode: String, CaseIterable, Sendable {
  case none, crc32c
}

/// One job, in fio's terms; names of fields follow fio's options.
///
/// A job is what one `[section]` of an ini file describes, or the command line. `numjobs` clones
/// of it run with seeds of their own.
package struct JobOptions: Equatable, Sendable {
  package var name = "bench"
  /// The target as the user wrote it; nil until `filename=`, `uri=` or TARGET names it.
  package var target: String?
  package var workload = Workload.read
  /// `rwmixread`: how many of 100 operations of a mixed job are reads.
  package var readPercent = 50
  /// `bs` and `bsrange`; equal bounds are one size, for reads, writes and trims alike.
  package var blockByteCountMin: UInt64 = 4096
  package var blockByteCountMax: UInt64 = 4096
  /// `iodepth`.
  package var ioDepth = 1
  /// `numjobs`.
  package var jobCount = 1
  /// `size`: the length of the region from `offset` on; nil for all that is left of the target.
  package var regionByteCount: UInt64?
  /// `size=N%`, until `resolved` has made bytes of it.
  package var regionPercent: UInt64?
  /// `offset`: where the region begins.
  package var offsetBytes: UInt64 = 0
  /// `offset=N%`, until `resolved` has made bytes of it.
  package var offsetPercent: UInt64?
  /// `io_size`: how many bytes to transfer; nil for `size`.
  package var ioByteCount: UInt64?
  /// `io_size=N%`, of the region, until `resolved` has made bytes of it.
  package var ioPercent: UInt64?
  /// `number_ios`: how many operations at most.
  package var operationCountMax: UInt64?
  /// `runtime`.
  package var runtimeNanoseconds: UInt64?
  /// `time_based`: start over until `runtime` has passed.
  package var isTimeBased = false
  /// `ramp_time`: run so long before anything is counted.
  package var rampNanoseconds: UInt64 = 0
  /// `rate_iops`: at most so many operations a second, each job.
  package var rateIOPS: UInt64?
  /// `fsync`: after how many writes; nil for never.
  package var fsyncInterval: UInt64?
  /// `fdatasync`.
  package var fdatasyncInterval: UInt64?
  /// `end_fsync`: flush once at the end of the job.
  package var flushesAtEnd = false
  /// `randseed`.
  package var randomSeed: UInt64 = 0x89
  /// False with `norandommap`: blocks may come twice in a pass, and others not at all.
  package var usesRandomMap = true
  package var distribution = RandomDistribution.random
  package var verify = VerifyMode.none
  /// `do_verify`: read back and check what was written when a writing job ends.
  package var verifiesAtEnd = true
  /// `verify_fatal`: stop at the first bad block.
  package var stopsAtFirstBadBlock = false
  /// `direct`: pass the page cache by; for files and block devices only.
  package var isDirect = true
  /// `connections`: to an NBD target, each job; its depth is spread over them.
  package var connectionCount = 1
  /// `group_reporting`: clones, and jobs that have it and run at once, are reported as one.
  package var isGroupReporting = false
  /// `stonewall`: start when every job before it in the file has ended.
  package var waitsForPrevious = false

  package init() {}
}
