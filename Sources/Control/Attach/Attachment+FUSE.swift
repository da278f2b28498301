import Glibc
import IO

// nbdfuse shows the export as a file, a loop device makes the file a block device.

extension Attachment {
  func attachByFUSE(
    _ request: AttachRequest, _ undo: inout UndoList
  ) throws(AttachError) -> AttachRecord {
    for tool in [Tool.nbdfuse, .nbdinfo, .fusermount, .losetup] { _ = try tool.path() }
    guard SmallFile.exists("/dev/fuse") else {
      throw AttachError("there is no /dev/fuse: load the kernel's module with 'modprobe fuse'")
    }
    guard SmallFile.exists("/dev/loop-control") else {
      throw AttachError(
        "there is no /dev/loop-control: load the kernel's module with 'modprobe loop'")
    }
    let byteCount = try exportByteCount(request.address)
    guard byteCount >= UInt64(request.blockBytes) else {
      throw AttachError(
        "the export has \(byteCount) bytes, less than one block of \(request.blockBytes)")
    }
    let folder = fuseFolder(request.name)
    try makeFolder(folder, &undo)

    let log = logPath(request.name)
    let processID = try startNBDFUSE(request, folder, log)
    // Read from its own process table entry, while it cannot have been replaced: we are its
    // parent and have not collected it.
    let ticks = ProcessFacts(processID: processID)?.startTicks ?? 0
    undo.add {
      unsafe _ = unlink(log)
    }
    undo.add { endProcess(processID, startTicks: ticks) }
    undo.add { _ = unmountQuietly(folder) }

    let file = Self.filePath(folder: folder)
    try waitForFile(file, byteCount: byteCount, processID, log)
    let device = try makeLoop(request, file)
    undo.add { freeLoop(device) }
    let usable = byteCount / UInt64(request.blockBytes) * UInt64(request.blockBytes)
    guard deadline.wait(until: { device.byteCount == usable }) else {
      throw AttachError(
        "\(device.path) has \(device.byteCount) bytes instead of \(usable): something else changed it"
      )
    }
    if usable < byteCount {
      note("the last \(byteCount - usable) bytes do not fill a block and cannot be reached")
    }
    return AttachRecord(
      name: request.name, kind: .fuse, device: device.path, byteCount: usable,
      isReadOnly: request.isReadOnly, uri: request.address.uri, folder: folder,
      processID: processID, processStartTicks: ticks)
  }

  func detachFromFUSE(_ record: AttachRecord, isForced: Bool) throws(AttachError) {
    // A loop device that leads elsewhere by now is somebody else's.
    if let device = BlockDevice(path: record.device),
      device.backingFile == Self.filePath(folder: record.folder)
    {
      try releaseUses(device, record.name, isForced: isForced)
      _ = try run(.losetup, ["--detach", device.path])
      // losetup only asks: the device is free when its last user has closed it.
      let isFree = { device.backingFile != Self.filePath(folder: record.folder) }
      if !deadline.wait(until: isFree), isForced {
        // Requests that wait for a server which does not answer end with an error.
        endProcess(record.processID, startTicks: record.processStartTicks)
        note("killed nbdfuse, process \(record.processID)")
        _ = Deadline(afterNanoseconds: 5_000_000_000).wait(until: isFree)
      }
      guard isFree() else {
        let uses = device.uses().joined(separator: ", ")
        throw AttachError(
          "\(device.path) is not free yet "
            + "(\(uses.isEmpty ? "requests may be waiting for the server" : uses)): end what uses "
            + "it, or use --force, then run 'ashlar detach \(record.name)' again")
      }
    }
    try unmountFUSE(record.folder, record, isForced: isForced)
  }

  /// Unmounts nbdfuse's folder, if it is mounted, and waits for nbdfuse to end.
  func unmountFUSE(
    _ folder: String, _ record: AttachRecord, isForced: Bool
  ) throws(AttachError) {
    var reason = ""
    var isUnmounted = false
    while true {
      guard MountTable.current().mount(on: folder)?.fileSystem.hasPrefix("fuse") == true else {
        isUnmounted = true
        break
      }
      reason = unmountQuietly(folder)
      if reason.isEmpty { continue }
      if deadline.hasPassed { break }
      Deadline.pause(milliseconds: 50)
    }
    let isRunning = {
      ProcessFacts.isRunning(record.processID, startTicks: record.processStartTicks)
    }
    if isUnmounted, deadline.wait(until: { !isRunning() }) { return }
    guard isForced else {
      let what =
        isUnmounted
        ? "nbdfuse (process \(record.processID)) does not end"
        : "cannot unmount \(folder): \(reason)"
      throw AttachError("\(what): end what uses it and detach again, or kill it with --force")
    }
    // What waits in a dead FUSE file system gets an error, and the folder can be unmounted.
    if isRunning() {
      endProcess(record.processID, startTicks: record.processStartTicks)
      note("killed nbdfuse, process \(record.processID)")
    }
    guard MountTable.current().mount(on: folder) != nil else { return }
    reason = unmountQuietly(folder)
    guard reason.isEmpty else { throw AttachError("cannot unmount \(folder): \(reason)") }
  }

  private func makeFolder(_ folder: String, _ undo: inout UndoList) throws(AttachError) {
    guard unsafe mkdir(folder, 0o700) == 0 || errno == EEXIST else {
      throw AttachError("cannot create \(folder): \(SystemError.last)")
    }
    guard SmallFile.names(in: folder).isEmpty else {
      throw AttachError("\(folder) is not empty: look what it holds, and remove it")
    }
    undo.add { unsafe _ = rmdir(folder) }
  }

  private func startNBDFUSE(
    _ request: AttachRequest, _ folder: String, _ log: String
  ) throws(AttachError) -> Int32 {
    var arguments = ["-C", "\(request.connectionCount)"]
    if request.isReadOnly { arguments.append("-r") }
    arguments += [Self.filePath(folder: folder), request.address.uri]
    do throws(Subprocess.Failure) {
      return try Subprocess.startDetached(
        try Tool.nbdfuse.pathOrName(), arguments, logPath: log)
    } catch {
      throw AttachError(error)
    }
  }

  /// Waits until the file is nbdfuse's own and has its size: losetup would take any file.
  private func waitForFile(
    _ file: String, byteCount: UInt64, _ processID: Int32, _ log: String
  ) throws(AttachError) {
    var end: Int32?
    let appeared = deadline.wait {
      end = Subprocess.collect(processID)
      if end != nil { return true }
      var status = stat()
      return unsafe stat(file, &status) == 0 && UInt64(clamping: status.st_size) == byteCount
    }
    let said = SmallFile.text(log).flatMap { $0.split(separator: "\n").last.map(String.init) }
    if let end {
      throw AttachError("nbdfuse ended: \(said ?? "status \(end)"): check the server and its URI")
    }
    guard appeared else {
      throw AttachError(
        "nbdfuse did not show \(file) with \(byteCount) bytes in time\(said.map { ": \($0)" } ?? "")"
          + ": check the server, or wait longer with --timeout")
    }
  }

  private func makeLoop(
    _ request: AttachRequest, _ file: String
  ) throws(AttachError) -> BlockDevice {
    var arguments = ["--find", "--show", "--direct-io=on"]
    if request.isReadOnly { arguments.append("--read-only") }
    arguments += ["--sector-size", "\(request.blockBytes)", file]
    let output = try run(.losetup, arguments)
    let path = output.split { $0 == "\n" }.first.map(String.init) ?? ""
    guard let device = BlockDevice(path: path) else {
      throw AttachError("losetup printed '\(path)' instead of a loop device")
    }
    return device
  }

  private func freeLoop(_ device: BlockDevice) {
    guard let path = Subprocess.find(Tool.losetup.name) else { return }
    let limit = Deadline(afterNanoseconds: 5_000_000_000)
    _ = try? Subprocess.run(path, ["--detach", device.path], until: limit)
    _ = limit.wait { device.backingFile == nil }
  }

  /// - Returns: why not; empty when it is done.
  private func unmountQuietly(_ folder: String) -> String {
    guard let path = Subprocess.find(Tool.fusermount.name) else {
      return unsafe umount2(folder, 0) == 0 ? "" : SystemError.last.description
    }
    let limit = Deadline(afterNanoseconds: 5_000_000_000)
    do throws(Subprocess.Failure) {
      let outcome = try Subprocess.run(path, ["-u", folder], until: limit)
      return outcome.status == 0 ? "" : outcome.reason
    } catch {
      return AttachError(error).description
    }
  }

  /// Gives a process two seconds to end by itself, then kills it.
  private func endProcess(_ processID: Int32, startTicks: UInt64) {
    let hasEnded = {
      _ = Subprocess.collect(processID)
      return !ProcessFacts.isRunning(processID, startTicks: startTicks)
    }
    for signal in [SIGTERM, SIGKILL] {
      if hasEnded() { return }
      kill(processID, signal)
      if Deadline(afterNanoseconds: 2_000_000_000).wait(until: hasEnded) { return }
    }
  }
}

extension Tool {
  /// For programs that were found before.
  fileprivate func pathOrName() throws(Subprocess.Failure) -> String {
    guard let path = Subprocess.find(name) else { throw .cannotStart(SystemError(ENOENT)) }
    return path
  }
}
