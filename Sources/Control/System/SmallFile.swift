import Glibc
package import IO

/// Reads and writes files that fit into memory: records, and what /proc and /sys say.
package enum SmallFile {
  /// All bytes of a file.
  ///
  /// - Parameters:
  ///   - path: a folder is refused, like whatever else cannot be read.
  ///   - byteCountMax: a larger file is refused with EFBIG.
  /// - Returns: its bytes.
  /// - Throws: the errno.
  package static func read(
    _ path: String, byteCountMax: Int = 4 << 20
  ) throws(SystemError) -> [UInt8] {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw SystemError.last }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    while bytes.count < byteCountMax {
      var result = 0
      // Safe: the closure's buffer has the capacity that read is told.
      let chunk = unsafe [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
        result = unsafe Glibc.read(descriptor, buffer.baseAddress, 65536)
        count = max(0, result)
      }
      if result == 0 { return bytes }
      if result < 0, errno != EINTR { throw SystemError.last }
      bytes += chunk
    }
    throw SystemError(EFBIG)
  }

  /// A file's text without white space at its end; nil when it cannot be read.
  package static func text(_ path: String) -> String? {
    guard var bytes = try? read(path) else { return nil }
    while let last = bytes.last, last == 10 || last == 32 { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// A file that holds one number.
  package static func number(_ path: String) -> UInt64? { text(path).flatMap { UInt64($0) } }

  /// Replaces a file as a whole: a reader sees the old or the new content.
  package static func replace(_ path: String, with bytes: [UInt8]) throws(SystemError) {
    try replace(path, with: bytes, isDurable: false)
  }

  /// The same; when it returns, the new content would survive power loss, and at every instant
  /// before either the old or the new one would.
  package static func replaceDurably(_ path: String, with bytes: [UInt8]) throws(SystemError) {
    try replace(path, with: bytes, isDurable: true)
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    guard synchronizeFolder(folder) else { throw SystemError.last }
  }

  /// Makes the names in a folder durable.
  ///
  /// - Returns: false, with errno set, when that failed.
  package static func synchronizeFolder(_ folder: String) -> Bool {
    // Safe: the path lives until the call returns.
    let descriptor = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    let result = fsync(descriptor)
    let error = errno
    close(descriptor)
    errno = error
    return result == 0
  }

  private static func replace(
    _ path: String, with bytes: [UInt8], isDurable: Bool
  ) throws(SystemError) {
    let temporary = "\(path).new"
    let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw SystemError.last }
    do throws(SystemError) {
      defer { close(descriptor) }
      try writeAll(bytes, to: descriptor)
      guard !isDurable || fsync(descriptor) == 0 else { throw SystemError.last }
    } catch {
      unsafe _ = unlink(temporary)
      throw error
    }
    guard unsafe rename(temporary, path) == 0 else {
      let error = SystemError.last
      unsafe _ = unlink(temporary)
      throw error
    }
  }

  /// Writes to a file that exists, such as a setting in /sys, with one call.
  package static func overwrite(_ path: String, with text: String) throws(SystemError) {
    let descriptor = unsafe open(path, O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw SystemError.last }
    defer { close(descriptor) }
    try writeAll(Array(text.utf8), to: descriptor)
  }

  /// Removes a file; one that is not there is no error.
  package static func remove(_ path: String) {
    // Safe: the path lives until the call returns.
    unsafe _ = unlink(path)
  }

  /// Whether anything has this path; a symbolic link counts.
  package static func exists(_ path: String) -> Bool {
    var status = stat()
    return unsafe lstat(path, &status) == 0
  }

  /// Whether nothing has this path for sure: what lies in a folder that may not be searched is not
  /// known.
  package static func isMissing(_ path: String) -> Bool {
    var status = stat()
    return unsafe lstat(path, &status) != 0 && errno == ENOENT
  }

  /// The names in a folder, sorted; empty when it cannot be read.
  package static func names(in folder: String) -> [String] {
    guard let stream = unsafe opendir(folder) else { return [] }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    // Safe: the entry is valid until the next readdir; d_name ends with a zero byte.
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// A path with the working directory in front, unless it has one; links stay.
  package static func absolute(_ path: String) -> String {
    // Safe: getcwd allocates the text, which is copied and freed.
    guard !path.hasPrefix("/"), let folder = unsafe getcwd(nil, 0) else { return path }
    defer { unsafe free(folder) }
    return unsafe "\(String(cString: folder))/\(path)"
  }

  /// What a symbolic link says; nil when it is none.
  package static func linkTarget(_ path: String) -> String? {
    // Safe: readlink fills at most the capacity that it is told.
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
      count = unsafe buffer.withMemoryRebound(to: CChar.self) { text in
        guard let start = text.baseAddress else { return 0 }
        return max(0, unsafe readlink(path, start, 4096))
      }
    }
    return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
  }

  /// Writes all bytes where the descriptor stands.
  package static func writeAll(
    _ bytes: [UInt8], to descriptor: Int32
  ) throws(SystemError) {
    var done = 0
    while done < bytes.count {
      // Safe: the pointer covers the rest of `bytes` and is not kept.
      let count = unsafe bytes[done...].withUnsafeBytes { rest in
        unsafe Glibc.write(descriptor, rest.baseAddress, rest.count)
      }
      if count > 0 {
        done += count
      } else if errno != EINTR {
        throw SystemError.last
      }
    }
  }
}
