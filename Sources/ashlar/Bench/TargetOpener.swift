import Bench
import Control
import Glibc
import IO
import NBDClient
import Ring
import Units

/// Opens what jobs work on, each file once and each connection for its own job.
actor TargetOpener {
  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe machine.unownedExecutor }

  private nonisolated let machine: RingMachine
  private let timeoutNanoseconds: UInt64
  private let note: @Sendable (String) -> Void
  private var files: [String: (target: DiskTarget<RingDisk>, isDirect: Bool)] = [:]
  private var opened: [any BenchTarget] = []
  private var createdPaths: [String] = []
  /// To NBD servers, of all jobs.
  private var connectionCount = 0

  init(
    machine: RingMachine, timeoutNanoseconds: UInt64, note: @escaping @Sendable (String) -> Void
  ) {
    self.machine = machine
    self.timeoutNanoseconds = timeoutNanoseconds
    self.note = note
  }

  /// The targets of a job's clones.
  ///
  /// `all` is every job of the run: a file is opened once for all that share it.
  func open(
    _ job: JobOptions, _ choice: TargetChoice, among all: [(JobOptions, TargetChoice)]
  ) async throws(BenchError) -> [any BenchTarget] {
    switch choice {
    case .export(let address):
      if !job.isDirect {
        note("direct=0 makes no difference to \(address.uri): its server decides")
      }
      var targets: [any BenchTarget] = []
      for _ in 0..<job.jobCount { targets.append(try await connect(job, address)) }
      return targets
    case .path(let path):
      if job.connectionCount > 1 {
        throw BenchError(
          "--connections is for NBD targets, and \(path) is a file or block device",
          isUsage: true)
      }
      let sharing = all.filter { $0.1 == choice }.map(\.0)
      let target = try await openFile(path, sharing)
      return [any BenchTarget](repeating: target, count: job.jobCount)
    }
  }

  /// Closes everything.
  func close() async {
    for target in opened { await target.close() }
    opened = []
  }

  /// Closes everything, and removes the files made for a run that does not begin.
  func undo() async {
    await close()
    // Safe: each path lives until its call returns.
    for path in createdPaths { unsafe _ = unlink(path) }
  }

  // MARK: Exports

  private func connect(
    _ job: JobOptions, _ address: NBDAddress
  ) async throws(BenchError) -> any BenchTarget {
    var options = ClientOptions(exportName: address.export)
    options.requestNanoseconds = timeoutNanoseconds
    options.handshakeNanoseconds = min(timeoutNanoseconds, options.handshakeNanoseconds)
    options.requestCountMax = max(1, job.ioDepth)
    var clients: [NBDClient<RingMachine>] = []
    do throws(BenchError) {
      for _ in 0..<job.connectionCount {
        let client = try await connectOnce(address, options)
        connectionCount += 1
        clients.append(client)
        if let problem = NBDTarget<RingMachine>.objection(to: job, on: client.export) {
          throw BenchError("\(address.uri): \(problem)")
        }
      }
    } catch {
      for client in clients { await client.close() }
      throw error
    }
    if let caution = NBDTarget<RingMachine>.caution(for: job, on: clients[0].export) {
      note(caution)
    }
    let target = NBDTarget(clients: clients, description: address.uri)
    opened.append(target)
    return target
  }

  private func connectOnce(
    _ address: NBDAddress, _ options: ClientOptions
  ) async throws(BenchError) -> NBDClient<RingMachine> {
    let stream: RingStream
    let patience = min(timeoutNanoseconds, 10_000_000_000)
    do throws(DialError) {
      switch address.transport {
      case .unix(let path):
        stream = try await machine.connect(toUnixPath: path, nanosecondsMax: patience)
      case .tcp(let host, let port):
        stream = try await machine.connect(toHost: host, port: port, nanosecondsMax: patience)
      case .other: throw DialError.unresolved(name: address.uri, reason: "unknown transport")
      }
    } catch {
      throw BenchError("\(address.uri): \(error.explanation)")
    }
    do throws(ClientError) {
      return try await NBDClient.connect(over: stream, options: options, machine: machine)
    } catch {
      let limit =
        connectionCount == 0
        ? ""
        : "; this run has opened \(connectionCount) before: it may allow no more connections "
          + "(ashlar serve: --max-connections)"
      throw BenchError("\(address.uri): \(error.explanation)\(limit)")
    }
  }

  // MARK: Files

  private func openFile(
    _ path: String, _ jobs: [JobOptions]
  ) async throws(BenchError) -> DiskTarget<RingDisk> {
    let wantsDirect = jobs.contains { $0.isDirect }
    if let known = files[path] { return known.target }
    guard jobs.allSatisfy({ $0.isDirect == wantsDirect }) else {
      throw BenchError("\(path): jobs that share a file must agree on --direct", isUsage: true)
    }
    let options = try fileOptions(path, jobs)
    do throws(FileOpeningError) {
      let (disk, byteCount) = try await machine.openDisk(path: path, options: options)
      if let created = options.createByteCount {
        createdPaths.append(path)
        note("created \(path) with \(ByteSize.formatExactly(created)); it stays when the run ends")
      }
      if wantsDirect, !disk.isDirect {
        note("\(path) cannot be opened for direct I/O: the page cache is measured with it")
      }
      let kind = disk.properties.isBlockDevice ? "block device" : "file"
      let target = DiskTarget(
        disk: disk, byteCount: byteCount,
        description: "\(kind) \(path) (\(disk.isDirect ? "direct" : "buffered"))")
      files[path] = (target, disk.isDirect)
      opened.append(target)
      return target
    } catch {
      throw BenchError(Self.explanation(error, path, options))
    }
  }

  private func fileOptions(
    _ path: String, _ jobs: [JobOptions]
  ) throws(BenchError) -> FileOptions {
    let caching: FileOptions.Caching =
      jobs.contains { $0.isDirect } ? .directIfPossible : .buffered
    // Of a folder that may not be searched nothing is known: the attempt to open says why.
    guard SmallFile.isMissing(path) else {
      return FileOptions(isReadOnly: !jobs.contains { $0.changesTarget }, caching: caching)
    }
    guard jobs.contains(where: \.writes) else {
      let what =
        path.contains("/") ? "no such file" : "no device of that name is served, and no file"
      throw BenchError("\(path): \(what) exists: there is nothing to read")
    }
    var byteCount: UInt64 = 0
    for job in jobs {
      let (end, overflow) = job.offsetBytes.addingReportingOverflow(job.regionByteCount ?? 0)
      if !overflow { byteCount = max(byteCount, end) }
    }
    guard byteCount > 0, jobs.contains(where: { $0.regionByteCount != nil }) else {
      throw BenchError("\(path) does not exist: give --size=SIZE to have it created")
    }
    return FileOptions(isReadOnly: false, caching: caching, createByteCount: byteCount)
  }

  private static func explanation(
    _ error: FileOpeningError, _ path: String, _ options: FileOptions
  ) -> String {
    switch error {
    case .empty:
      "\(path) is empty: remove it and give --size=SIZE to have it created"
    case .inUse:
      "\(path) is in use: served or measured by another process (see 'ashlar status'), mounted, or "
        + "part of another device (see 'lsblk'). Nothing was read or written"
    default: error.explanation(path: path, options: options)
    }
  }
}
