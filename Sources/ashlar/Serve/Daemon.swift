import CSystemd
import Control
import DiskFormat
import Glibc
import IO
import NBDServer
import RAID
import Replication
import Ring
import Units
import Volumes

/// The serving process: opens what the settings name, wires it up, and waits for the end.
actor Daemon {
  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe machine.unownedExecutor }

  private nonisolated let machine: RingMachine
  private var settings: ServeSettings
  private let signals: SignalStream
  private let logWriter: LogWriter
  private let log: ServerLog
  private var stopIsWanted = WaitPoint()
  private var stopWasRequested = false

  /// Makes a daemon; `signals` is made before, so that threads started here have them blocked.
  init(machine: RingMachine, settings: ServeSettings, signals: SignalStream) {
    self.machine = machine
    self.settings = settings
    self.signals = signals
    let logWriter = LogWriter()
    self.logWriter = logWriter
    log = ServerLog { level, line in
      logWriter.write("ashlar: \(level == .notice ? "" : "\(level.rawValue): ")\(line)")
    }
  }

  /// Serves until asked to stop.
  ///
  /// - Returns: the process's exit code.
  func run() async -> Int32 {
    defer { logWriter.drain(millisecondsMax: 1000) }
    do throws(StartError) {
      var array: PreparedArray?
      if case .array(let source) = settings.source, settings.server.name.isEmpty {
        // Only the members know the name.
        let prepared = try await prepare(source)
        settings.server.name = prepared.name
        array = prepared
      }
      // The name first: a second server of it must neither create a file nor touch a socket.
      let claim = try claimName()
      defer { claim.lock.release() }
      // Then the sockets: a start that fails must not have created a file.
      let doors = try await openDoors(claim.directory)
      do throws(StartError) {
        return try await serveSource(doors, array)
      } catch {
        for listener in [doors.control] + doors.exports + doors.replication {
          await listener.close()
        }
        throw error
      }
    } catch {
      Complaint.print(command: "serve", error.message)
      return ExitCode.failure
    }
  }

  private func serveSource(
    _ doors: Doors, _ array: PreparedArray?
  ) async throws(StartError) -> Int32 {
    switch settings.source {
    case .memory(let byteCount):
      guard let volume = MemoryVolume(byteCount: byteCount) else {
        throw StartError("no address space for \(ByteSize.format(byteCount)) of memory")
      }
      return await serve(volume, doors)
    case .file(let path, let options):
      return await serve(try await openFile(path, options), doors)
    case .array(let source):
      let prepared: PreparedArray
      if let array { prepared = array } else { prepared = try await prepare(source) }
      return try await serveArray(prepared, doors, source)
    }
  }

  // MARK: Arrays

  private func prepare(_ source: ArraySource) async throws(StartError) -> PreparedArray {
    do throws(MemberError) {
      return try await PreparedArray(source, on: machine, log: log)
    } catch {
      throw StartError(error.message)
    }
  }

  /// A start that fails leaves the members to the end of the process, which comes at once.
  private func serveArray(
    _ array: PreparedArray, _ doors: Doors, _ source: ArraySource
  ) async throws(StartError) -> Int32 {
    let log = log
    let recorder = ArrayRecorder(places: array.places, machine: machine, log: log)
    let scrubs = ScrubKeeper(array, log)
    let pauses = RebuildPauseKeeper(array, machine, log)
    var options = array.options
    options.rebuildIsPaused = pauses?.wasPaused ?? false
    options.scrubState = scrubs?.state
    options.unixSeconds = { UInt64(max(0, time(nil))) }
    let volume: ArrayVolume<RingMachine, MemberDisk>
    do throws(ArrayStartError) {
      volume = try await ArrayEngine.start(
        members: array.members.handles, machine: machine, options: options,
        log: { log(ServerLog.Level($0), $1) }, record: { await recorder?.record($0) },
        keepScrub: { scrubs?.keep($0) })
    } catch {
      throw StartError(error.explanation)
    }
    let engine = volume.engine
    let undo = try await openUndo(source, engine)
    let watch = MemberWatch(engine, machine: machine, log: log)
    await recorder?.tell(watch)
    await watch.start(array.watchedPlaces)
    let replicas = ReplicaDesk(
      engine, machine: machine, advertised: source.advertisedAddress, undo: undo,
      log: { log(.notice, $0) })
    let desk = ArrayDesk(
      engine, watch: watch, recorder: recorder, pauses: pauses, replicas: replicas,
      neededByteCount: array.neededByteCount, machine: machine, log: { log(.warning, $0) })
    if let path = source.arbiterPath {
      let arbiter = ArbiterDesk(
        file: ArbiterFile(path), machine: machine,
        nanosecondsMax: options.arbiterDeadlineNanoseconds, log: { log(.warning, $0) })
      await engine.setArbiter { await arbiter.ask($0) }
    }
    await replicas.node.start()
    for listener in doors.replication { await replicas.node.listen(at: listener) }
    let code = await serve(
      volume, doors,
      ArrayControl(
        status: { await replicas.complete(await engine.status) },
        perform: { await desk.perform($0) }))
    await replicas.node.stop()
    await watch.stop()
    recorder?.drain()
    scrubs?.drain()
    return code
  }

  /// Opens the file that keeps what a copy overwrites, or makes it.
  private func openUndo(
    _ source: ArraySource, _ engine: ArrayEngine<RingMachine, MemberDisk>
  ) async throws(StartError) -> UndoRegion<MemberDisk>? {
    guard let path = source.undoPath else { return nil }
    let isMissing = SmallFile.isMissing(path)
    let options = FileOptions(createByteCount: isMissing ? source.undoByteCount : nil)
    let (disk, byteCount): (RingDisk, UInt64)
    do throws(FileOpeningError) {
      (disk, byteCount) = try await machine.openDisk(path: path, options: options)
    } catch {
      throw StartError("--undo: " + error.explanation(path: path, options: options))
    }
    do throws(UndoError) {
      return try await UndoRegion(
        .file(disk), byteCount: byteCount, arrayID: await engine.nodeView.nodeID)
    } catch {
      await disk.close()
      throw StartError("--undo \(path): \(error.words)")
    }
  }

  private func openFile(
    _ path: String, _ options: FileOptions
  ) async throws(StartError) -> sending FileVolume<RingMachine> {
    let disk: RingDisk
    let byteCount: UInt64
    do throws(FileOpeningError) {
      (disk, byteCount) = try await machine.openDisk(path: path, options: options)
    } catch {
      throw StartError(error.explanation(path: path, options: options))
    }
    if !options.isReadOnly { try await refuseMember(path, disk, byteCount) }
    let kind =
      (disk.properties.isBlockDevice ? "block device " : "file ") + SmallFile.absolute(path)
      + (disk.isDirect ? " (direct)" : " (buffered)")
    return FileVolume(
      disk: disk, byteCount: byteCount, kind: kind, isReadOnly: options.isReadOnly,
      machine: machine)
  }

  /// An array's member is no plain device: writes would go past the array's log and checksums.
  private func refuseMember(
    _ path: String, _ disk: RingDisk, _ byteCount: UInt64
  ) async throws(StartError) {
    let report = await MemberReport.read(
      MemberHandle(name: path, disk: disk, byteCount: byteCount))
    guard let found = report.newest else { return }
    await disk.close()
    throw StartError(
      "\(path) is a member of array '\(found.name)' (slot \(found.slot)): what is written to it "
        + "here would go past the array's log and checksums. Serve the array ('ashlar serve "
        + "\(found.name)', or its members), or look at this one with --read-only")
  }

  private func claimName() throws(StartError) -> NameClaim {
    do throws(NameClaim.Refusal) {
      var alternative = "choose another --name"
      if case .array = settings.source {
        alternative = "stop the other one: an array goes by the name that it was created with"
      }
      return try NameClaim(settings.server.name, alternative: alternative)
    } catch {
      throw StartError(error.message)
    }
  }

  /// The listening sockets of one server.
  private struct Doors {
    let control: RingListener
    let exports: [RingListener]
    /// For other nodes with the same device.
    var replication: [RingListener] = []
  }

  private func openDoors(_ directory: RuntimeDirectory) async throws(StartError) -> Doors {
    let controlPath: String
    do throws(RuntimeDirectoryError) {
      controlPath = try directory.controlSocketPath(settings.server.name)
    } catch {
      throw StartError(error.description)
    }
    let control = try listenUnix(
      controlPath, mode: 0o600, inUse: "somebody else listens at \(controlPath)")
    do throws(StartError) {
      let exports = try openListeners(directory)
      do throws(StartError) {
        return Doors(control: control, exports: exports, replication: try openReplication())
      } catch {
        for listener in exports { await listener.close() }
        throw error
      }
    } catch {
      await control.close()
      throw error
    }
  }

  private func serve<Served: Volume>(
    _ volume: sending Served, _ doors: Doors, _ array: ArrayControl? = nil
  ) async -> Int32 {
    let traits = volume.traits
    let server = NBDServer(
      volume: volume, options: limited(settings.server), machine: machine, log: log)
    for listener in doors.exports { await server.listen(at: listener) }
    let control = ControlServer(
      machine: machine, listener: doors.control,
      target: DeviceControl(server: server, daemon: self, array: array))
    let controlTask = Task(executorPreference: machine) { await control.run() }
    Task(executorPreference: machine) { await self.stopAtSignal() }
    announce(traits, doors.exports)
    await waitForStop()
    unsafe _ = sd_notify(0, "STOPPING=1")
    let complaint = await server.stop()
    await control.stop(complaint: complaint)
    await controlTask.value
    if let complaint {
      log(.error, complaint)
      return ExitCode.failure
    }
    log(.notice, "\(settings.server.name) is stopped; \(settings.source.fateAtEnd)")
    return ExitCode.success
  }

  private func announce(_ traits: VolumeTraits, _ listeners: [RingListener]) {
    let places = listeners.map(\.localDescription).joined(separator: " ")
    log(
      .notice,
      "serving \(settings.server.name), \(ByteSize.format(traits.byteCount)) of \(traits.kind)"
        + "\(traits.isReadOnly ? ", read-only" : ""), at \(places)")
    // Safe: a literal; libsystemd copies it.
    unsafe _ = sd_notify(0, "READY=1")
  }

  /// Leaves descriptors for the control socket and for what the process opens itself.
  private func limited(_ options: ServerOptions) -> ServerOptions {
    var options = options
    var limit = rlimit()
    // Safe: `limit` lives until the call returns.
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
      return options
    }
    let available = Int(min(limit.rlim_cur, 1 << 20)) - 32
    if available < options.connectionCountMax {
      options.connectionCountMax = max(1, available)
      log(
        .warning,
        "only \(limit.rlim_cur) descriptors are allowed (ulimit -n): at most "
          + "\(options.connectionCountMax) clients are served at once")
    }
    return options
  }

  // MARK: Listening

  private func openListeners(
    _ directory: RuntimeDirectory
  ) throws(StartError) -> [RingListener] {
    var listeners = try inheritedListeners()
    var addresses = settings.listen
    if addresses.isEmpty && listeners.isEmpty {
      do throws(RuntimeDirectoryError) {
        addresses = [.unix(path: try directory.blockSocketPath(settings.server.name))]
      } catch {
        throw StartError(error.description)
      }
    }
    for address in addresses {
      switch address {
      case .unix(let path):
        listeners.append(
          try listenUnix(
            path, mode: settings.socketMode,
            inUse: "somebody already listens at unix:\(path): choose another --listen, or end that "
              + "server ('ashlar status' lists those of this runtime directory)"))
      case .tcp(let host, let port):
        listeners += try listenTCP(host, port, address)
      }
    }
    for listener in listeners where listener.isBeyondLoopback {
      guard settings.allowsPlainTCP else {
        throw StartError(
          "\(listener.localDescription): "
            + ListenError.beyondLoopback(address: listener.localDescription).explanation)
      }
      log(
        .warning,
        "--insecure-plain: \(listener.localDescription) is open to everyone who can reach it, "
          + "without encryption or password")
    }
    return listeners
  }

  private func openReplication() throws(StartError) -> [RingListener] {
    guard case .array(let source) = settings.source, let address = source.replicationAddress else {
      return []
    }
    switch address {
    case .unix(let path):
      return [
        try listenUnix(
          path, mode: settings.socketMode,
          inUse: "somebody already listens at unix:\(path): choose another --replication")
      ]
    case .tcp(let host, let port): return try listenTCP(host, port, address)
    }
  }

  private func inheritedListeners() throws(StartError) -> [RingListener] {
    let count = sd_listen_fds(1)
    guard count >= 0 else { throw StartError("LISTEN_FDS: \(SystemError(-count))") }
    var listeners: [RingListener] = []
    for descriptor in 3..<3 + count {
      guard let listener = machine.adoptListener(descriptor) else {
        throw StartError(
          "the socket passed as descriptor \(descriptor) is not a listening stream socket: check "
            + "the socket unit (ListenStream=)")
      }
      listeners.append(listener)
    }
    return listeners
  }

  private func listenUnix(
    _ path: String, mode: UInt32, inUse: String
  ) throws(StartError) -> RingListener {
    do throws(ListenError) {
      return try machine.listen(unixPath: path, mode: mode)
    } catch {
      throw StartError(
        error == .inUse ? inUse : "unix:\(path): \(error.explanation)")
    }
  }

  private func listenTCP(
    _ host: String, _ port: UInt16, _ address: ListenAddress
  ) throws(StartError) -> [RingListener] {
    do throws(ListenError) {
      return try machine.listen(
        host: host, port: "\(port)", isLoopbackOnly: !settings.allowsPlainTCP)
    } catch {
      throw StartError("\(address): \(error.explanation)")
    }
  }

  // MARK: Stopping

  func requestStop() {
    stopWasRequested = true
    stopIsWanted.signal()
  }

  private func waitForStop() async {
    guard !stopWasRequested else { return }
    // Safe: resumed once, by `requestStop`.
    unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      unsafe stopIsWanted.put(continuation)
    }
  }

  private func stopAtSignal() async {
    while let signal = await signals.next() {
      log(.notice, "signal \(signal): stopping")
      requestStop()
    }
  }
}

/// What the control socket reaches.
private struct DeviceControl<Served: Volume>: ControlTarget {
  let server: NBDServer<RingMachine, Served>
  let daemon: Daemon
  let array: ArrayControl?

  func status() async -> ServerStatus { await server.status() }
  func arrayStatus() async -> ArrayStatus? { await array?.status() }
  func requestStop() async { await daemon.requestStop() }

  func perform(_ order: ArrayOrder) async -> Result<OrderOutcome, ControlRefusal> {
    guard let array else { return .failure(.isPlainDevice) }
    return await array.perform(order)
  }
}

/// What it reaches of an array.
private struct ArrayControl: Sendable {
  let status: @Sendable () async -> ArrayStatus
  let perform: @Sendable (ArrayOrder) async -> Result<OrderOutcome, ControlRefusal>
}

/// Why nothing is served, for the operator.
private struct StartError: Error {
  let message: String

  init(_ message: String) {
    self.message = message
  }
}
