import Glibc
import IO
import Units

/// What is to be attached, and how.
package struct AttachRequest: Sendable {
  package var name: String
  package var address: NBDAddress
  /// Of the kernel's client; nil takes the first that is free.
  package var device: BlockDevice?
  package var usesFUSE: Bool
  package var connectionCount: Int
  package var maxRequestBytes: UInt64
  package var blockBytes: Int
  /// How long one request may take before the kernel's client gives the connection up, in seconds.
  package var requestTimeoutSeconds: UInt64
  package var isReadOnly: Bool

  package init(
    name: String, address: NBDAddress, device: BlockDevice?, usesFUSE: Bool,
    connectionCount: Int, maxRequestBytes: UInt64, blockBytes: Int,
    requestTimeoutSeconds: UInt64, isReadOnly: Bool
  ) {
    self.name = name
    self.address = address
    self.device = device
    self.usesFUSE = usesFUSE
    self.connectionCount = connectionCount
    self.maxRequestBytes = maxRequestBytes
    self.blockBytes = blockBytes
    self.requestTimeoutSeconds = requestTimeoutSeconds
    self.isReadOnly = isReadOnly
  }
}

/// Why attaching or detaching failed: what happened, to what, and what to do next.
package struct AttachError: Error, Equatable, Sendable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) {
    self.description = description
  }
}

/// Attaches devices to the host and detaches them.
///
/// Each step of attach pushes how it is undone; a failure undoes them in reverse order. Detach
/// looks at each part of an attachment as it is now and takes away what is still there, so that
/// it may be run again after a failure, after a crash of any part, and after a restart.
package struct Attachment {
  let directory: RuntimeDirectory
  let deadline: Deadline
  /// Takes a line about something unusual that is no failure.
  let note: (String) -> Void

  package init(
    directory: RuntimeDirectory, until deadline: Deadline, note: @escaping (String) -> Void
  ) {
    self.directory = directory
    self.deadline = deadline
    self.note = note
  }

  /// Whether the record's device still leads to what was attached.
  package static func isInPlace(_ record: AttachRecord) -> Bool {
    guard record.isOfThisBoot, let device = BlockDevice(path: record.device) else { return false }
    switch record.kind {
    case .kernel: return device.isConnected
    case .fuse: return device.backingFile == filePath(folder: record.folder)
    }
  }

  /// The file that nbdfuse shows, which the loop device lies on.
  static func filePath(folder: String) -> String { "\(folder)/disk" }

  /// Where nbdfuse is mounted.
  func fuseFolder(_ name: String) -> String { "\(directory.path)/\(name).fuse" }

  func logPath(_ name: String) -> String { "\(directory.path)/\(name).fuse.log" }

  /// Attaches, and writes the record.
  package func attach(_ request: AttachRequest) throws(AttachError) -> AttachRecord {
    guard geteuid() == 0 else {
      throw AttachError(
        "only root may attach a block device: run it with sudo; for a server of your own give the "
          + "URI, \(request.address.uri)")
    }
    let lock = try Lock(directory, until: deadline)
    defer { lock.release() }
    let recordPath: String
    do throws(RuntimeDirectoryError) {
      recordPath = try directory.attachRecordPath(request.name)
    } catch {
      throw AttachError(error.description)
    }
    if let record = AttachRecord.load(recordPath) ?? leftover(request.name) {
      try clearAway(record, recordPath)
    }
    let record: AttachRecord
    var undo = UndoList()
    do throws(AttachError) {
      record =
        request.usesFUSE
        ? try attachByFUSE(request, &undo) : try attachByKernel(request, &undo)
      limitRequests(record, request)
      do throws(SystemError) {
        try record.save(recordPath)
      } catch {
        throw AttachError("cannot write \(recordPath): \(error): make room or mend the folder")
      }
    } catch {
      undo.run()
      throw error
    }
    return record
  }

  /// Detaches what the record tells of, and removes it.
  ///
  /// - Returns: the device that was freed.
  package func detach(_ name: String, isForced: Bool) throws(AttachError) -> String {
    let lock = try Lock(directory, until: deadline)
    defer { lock.release() }
    let recordPath: String
    do throws(RuntimeDirectoryError) {
      recordPath = try directory.attachRecordPath(name)
    } catch {
      throw AttachError(error.description)
    }
    guard let record = AttachRecord.load(recordPath) ?? leftover(name) else {
      guard SmallFile.exists(recordPath) else {
        throw AttachError("\(name) is not attached")
      }
      throw AttachError(
        "\(recordPath) cannot be read or understood: look where the device is attached with "
          + "'losetup -l' and 'lsblk', detach it by hand, and remove the file")
    }
    guard record.isOfThisBoot else {
      note("\(name) was attached before the host was restarted: only its record was left")
      removeTraces(record, recordPath)
      return record.device
    }
    switch record.kind {
    case .fuse: try detachFromFUSE(record, isForced: isForced)
    case .kernel: try detachFromKernel(record, isForced: isForced)
    }
    removeTraces(record, recordPath)
    return record.device
  }

  /// What an attach that was killed on its way has left, if it left anything.
  private func leftover(_ name: String) -> AttachRecord? {
    let folder = fuseFolder(name)
    guard SmallFile.exists(folder) else { return nil }
    let device = BlockDevice.loops(on: Self.filePath(folder: folder)).first
    return AttachRecord(
      name: name, kind: .fuse, device: device?.path ?? "", byteCount: device?.byteCount ?? 0,
      isReadOnly: false, uri: "", folder: folder)
  }

  /// The name under which `text`, a name, a URI or a device, was attached.
  package func attachedName(_ text: String) throws(AttachError) -> String {
    if let address = NBDAddress(uri: text) { return address.recordName }
    guard text.hasPrefix("/") else { return text }
    let names: [String]
    do throws(RuntimeDirectoryError) {
      names = try directory.names(withEnding: "attach")
      for name in names {
        let record = AttachRecord.load(try directory.attachRecordPath(name))
        if record?.device == text { return name }
      }
    } catch {
      throw AttachError(error.description)
    }
    throw AttachError(
      "\(text) was not attached by ashlar: \(directory.path) has no record of it; "
        + "if it was attached with another runtime directory, set ASHLAR_RUNTIME_DIR to that")
  }

  /// Refuses when the device is attached already; takes away what an earlier attachment left.
  private func clearAway(_ record: AttachRecord, _ recordPath: String) throws(AttachError) {
    if Attachment.isInPlace(record) {
      let health =
        record.kind == .fuse
          && !ProcessFacts.isRunning(record.processID, startTicks: record.processStartTicks)
        ? ", though its nbdfuse has ended" : ""
      throw AttachError(
        "\(record.name) is attached already, as \(record.device)\(health): run "
          + "'ashlar detach \(record.name)' first")
    }
    note("removing what an earlier attachment of \(record.name) left")
    if record.kind == .fuse, record.isOfThisBoot {
      try unmountFUSE(record.folder, record, isForced: false)
    }
    removeTraces(record, recordPath)
  }

  private func removeTraces(_ record: AttachRecord, _ recordPath: String) {
    if record.kind == .fuse {
      unsafe _ = rmdir(record.folder)
      unsafe _ = unlink(logPath(record.name))
    }
    unsafe _ = unlink(recordPath)
  }

  private func limitRequests(_ record: AttachRecord, _ request: AttachRequest) {
    guard let device = BlockDevice(path: record.device),
      !device.limitRequests(byteCount: request.maxRequestBytes)
    else { return }
    note(
      "the kernel does not limit requests to \(ByteSize.format(request.maxRequestBytes)) on "
        + "\(record.device): larger ones may be torn by a crash")
  }

  /// Refuses while anything uses the device; with `isForced` unmounts its file systems.
  func releaseUses(_ device: BlockDevice, _ name: String, isForced: Bool) throws(AttachError) {
    if isForced {
      for folder in device.mountedFolders(.current()).reversed() {
        guard unsafe umount2(folder, 0) == 0 else {
          throw AttachError(
            "cannot unmount \(folder): \(SystemError.last): end what uses it ('fuser -vm "
              + "\(folder)' tells), then detach again")
        }
        note("unmounted \(folder)")
      }
    }
    let uses = device.uses()
    guard uses.isEmpty else {
      let isMounted = !device.mountedFolders(.current()).isEmpty
      let advice =
        isMounted && !isForced
        ? "end what uses it and 'umount' it, or let --force unmount it" : "end that first"
      throw AttachError(
        "\(name) is in use: \(device.path) is \(uses.joined(separator: ", ")): \(advice)")
    }
  }

  /// Runs a program and wants it to succeed.
  func run(_ program: Tool, _ arguments: [String]) throws(AttachError) -> String {
    let path = try program.path()
    let outcome: Subprocess.Outcome
    do throws(Subprocess.Failure) {
      outcome = try Subprocess.run(path, arguments, until: deadline)
    } catch {
      throw AttachError(error)
    }
    guard outcome.status == 0 else {
      throw AttachError("\(program.name) failed: \(outcome.reason)")
    }
    return outcome.output
  }

  /// The size that the server gives the export.
  func exportByteCount(_ address: NBDAddress) throws(AttachError) -> UInt64 {
    let path = try Tool.nbdinfo.path()
    let outcome: Subprocess.Outcome
    do throws(Subprocess.Failure) {
      outcome = try Subprocess.run(path, ["--size", "--", address.uri], until: deadline)
    } catch .timedOut {
      throw AttachError(
        "the server at \(address.uri) does not answer: 'ashlar status' may tell why")
    } catch {
      throw AttachError("cannot run \(path): \(error)")
    }
    let text = outcome.output.split { $0 == "\n" }.first.map(String.init) ?? ""
    guard outcome.status == 0, let byteCount = UInt64(text) else {
      throw AttachError(
        "the server at \(address.uri) does not let us in: \(outcome.reason): check with "
          + "'ashlar status' and 'nbdinfo'")
    }
    return byteCount
  }
}

/// Steps that undo what was done, run in reverse order.
struct UndoList {
  private var steps: [() -> Void] = []

  mutating func add(_ step: @escaping () -> Void) { steps.append(step) }

  mutating func run() {
    while let step = steps.popLast() { step() }
  }
}

/// A program of another package that attach needs.
struct Tool {
  let name: String
  let package: String

  static let nbdfuse = Tool(name: "nbdfuse", package: "libnbd-bin")
  static let nbdinfo = Tool(name: "nbdinfo", package: "libnbd-bin")
  static let fusermount = Tool(name: "fusermount3", package: "fuse3")
  static let losetup = Tool(name: "losetup", package: "mount")
  static let nbdClient = Tool(name: "nbd-client", package: "nbd-client")

  var isInstalled: Bool { Subprocess.find(name) != nil }

  func path() throws(AttachError) -> String {
    guard let path = Subprocess.find(name) else {
      throw AttachError("\(name) is missing: install it, on Debian with 'apt install \(package)'")
    }
    return path
  }
}

extension AttachError {
  init(_ failure: Subprocess.Failure) {
    switch failure {
    case .cannotStart(let error): self.init("cannot start a program: \(error)")
    case .timedOut(let complaint):
      let words = complaint.split(separator: "\n").last.map { ": \($0)" } ?? ""
      self.init("a step took too long and was ended\(words): wait longer with --timeout")
    }
  }
}

/// One attach or detach at a time in a runtime directory, by a lock on the folder itself.
final class Lock {
  private let descriptor: Int32

  init(_ directory: RuntimeDirectory, until deadline: Deadline) throws(AttachError) {
    let descriptor = unsafe open(directory.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw AttachError("cannot open \(directory.path): \(SystemError.last)")
    }
    self.descriptor = descriptor
    guard deadline.wait(until: { flock(descriptor, LOCK_EX | LOCK_NB) == 0 }) else {
      close(descriptor)
      throw AttachError(
        "another attach or detach is at work in \(directory.path): wait for it, or longer with "
          + "--timeout")
    }
  }

  func release() { close(descriptor) }
}
