import Glibc
import IO
import Testing

@testable import Control

/// A folder of one test, removed with everything in it.
final class TemporaryFolder {
  let path: String

  init() throws {
    var template = Array("/tmp/ashlar-test-XXXXXX".utf8CString)
    // Safe: the template ends with a zero byte and is ours.
    guard unsafe mkdtemp(&template) != nil else { throw SystemError.last }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    for name in SmallFile.names(in: path) {
      let file = "\(path)/\(name)"
      if unsafe unlink(file) != 0 { unsafe _ = rmdir(file) }
    }
    unsafe _ = rmdir(path)
  }
}

@Suite("Control: the runtime directory")
struct RuntimeDirectoryTests {
  @Test(
    "its place follows the environment and the user",
    arguments: [
      (["ASHLAR_RUNTIME_DIR": "/a/b/", "XDG_RUNTIME_DIR": "/x"], 1000, "/a/b", false),
      (["ASHLAR_RUNTIME_DIR": ""], 0, "/run/ashlar", false),
      (["XDG_RUNTIME_DIR": "/x"], 0, "/run/ashlar", false),
      (["XDG_RUNTIME_DIR": "/run/user/5"], 5, "/run/user/5/ashlar", false),
      (["XDG_RUNTIME_DIR": "relative"], 5, "/tmp/ashlar-5", true), ([:], 5, "/tmp/ashlar-5", true),
    ] as [([String: String], UInt32, String, Bool)])
  func locates(environment: [String: String], user: UInt32, path: String, isPrivate: Bool) {
    let location = RuntimeDirectory.location(environment: { environment[$0] }, userID: user)
    #expect(location.path == path)
    #expect(location.mustBePrivate == isPrivate)
  }

  @Test("it is created private, found again, and refused once others may write")
  func createsAndChecks() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/run"
    let directory = try RuntimeDirectory.created(at: path, mustBePrivate: true)
    #expect(directory.path == path)
    #expect(try RuntimeDirectory.created(at: path, mustBePrivate: true) == directory)
    #expect(unsafe chmod(path, 0o755) == 0)
    #expect(try RuntimeDirectory.created(at: path, mustBePrivate: false) == directory)
    #expect(throws: RuntimeDirectoryError.tooOpen(path: path, mode: 0o755)) {
      try RuntimeDirectory.created(at: path, mustBePrivate: true)
    }
    #expect(unsafe chmod(path, 0o775) == 0)
    #expect(throws: RuntimeDirectoryError.tooOpen(path: path, mode: 0o775)) {
      try RuntimeDirectory.created(at: path, mustBePrivate: false)
    }
  }

  @Test("a link or a file in its place is refused, and so is a missing parent")
  func refusesWhatIsNoFolder() throws {
    let folder = try TemporaryFolder()
    let link = "\(folder.path)/link"
    #expect(unsafe symlink(folder.path, link) == 0)
    #expect(throws: RuntimeDirectoryError.notAFolder(path: link)) {
      try RuntimeDirectory.created(at: link, mustBePrivate: true)
    }
    let file = "\(folder.path)/file"
    try SmallFile.replace(file, with: [])
    #expect(throws: RuntimeDirectoryError.notAFolder(path: file)) {
      try RuntimeDirectory.created(at: file, mustBePrivate: false)
    }
    let deep = "\(folder.path)/a/b"
    #expect(throws: RuntimeDirectoryError.cannotCreate(path: deep, SystemError(ENOENT))) {
      try RuntimeDirectory.created(at: deep, mustBePrivate: false)
    }
  }

  @Test("a folder of another user is refused", .enabled(if: geteuid() == 0))
  func refusesStrangers() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/run"
    _ = try RuntimeDirectory.created(at: path, mustBePrivate: true)
    #expect(unsafe chown(path, 12345, 12345) == 0)
    #expect(throws: RuntimeDirectoryError.wrongOwner(path: path, owner: 12345, user: 0)) {
      try RuntimeDirectory.created(at: path, mustBePrivate: false)
    }
  }

  @Test(
    "names that could leave the folder or look like options are refused",
    arguments: [
      "", ".", "..", "../a", "a/b", "-a", "_a", ".a", "a b", "a\0", "\u{E4}", "a\n",
      String(repeating: "a", count: 65),
    ])
  func refusesNames(name: String) {
    let directory = RuntimeDirectory(path: "/run/ashlar")
    #expect(throws: RuntimeDirectoryError.invalidName(name)) {
      try directory.controlSocketPath(name)
    }
    #expect(throws: RuntimeDirectoryError.invalidName(name)) {
      try directory.attachRecordPath(name)
    }
  }

  @Test("a socket path of 107 bytes is the longest")
  func boundsSocketPaths() throws {
    let name = String(repeating: "a", count: 64)
    // 37 of the folder, a slash, 64 of the name, 5 of ".sock".
    let exact = RuntimeDirectory(path: "/" + String(repeating: "d", count: 36))
    #expect(try exact.blockSocketPath(name).utf8.count == 107)
    let long = RuntimeDirectory(path: "/" + String(repeating: "d", count: 37))
    #expect(throws: RuntimeDirectoryError.self) { try long.blockSocketPath(name) }
    #expect(throws: Never.self) { try long.blockSocketPath("a") }
  }

  @Test("names are those with the ending, and valid")
  func listsNames() throws {
    let folder = try TemporaryFolder()
    for file in ["b.control", "a.control", "c.sock", ".control", "-x.control", "control"] {
      try SmallFile.replace("\(folder.path)/\(file)", with: [])
    }
    let directory = RuntimeDirectory(path: folder.path)
    #expect(try directory.names(withEnding: "control") == ["a", "b"])
  }
}
