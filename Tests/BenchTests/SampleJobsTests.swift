import Bench
import Control
import Testing

/// `benchmarks/jobs` of this repository.
private let folder: String = {
  let parts = "\(#filePath)".split(separator: "/").dropLast(3)
  return "/" + parts.joined(separator: "/") + "/benchmarks/jobs"
}()

@Suite("Bench: the sample jobs")
struct SampleJobsTests {
  private func plan(_ name: String) throws -> JobPlan {
    let bytes = try SmallFile.read("\(folder)/\(name)")
    return try JobPlan(JobFile(String(decoding: bytes, as: UTF8.self), name: name))
  }

  @Test("each file is read, fits a target of 64 MiB, and names no target of its own")
  func allAreRead() throws {
    let names = SmallFile.names(in: folder).filter { $0.hasSuffix(".ini") }.sorted()
    #expect(
      names == [
        "backup.ini", "checkpoint.ini", "oltp.ini", "postgres-wal.ini", "random-read.ini",
      ])
    for name in names {
      let plan = try plan(name)
      #expect(plan.notes.isEmpty)
      for job in plan.jobs {
        _ = try job.options.resolved(for: 64 << 20, alignmentBytes: 4096)
        #expect(job.options.target == nil)
        // What it does to the target, and how to run it, is said where the user looks.
        let text = String(decoding: try SmallFile.read("\(folder)/\(name)"), as: UTF8.self)
        #expect(text.contains(job.options.workload.writes ? "\n; OVERWRITES" : "\n; Only reads."))
        #expect(text.contains("ashlar bench TARGET benchmarks/jobs/\(name)"))
      }
    }
  }

  @Test("they are what they say: the log's writes, the pages' mix, the backup's, the checkpoint's")
  func whatTheyDo() throws {
    let wal = try #require(plan("postgres-wal.ini").jobs.first).options
    #expect(wal.workload == .write && wal.fdatasyncInterval == 1 && wal.ioDepth == 1)
    #expect(wal.blockByteCountMin == 8192 && wal.blockByteCountMax == 65536)
    let oltp = try #require(plan("oltp.ini").jobs.first).options
    #expect(oltp.workload == .randrw && oltp.readPercent == 70 && oltp.ioDepth == 16)
    #expect(oltp.distribution == .zipf(theta: 1.1) && oltp.jobCount == 4)
    let backup = try #require(plan("backup.ini").jobs.first).options
    #expect(backup.workload == .read && backup.blockByteCountMin == 1 << 20)
    #expect(backup.ioDepth == 8 && backup.runtimeNanoseconds == nil)
    let checkpoint = try #require(plan("checkpoint.ini").jobs.first).options
    #expect(checkpoint.workload == .randwrite && checkpoint.rateIOPS == 2000)
    #expect(checkpoint.flushesAtEnd)
    let reads = try plan("random-read.ini").jobs.map(\.options)
    #expect(reads.map(\.ioDepth) == [1, 32])
    #expect(reads.map(\.waitsForPrevious) == [false, true])
  }
}
