import Control
import IO
import NBDClient
import RAID
import Ring
import Units

/// Why a member cannot be opened, for the operator.
struct MemberError: Error, Equatable {
  let message: String
  /// Somebody else uses it: it is there, and it is not to be done without.
  let isInUse: Bool

  init(_ message: String, isInUse: Bool = false) {
    self.message = message
    self.isInUse = isInUse
  }
}

/// A member that has been opened.
struct OpenMember: Sendable {
  let place: MemberPlace
  let handle: MemberHandle<MemberDisk>
  /// The file was made for this.
  let wasCreated: Bool
  /// Somebody else uses it: it was opened to be looked at only.
  var isInUse = false
  /// What an operator should know, in a sentence; nil for nothing.
  let note: String?
}

/// Opens members, by path or URI.
struct MemberOpener: Sendable {
  enum Purpose: Equatable, Sendable {
    /// To be read only: one that is in use, or cannot be written, will do.
    case examine
    /// To be the only one who uses it.
    case use
  }

  let machine: RingMachine

  init(machine: RingMachine) { self.machine = machine }

  /// One for use beside a loop that serves: it waits for no other process, and the resolver is asked
  /// on a thread of its own.
  init(whileServing machine: RingMachine) {
    self.machine = machine
    lockTimeoutNanoseconds = 0
    killedTimeoutNanoseconds = 0
    let offload = Offload(machine: machine)
    resolve = { name, port in
      await offload.onThread {
        do throws(DialError) {
          return .success(try ResolvedHost(host: name, port: port))
        } catch {
          return .failure(error)
        }
      }
    }
  }

  /// How long a server may take for a request, and for the handshake.
  var requestNanoseconds: UInt64 = 30_000_000_000
  /// How long to wait for another process to let go of a file.
  var lockTimeoutNanoseconds: UInt64 = 5_000_000_000
  /// The same for one that has been killed, whose last writes have to end first.
  var killedTimeoutNanoseconds: UInt64 = 60_000_000_000
  /// Asks the resolver; by itself it holds the loop up, which is for a start only.
  var resolve: @Sendable (String, String) async -> Result<ResolvedHost, DialError> = { name, port in
    do throws(DialError) {
      return .success(try ResolvedHost(host: name, port: port))
    } catch {
      return .failure(error)
    }
  }

  /// Opens a member.
  ///
  /// - Parameters:
  ///   - place: a file is created when it does not exist and a size is given.
  ///   - purpose: what it is opened for.
  ///   - createByteCount: the size of a new file.
  /// - Returns: a member whose disk is to be closed.
  /// - Throws: why it cannot be opened, and what to do.
  func open(
    _ place: MemberPlace, for purpose: Purpose, createByteCount: UInt64? = nil
  ) async throws(MemberError) -> OpenMember {
    switch place {
    case .path(let path): try await openFile(path, purpose, createByteCount)
    case .export(let address): try await openExport(address, purpose)
    }
  }

  // MARK: Files

  /// What an array's blocks are made of: members must take requests of this size.
  private static let blockByteCount = 4096

  private func openFile(
    _ path: String, _ purpose: Purpose, _ createByteCount: UInt64?
  ) async throws(MemberError) -> OpenMember {
    let isMissing = SmallFile.isMissing(path)
    var options = FileOptions(
      isReadOnly: purpose == .examine, caching: .directIfPossible,
      createByteCount: isMissing ? createByteCount : nil)
    options.lockTimeoutNanoseconds = purpose == .examine ? 0 : lockTimeoutNanoseconds
    var note: String?
    var isInUse = false
    do throws(FileOpeningError) {
      var opened: (disk: RingDisk, byteCount: UInt64)
      do throws(FileOpeningError) {
        opened = try await machine.openDisk(path: path, options: options)
      } catch {
        guard case .inUse = error else { throw error }
        if purpose == .examine {
          options.takesLock = false
          isInUse = true
          note = "\(path) is in use now: what it says may change at any time"
        } else {
          try await waitForEndedProcesses(path)
        }
        opened = try await machine.openDisk(path: path, options: options)
      }
      let alignment = opened.disk.properties.alignmentBytes
      if alignment > Self.blockByteCount {
        await opened.disk.close()
        opened = try await reopenedBuffered(path, &options)
      }
      if purpose == .use, !opened.disk.isDirect {
        note =
          "\(path) cannot be opened for direct I/O on its file system: what is written goes "
          + "through the page cache, which costs memory and speed"
      }
      return OpenMember(
        place: .path(path),
        handle: MemberHandle(name: path, disk: .file(opened.disk), byteCount: opened.byteCount),
        wasCreated: options.createByteCount != nil, isInUse: isInUse, note: note)
    } catch {
      throw MemberError(Self.explanation(error, path, options), isInUse: error == .inUse)
    }
  }

  /// Waits for the last writes of killed processes, as long as nobody else holds the file.
  private func waitForEndedProcesses(_ path: String) async throws(FileOpeningError) {
    guard killedTimeoutNanoseconds > 0, DeviceUse.isHeldByEndedProcesses(path: path) else {
      throw .inUse
    }
    let end = machine.readClock() + killedTimeoutNanoseconds
    while DeviceUse.isHeldByEndedProcesses(path: path), machine.readClock() < end {
      await machine.sleep(nanoseconds: 100_000_000)
    }
  }

  /// For a device whose sectors are larger than our blocks: the page cache joins them.
  private func reopenedBuffered(
    _ path: String, _ options: inout FileOptions
  ) async throws(FileOpeningError) -> (disk: RingDisk, byteCount: UInt64) {
    options.caching = .buffered
    return try await machine.openDisk(path: path, options: options)
  }

  private static func explanation(
    _ error: FileOpeningError, _ path: String, _ options: FileOptions
  ) -> String {
    switch error {
    case .missing: "\(path) does not exist"
    case .empty: "\(path) is empty: give it a size with 'truncate -s SIZE'"
    case .inUse:
      DeviceUse.words(path: path).map { "\(path) is in use: \($0)" }
        ?? error.explanation(path: path, options: options)
    default: error.explanation(path: path, options: options)
    }
  }

  // MARK: Exports

  private func openExport(
    _ address: NBDAddress, _ purpose: Purpose
  ) async throws(MemberError) -> OpenMember {
    do throws(NBDDiskError) {
      var options = NBDDiskOptions(exportName: address.export)
      options.requestNanoseconds = requestNanoseconds
      options.handshakeNanoseconds = min(requestNanoseconds, options.handshakeNanoseconds)
      options.drainNanoseconds = requestNanoseconds
      options.isReadOnly = purpose == .examine
      let disk = try await NBDDisk.connect(
        on: machine, options: options,
        dial: try await dial(address, options.handshakeNanoseconds))
      return OpenMember(
        place: .export(address),
        handle: MemberHandle(
          name: address.uri, disk: .export(disk), byteCount: disk.byteCount),
        wasCreated: false, note: nil)
    } catch {
      throw MemberError("\(address.uri): \(error.explanation)")
    }
  }

  /// How to reach a server, now and after it was lost.
  ///
  /// A host's name is resolved here and never again: the resolver may take long.
  private func dial(
    _ address: NBDAddress, _ nanosecondsMax: UInt64
  ) async throws(NBDDiskError) -> NBDDisk<RingMachine>.Dial {
    let machine = machine
    switch address.transport {
    case .unix(let path):
      return {
        do throws(DialError) {
          return .success(
            try await machine.connect(toUnixPath: path, nanosecondsMax: nanosecondsMax))
        } catch {
          return .failure(.unreachable(error.explanation))
        }
      }
    case .tcp(let name, let port):
      let host: ResolvedHost
      switch await resolve(name, port) {
      case .success(let resolved): host = resolved
      case .failure(let error): throw .unreachable(error.explanation)
      }
      return {
        do throws(DialError) {
          return .success(try await machine.connect(to: host, nanosecondsMax: nanosecondsMax))
        } catch {
          return .failure(.unreachable(error.explanation))
        }
      }
    case .other: throw .unreachable("only nbd:// and nbd+unix:// can be members")
    }
  }
}
