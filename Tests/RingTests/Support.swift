import Glibc
import IO
import Ring
import Testing

/// A folder of its own for one test, removed with what is in it.
final class TemporaryFolder: Sendable {
  let path: String

  init() throws {
    var template = Array("/tmp/ashlar-ring.XXXXXX".utf8CString)
    // Safe: the template ends with a zero and is as long as mkdtemp wants it.
    let made = unsafe mkdtemp(&template)
    try #require(unsafe made != nil)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    for name in names { unsafe _ = unlink("\(path)/\(name)") }
    unsafe _ = rmdir(path)
  }

  private var names: [String] { ["a", "b", "s", "t"] }

  func file(_ name: String) -> String {
    precondition(names.contains(name))
    return "\(path)/\(name)"
  }
}

/// Runs `body` on a ring of its own and returns what it returns.
func onRing<Value: Sendable>(
  _ folder: TemporaryFolder? = nil,
  _ body: @escaping @Sendable (RingMachine) async throws -> Value
) throws -> Value {
  defer { withExtendedLifetime(folder) {} }
  let machine = try RingMachine()
  let result = Box<Value>()
  _ = machine.run {
    do {
      result.value = .success(try await body(machine))
    } catch {
      result.value = .failure(error)
    }
    return 0
  }
  return try #require(result.value).get()
}

/// Written on the ring's thread, read when it has ended: they are one.
private final class Box<Value>: @unchecked Sendable {
  var value: Result<Value, any Error>?
}

func memory(_ byteCount: Int, filledWith byte: UInt8 = 0) throws -> AlignedMemory {
  let memory = try #require(AlignedMemory(byteCount: byteCount))
  memory.buffer.fill(with: byte)
  return memory
}
