package import IO

/// What a job works on: a device behind NBD, a file, or a block device.
///
/// Used on the machine's executor only, by many tasks at once. Ranges lie inside the target and
/// are multiples of `alignmentBytes`: the job has seen to that.
package protocol BenchTarget: Sendable {
  var byteCount: UInt64 { get }
  /// Offsets and lengths must be multiples of this power of two; 1 where anything goes.
  var alignmentBytes: Int { get }
  /// For the report: `nbd+unix:///db?socket=...` or `file /srv/a.img (direct)`.
  var description: String { get }

  func read(at offsetBytes: UInt64, into buffer: IOBuffer) async throws(TargetError)
  func write(at offsetBytes: UInt64, from buffer: IOBuffer) async throws(TargetError)
  /// Makes every write that has returned durable; `isDataOnly` asks for fdatasync rather than
  /// fsync, where the target knows a difference.
  func flush(isDataOnly: Bool) async throws(TargetError)
  func trim(at offsetBytes: UInt64, byteCount: UInt64) async throws(TargetError)
  /// Releases it. Nothing is in flight.
  func close() async
}

/// Why an operation of a job failed.
package enum TargetError: Error, Equatable, Sendable {
  /// The target answered with an error; others may still succeed.
  case refused(reason: String)
  /// The target is gone, or does not answer: nothing more can be measured on it.
  case lost(reason: String)
}
