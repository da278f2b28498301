import Testing

@testable import Control

@Suite("Control: NBD URIs")
struct NBDAddressTests {
  @Test("a socket's path and an export's name survive the URI, whatever they hold")
  func socketURIReadsBack() throws {
    for path in ["/run/ashlar/a.sock", "/tmp/with blank/%41?&=#/s", "/\u{E4}/x"] {
      let made = NBDAddress(socketPath: path, export: "a b/c")
      let read = try #require(NBDAddress(uri: made.uri))
      #expect(read.transport == .unix(path: path))
      #expect(read.export == "a b/c")
      #expect(made.uri.utf8.allSatisfy { $0 > 32 && $0 < 127 })
    }
  }

  @Test(
    "URIs are understood",
    arguments: [
      ("nbd://host", .tcp(host: "host", port: "10809"), ""),
      ("nbd://host:1/e", .tcp(host: "host", port: "1"), "e"),
      ("nbd://[::1]:1/e", .tcp(host: "::1", port: "1"), "e"),
      ("nbd://u@host/e%20f", .tcp(host: "host", port: "10809"), "e f"),
      ("nbd+unix://?socket=/a", .unix(path: "/a"), ""),
      ("nbd+unix:///e?x=1&socket=/a", .unix(path: "/a"), "e"),
      ("nbds://host/e", .other, "e"), ("nbd+vsock://3/e", .other, "e"),
    ] as [(String, NBDAddress.Transport, String)])
  func understands(uri: String, transport: NBDAddress.Transport, export: String) throws {
    let address = try #require(NBDAddress(uri: uri))
    #expect(address.transport == transport)
    #expect(address.export == export)
    #expect(address.uri == uri)
  }

  @Test(
    "what is no NBD URI is not taken for one",
    arguments: [
      "", "disk", "http://h/e", "nbd://", "nbd://h:99999/e", "nbd://h:x/e", "nbd://a:b:c/e",
      "nbd+unix:///e", "nbd+unix:///e?socket=", "nbd://h/%zz", "nbd://h/%f", "nbd://h/%ff",
      "nbdx://h/e", "nbd://[::1/e",
    ])
  func refuses(uri: String) {
    #expect(NBDAddress(uri: uri) == nil)
  }

  @Test("the name of a record is valid, and differs by server")
  func recordNames() throws {
    let names = try [
      "nbd://a/disk", "nbd://b/disk", "nbd://a", "nbd://a/%2e%2e%2fx",
      "nbd://a/" + String(repeating: "x", count: 200),
    ].map { try #require(NBDAddress(uri: $0)).recordName }
    #expect(Set(names).count == names.count)
    #expect(names.allSatisfy(isValidDeviceName))
    #expect(names[0].hasPrefix("disk-"))
    #expect(names[3].hasPrefix("uri-"))
  }
}

@Suite("Control: attach records")
struct AttachRecordTests {
  private var record: AttachRecord {
    AttachRecord(
      name: "disk", kind: .fuse, device: "/dev/loop987654", byteCount: 1 << 40, isReadOnly: true,
      uri: "nbd://h/e", folder: "/run/ashlar/disk.fuse", processID: 77, processStartTicks: 123)
  }

  @Test("a record is read back from its file, and a damaged one is none")
  func savesAndLoads() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/disk.attach"
    #expect(AttachRecord.load(path) == nil)
    try record.save(path)
    #expect(AttachRecord.load(path) == record)
    let bytes = try SmallFile.read(path)
    for end in 0..<(bytes.count - 2) {
      try SmallFile.replace(path, with: Array(bytes[..<end]))
      #expect(AttachRecord.load(path) == nil)
    }
    #expect(SmallFile.names(in: folder.path) == ["disk.attach"])
  }

  @Test("a record of another boot, or of a device that leads elsewhere, is not in place")
  func knowsWhatIsInPlace() {
    #expect(record.isOfThisBoot)
    #expect(!Attachment.isInPlace(record))
    var other = record
    other.bootID = "another"
    #expect(!other.isOfThisBoot)
    #expect(!Attachment.isInPlace(other))
  }

  @Test("steps are undone in reverse order, once")
  func undoesInReverse() {
    final class Log { var steps: [Int] = [] }
    let log = Log()
    var undo = UndoList()
    for step in 1...3 { undo.add { log.steps.append(step) } }
    undo.run()
    undo.run()
    #expect(log.steps == [3, 2, 1])
  }
}
