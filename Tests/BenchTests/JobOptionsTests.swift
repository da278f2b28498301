import Bench
import Control
import Testing

@Suite("Bench: options of a job")
struct JobOptionsTests {
  @Test("the workloads have fio's names")
  func workloadNames() {
    #expect(Workload(rawValue: "randrw") == .randrw)
    #expect(Workload.allCases.filter(\.isRandom).count == 4)
    #expect(Workload.allCases.filter(\.writes) == [.write, .randwrite, .rw, .randrw])
    #expect(Workload.allCases.filter(\.isMixed) == [.rw, .randrw])
    #expect(Workload.allCases.filter(\.trims) == [.trim, .randtrim])
  }

  private func options(_ change: (inout JobOptions) -> Void = { _ in }) -> JobOptions {
    var options = JobOptions()
    change(&options)
    return options
  }

  @Test("without size the region is what the target has behind the offset")
  func defaultRegion() throws {
    let resolved = try options { $0.offsetBytes = 4096 }.resolved(
      for: 10_000, alignmentBytes: 1)
    #expect(resolved.offsetBytes == 4096)
    #expect(resolved.regionByteCount == 5904)
  }

  @Test("percentages become bytes: of size cut to blocks of the target, of offset up to bs")
  func percentages() throws {
    let job = options {
      $0.offsetPercent = 10
      $0.regionPercent = 50
      $0.ioPercent = 25
    }
    let resolved = try job.resolved(for: 1_000_000, alignmentBytes: 512)
    #expect(resolved.offsetBytes == 102_400)
    #expect(resolved.regionByteCount == 499_712)
    #expect(resolved.ioByteCount == 124_928)
    #expect(resolved.offsetPercent == nil && resolved.regionPercent == nil)
    #expect(resolved.ioPercent == nil)
    let huge = try options { $0.regionPercent = 100 }.resolved(
      for: .max - 4095, alignmentBytes: 4096)
    #expect(huge.regionByteCount == UInt64.max - 4095)
  }

  @Test("a percentage of size that reaches beyond the end is cut, as fio does")
  func cutPercentage() throws {
    let job = options {
      $0.offsetPercent = 60
      $0.regionPercent = 60
    }
    let resolved = try job.resolved(for: 1 << 20, alignmentBytes: 512)
    #expect(resolved.offsetBytes + (resolved.regionByteCount ?? 0) == 1 << 20)
  }

  @Test("what does not fit the target is refused in the options' own terms")
  func refused() {
    func check(_ message: String, _ alignment: Int, _ change: (inout JobOptions) -> Void) {
      #expect(throws: UsageError(message)) {
        try options(change).resolved(for: 1 << 20, alignmentBytes: alignment)
      }
    }
    check("offset=1M leaves nothing of the target, which has 1M bytes", 1) {
      $0.offsetBytes = 1 << 20
    }
    check("offset=100% leaves nothing of the target, which has 1M bytes", 1) {
      $0.offsetPercent = 100
    }
    check("size=1M from offset=4k on passes the target's end at 1M", 1) {
      $0.offsetBytes = 4096
      $0.regionByteCount = 1 << 20
    }
    check("the region from offset=1020k on has 4k bytes, less than a block of bs=8k", 1) {
      $0.offsetBytes = 1020 << 10
      ($0.blockByteCountMin, $0.blockByteCountMax) = (8192, 8192)
    }
    check("bs: 513 is not a multiple of 512 bytes, which the target asks for", 512) {
      ($0.blockByteCountMin, $0.blockByteCountMax) = (513, 513)
    }
    check("bsrange: 512 is not a multiple of 4096 bytes, which the target asks for", 4096) {
      $0.blockByteCountMin = 512
    }
    check("offset: 100 is not a multiple of 512 bytes, which the target asks for", 512) {
      $0.offsetBytes = 100
    }
    check("size: 5000 is not a multiple of 512 bytes, which the target asks for", 512) {
      $0.regionByteCount = 5000
    }
  }

  @Test("tables that would not fit into memory are refused with the way out")
  func tooManyBlocks() {
    let verified = options {
      $0.workload = .randwrite
      $0.verify = .crc32c
      ($0.blockByteCountMin, $0.blockByteCountMax) = (512, 512)
    }
    #expect(throws: UsageError.self) {
      try verified.resolved(for: 1 << 50, alignmentBytes: 512)
    }
    let mapped = options {
      $0.workload = .randread
      $0.blockByteCountMin = 512
    }
    #expect(throws: UsageError.self) {
      try mapped.resolved(for: 1 << 50, alignmentBytes: 512)
    }
  }

  @Test("jobs that run at once may not spoil verified blocks of one another")
  func overlaps() throws {
    var first = options {
      $0.name = "a"
      $0.workload = .write
      $0.verify = .crc32c
      $0.regionByteCount = 8192
    }
    var second = options {
      $0.name = "b"
      $0.workload = .randwrite
      $0.offsetBytes = 4096
      $0.regionByteCount = 8192
    }
    #expect(throws: UsageError.self) { try JobPlan.checkOverlaps([first, second]) }
    #expect(throws: UsageError.self) { try JobPlan.checkOverlaps([second, first]) }
    second.offsetBytes = 8192
    try JobPlan.checkOverlaps([first, second])
    second.offsetBytes = 0
    second.waitsForPrevious = true
    try JobPlan.checkOverlaps([first, second])
    first.waitsForPrevious = true
    second.waitsForPrevious = false
    #expect(throws: UsageError.self) { try JobPlan.checkOverlaps([first, second]) }
    second.workload = .read
    try JobPlan.checkOverlaps([first, second])
  }

  @Test("buffers that the machine has no memory for are refused, not filled")
  func memory() throws {
    let job = options {
      $0.ioDepth = 65_536
      $0.jobCount = 1024
      ($0.blockByteCountMin, $0.blockByteCountMax) = (1 << 30, 1 << 30)
    }
    let error = #expect(throws: UsageError.self) {
      try JobPlan.checkMemory([JobOptions](repeating: job, count: 300), availableByteCount: 1 << 36)
    }
    #expect(error?.message.contains("available (64 GiB)") == true)
    let small = options {
      $0.ioDepth = 65_536
      ($0.blockByteCountMin, $0.blockByteCountMax) = (4096, 4096)
    }
    try JobPlan.checkMemory([small], availableByteCount: 1 << 29)
    #expect(throws: UsageError.self) {
      try JobPlan.checkMemory([small, small], availableByteCount: 1 << 29)
    }
    var later = small
    later.waitsForPrevious = true
    try JobPlan.checkMemory([small, later, later], availableByteCount: 1 << 29)
  }

  @Test("jobs on different targets are in nobody's way, but their stonewalls count for all")
  func overlapsByTarget() throws {
    let first = options {
      $0.workload = .write
      $0.verify = .crc32c
      $0.regionByteCount = 8192
      $0.target = "/a"
    }
    var second = first
    second.target = "/b"
    try JobPlan.checkOverlaps([first, second])
    #expect(throws: UsageError.self) { try JobPlan.checkOverlaps([first, second, first]) }
    second.waitsForPrevious = true
    try JobPlan.checkOverlaps([first, second, first])
  }
}
