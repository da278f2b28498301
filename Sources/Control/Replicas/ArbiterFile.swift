import DiskFormat
import Glibc
package import IO
package import RAID

/// An arbiter that keeps its record in a file, for nodes that share a folder, and for tests
/// (docs/replication.md, section 7).
///
/// Whoever asks has the file FILE.lock to himself while he reads the record, decides and replaces it;
/// a reader finds the old record or the new one. What cannot be read or understood is no.
package struct ArbiterFile: Sendable {
  package let path: String
  private static let version: Int64 = 1
  private static let byteCountMax = 65536

  package init(_ path: String) { self.path = path }

  /// Answers a question.
  ///
  /// - Parameters:
  ///   - request: what is asked.
  ///   - isLate: asked before anything is changed: nobody waits any more.
  /// - Returns: whether the answer is yes; then the record says so, durably.
  /// - Throws: why there is none, which is a no.
  package func answer(
    _ request: ArbiterRequest, isLate: () -> Bool
  ) throws(SystemError) -> Bool {
    // Safe: the path lives until the call returns.
    let lock = unsafe open("\(path).lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard lock >= 0 else { throw SystemError.last }
    // Closing gives the lock up.
    defer { close(lock) }
    while flock(lock, LOCK_EX | LOCK_NB) != 0 {
      guard errno == EWOULDBLOCK || errno == EINTR else { throw SystemError.last }
      guard !isLate() else { throw SystemError(ETIMEDOUT) }
      Deadline.pause(milliseconds: 5)
    }
    guard let record = ArbiterRecord.answer(request, try load()) else { return false }
    guard !isLate() else { throw SystemError(ETIMEDOUT) }
    try SmallFile.replaceDurably(path, with: Self.encode(record))
    return true
  }

  /// The record; nil where there is none yet.
  package func load() throws(SystemError) -> ArbiterRecord? {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try SmallFile.read(path, byteCountMax: Self.byteCountMax)
    } catch {
      if error == SystemError(ENOENT) { return nil }
      throw error
    }
    // What is there and is not understood was written by something newer, or is damaged: nobody is
    // let go on by that.
    guard let record = Self.decode(bytes) else { throw SystemError(EBADMSG) }
    return record
  }

  private static func encode(_ record: ArbiterRecord) -> [UInt8] {
    let json: JSONValue = [
      "version": .integer(version), "record": .count(record.version),
      "holder": .string(record.holder.description),
      "timeline": .string(record.timelineID.description),
      "in_sync": .array(record.inSync.map { .string($0.description) }),
      "run": .string(record.runID.description), "question": .count(record.number),
    ]
    return json.encode() + [UInt8(ascii: "\n")]
  }

  private static func decode(_ bytes: [UInt8]) -> ArbiterRecord? {
    guard let json = try? JSONValue.decode(bytes), json["version"]?.integer == version,
      let number = json["record"]?.integer, let recordVersion = UInt64(exactly: number),
      let holder = identifier(json["holder"]), let timelineID = identifier(json["timeline"]),
      let runID = identifier(json["run"]), let list = json["in_sync"]?.array,
      let asked = json["question"]?.integer, let question = UInt64(exactly: asked)
    else { return nil }
    var inSync: [Identifier] = []
    for element in list {
      guard let nodeID = identifier(element) else { return nil }
      inSync.append(nodeID)
    }
    return ArbiterRecord(
      version: recordVersion, holder: holder, timelineID: timelineID, inSync: inSync,
      runID: runID, number: question)
  }

  /// 32 hexadecimal digits, with or without hyphens.
  private static func identifier(_ json: JSONValue?) -> Identifier? {
    guard let text = json?.string else { return nil }
    let digits = text.utf8.filter { $0 != UInt8(ascii: "-") }
    guard digits.count == 32, let whole = String(validating: digits, as: UTF8.self) else {
      return nil
    }
    guard let high = UInt64(whole.prefix(16), radix: 16),
      let low = UInt64(whole.suffix(16), radix: 16)
    else { return nil }
    return Identifier(high: high, low: low)
  }
}
