import Glibc
import IO
import Synchronization
import Testing

@testable import Control

@Suite("Control: the registry")
struct RegistryTests {
  private static let record = RegistryRecord(
    name: "pg", arrayID: "0123abcd-4567-89ab-cdef-0123456789ab",
    configurationID: "00000000-0000-0000-0000-000000000007", eventCount: 12,
    members: [
      RegistryRecord.Member(slot: 0, memberID: "a", place: "/srv/a b.img"),
      RegistryRecord.Member(
        slot: 1, memberID: "b", place: "nbd+unix:///x?socket=/run/\u{E4}.sock"),
    ])

  @Test(
    "its place follows the environment and the user",
    arguments: [
      (["ASHLAR_STATE_DIR": "/a/b//", "HOME": "/h"], 1000, "/a/b"),
      (["ASHLAR_STATE_DIR": "", "HOME": "/h"], 0, "/var/lib/ashlar"),
      (["XDG_STATE_HOME": "/x", "HOME": "/h"], 5, "/x/ashlar"),
      (["XDG_STATE_HOME": "relative", "HOME": "/h"], 5, "/h/.local/state/ashlar"), ([:], 5, nil),
    ] as [([String: String], UInt32, String?)])
  func locates(environment: [String: String], user: UInt32, path: String?) {
    #expect(Registry.location(environment: { environment[$0] }, userID: user) == path)
  }

  @Test("what was saved is found again, the newest of it, in a folder that did not exist")
  func savesAndLoads() throws {
    let folder = try TemporaryFolder()
    let registry = Registry(folder: "\(folder.path)/state")
    #expect(try registry.load("pg") == nil)
    try registry.save(Self.record)
    #expect(try registry.load("pg") == Self.record)
    #expect(try registry.load("other") == nil)
    var next = Self.record
    next.eventCount = 13
    next.members.removeLast()
    try registry.save(next)
    #expect(try registry.load("pg") == next)
    // No leftovers of the replacement.
    #expect(SmallFile.names(in: registry.folder) == ["pg.json"])
    unsafe _ = unlink(registry.path(of: "pg"))
  }

  @Test("a record that was cut short at any byte is refused, and so is each changed member")
  func refusesTorn() throws {
    let folder = try TemporaryFolder()
    let registry = Registry(folder: folder.path)
    let whole = Self.record.encoded
    let path = registry.path(of: "pg")
    // The newline at the end is not needed.
    for count in 0..<whole.count - 1 {
      try SmallFile.replace(path, with: Array(whole[..<count]))
      let error = #expect(throws: RegistryError.self) { try registry.load("pg") }
      #expect(error?.explanation.contains(path) == true)
    }
    let text = String(decoding: whole, as: UTF8.self)
    let changes = [
      ("\"version\":1", "\"version\":2"), ("\"slot\":0", "\"slot\":-1"),
      ("\"event_count\":12", "\"event_count\":\"12\""), ("\"name\":\"pg\"", "\"name\":\"pq\""),
      ("\"members\":[", "\"others\":["), ("\"place\"", "\"path\""),
    ]
    for (right, wrong) in changes {
      let parts = text.split(separator: right, maxSplits: 1, omittingEmptySubsequences: false)
      try #require(parts.count == 2)
      try SmallFile.replace(path, with: Array("\(parts[0])\(wrong)\(parts[1])".utf8))
      #expect(throws: RegistryError.self, "\(wrong)") { try registry.load("pg") }
    }
    try SmallFile.replace(path, with: whole)
    #expect(try registry.load("pg") == Self.record)
  }

  @Test("a name that no file can have is not looked for")
  func refusesNames() throws {
    let folder = try TemporaryFolder()
    #expect(try Registry(folder: folder.path).load("../etc/passwd") == nil)
  }

  @Test("the writer's thread ends up with the newest record, and tells what it could not write")
  func writesBehind() throws {
    let folder = try TemporaryFolder()
    let registry = Registry(folder: folder.path)
    let writer = RegistryWriter(to: registry) { _ in Issue.record("it could not write") }
    var record = Self.record
    for count in 1...100 as ClosedRange<UInt64> {
      record.eventCount = count
      writer.write(record)
    }
    writer.drain(millisecondsMax: 10_000)
    #expect(try registry.load("pg") == record)

    let file = "\(folder.path)/file"
    try SmallFile.replace(file, with: [])
    let wasTold = Flag()
    let lost = RegistryWriter(to: Registry(folder: file)) { _ in wasTold.set() }
    lost.write(record)
    lost.drain(millisecondsMax: 10_000)
    #expect(wasTold.isSet)
  }

  @Test("a record that cannot be replaced is removed: the old one would prove what is not so (T6)")
  func staleRecord() throws {
    let folder = try TemporaryFolder()
    let registry = Registry(folder: folder.path)
    try registry.save(Self.record)
    // Where the new one would be written there is something else.
    // Safe: the path lives until the call returns.
    unsafe _ = mkdir("\(registry.path(of: Self.record.name)).new", 0o700)
    let wasTold = Flag()
    let writer = RegistryWriter(to: registry) { _ in wasTold.set() }
    var record = Self.record
    record.eventCount += 1
    writer.write(record)
    writer.drain(millisecondsMax: 10_000)
    #expect(wasTold.isSet)
    #expect(try registry.load(Self.record.name) == nil)
  }
}

/// Set on one thread, read on another.
private final class Flag: Sendable {
  private let value = Atomic(false)

  var isSet: Bool { value.load(ordering: .acquiring) }

  func set() { value.store(true, ordering: .releasing) }
}
