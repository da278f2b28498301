import Glibc
import RAID
import Testing
import Units

@testable import Control

private var sampleState: ScrubState {
  var run = ScrubRun(kind: .repair, beganSeconds: 1000)
  (run.nextPage, run.donePages, run.doneBytes, run.isPaused) = (7, 5, 5 << 20, true)
  (run.counts.checksum, run.counts.repaired) = (2, 1)
  (run.counts.lost, run.counts.beyondRepair) = (1, 1)
  run.ranges = [
    ScrubRange(
      range: ByteRange(from: 4096, to: 12288), slot: 1, trouble: .checksum, outcome: .repaired),
    ScrubRange(range: ByteRange(from: 0, to: 4096), slot: nil, trouble: .lost, outcome: .lost),
  ]
  let record = ScrubRecord(
    kind: .check, beganSeconds: 10, endedSeconds: 20, ending: .cancelled, doneBytes: 1 << 30,
    counts: run.counts)
  return ScrubState(run: run, history: [record])
}

@Suite("Control: what is kept of scrubs")
struct ScrubStateTests {
  private let folder: String

  init() {
    var template = Array("/tmp/ashlar-scrub.XXXXXX".utf8CString)
    // Safe: the template ends with a zero and lives until the call returns.
    let made = unsafe mkdtemp(&template)
    folder = unsafe made.map { unsafe String(cString: $0) } ?? "/nowhere"
  }

  private func file(_ arrayID: String = "id") -> ScrubStateFile {
    ScrubStateFile(in: Registry(folder: folder), name: "pg", arrayID: arrayID)
  }

  @Test("it is read back as it was, and not for another array of the same name")
  func readsBack() throws {
    defer { SmallFile.remove(file().path) }
    #expect(file().load { Issue.record("\($0)") } == nil)
    for state in [sampleState, ScrubState()] {
      try file().save(state)
      #expect(file().load { Issue.record("\($0)") } == state)
      #expect(file("other").load { Issue.record("\($0)") } == nil)
    }
  }

  @Test("a file that was cut short anywhere is forgotten, with a word")
  func forgetsDamage() throws {
    let bytes = file().encode(sampleState)
    for count in [0, 1, bytes.count / 2, bytes.count - 3] {
      try SmallFile.replace(file().path, with: Array(bytes.prefix(count)))
      var words: [String] = []
      #expect(file().load { words.append($0) } == nil)
      #expect(words.count == 1)
    }
    SmallFile.remove(file().path)
  }

  @Test(
    "figures that no scrub can have are not believed",
    arguments: [
      ("\"next_page\":7", "\"next_page\":9223372036854775807"),
      ("\"done_pages\":5", "\"done_pages\":0"), ("\"done_pages\":5", "\"done_pages\":-1"),
      ("\"done_bytes\":5242880", "\"done_bytes\":9223372036854775807"),
      ("\"checksum\":2", "\"checksum\":9223372036854775807"),
      ("\"offset_bytes\":4096", "\"offset_bytes\":9223372036854775807"),
      ("\"kind\":\"repair\"", "\"kind\":\"burn\""), ("\"version\":1", "\"version\":2"),
    ])
  func refusesNonsense(old: String, new: String) {
    let text = String(decoding: file().encode(sampleState), as: UTF8.self)
    let changed = text.split(separator: old, maxSplits: 1).joined(separator: new)
    #expect(changed != text)
    #expect(throws: ControlError.self) { try file().decode(Array(changed.utf8)) }
  }
}

@Suite("Control: what is kept of a pause of rebuilds")
struct RebuildPauseTests {
  private let folder: String

  init() {
    var template = Array("/tmp/ashlar-pause.XXXXXX".utf8CString)
    // Safe: the template ends with a zero and lives until the call returns.
    let made = unsafe mkdtemp(&template)
    folder = unsafe made.map { unsafe String(cString: $0) } ?? "/nowhere"
  }

  private func file(_ arrayID: String = "id") -> RebuildPauseFile {
    RebuildPauseFile(in: Registry(folder: folder), name: "pg", arrayID: arrayID)
  }

  @Test("it is read back as it was, and not for another array of the same name")
  func readsBack() throws {
    defer { SmallFile.remove(file().path) }
    #expect(!file().load { Issue.record("\($0)") })
    for isPaused in [true, false, true] {
      try file().save(isPaused: isPaused)
      #expect(file().load { Issue.record("\($0)") } == isPaused)
      #expect(!file("other").load { Issue.record("\($0)") })
    }
  }

  @Test("a file of which nobody can make sense pauses nothing, and is named")
  func forgetsDamage() throws {
    defer { SmallFile.remove(file().path) }
    for text in [
      "", "{", #"{"version":2,"array_id":"id","paused":true}"#, #"{"version":1,"paused":true}"#,
      #"{"version":1,"array_id":"id","paused":1}"#,
    ] {
      try SmallFile.replace(file().path, with: Array(text.utf8))
      var words: [String] = []
      #expect(!file().load { words.append($0) })
      #expect(words.count == 1 && words.first?.contains("pg.rebuild.json") == true)
    }
  }
}
