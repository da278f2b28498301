package import IO
package import NBDClient
import NBDWire
import Units

/// An export of an NBD server, over one connection or several.
///
/// Operations take the connections in turn, so that each carries its share of the depth.
package final class NBDTarget<TargetMachine: Machine>: BenchTarget, @unchecked Sendable {
  // Safe to share: used on the machine's executor only, and changed between suspensions.
  private let clients: [NBDClient<TargetMachine>]
  private var turn = 0
  package let description: String
  package let byteCount: UInt64
  package let alignmentBytes: Int

  /// - Parameters:
  ///   - clients: at least one, all of the same export.
  ///   - description: its URI.
  package init(clients: [NBDClient<TargetMachine>], description: String) {
    precondition(!clients.isEmpty)
    self.clients = clients
    let count = clients.count
    self.description = count == 1 ? description : "\(description) (\(count) connections)"
    byteCount = clients.map(\.export.byteCount).min() ?? 0
    alignmentBytes = clients.map { Int($0.export.minimumBlockBytes) }.max() ?? 1
  }

  /// Why a job must not run on this export with so many connections; nil when it may.
  package static func objection(to options: JobOptions, on export: RemoteExport) -> String? {
    if options.changesTarget, export.isReadOnly {
      return "the export is read-only, and --rw=\(options.workload.rawValue) changes it"
    }
    if options.workload == .trim || options.workload == .randtrim, !export.canTrim {
      return "the server does not offer TRIM"
    }
    let flushes =
      options.fsyncInterval != nil || options.fdatasyncInterval != nil || options.flushesAtEnd
    if flushes, !export.canFlush {
      return "the server does not offer FLUSH: leave fsync, fdatasync and end_fsync out"
    }
    guard options.connectionCount > 1, !export.canMultiConnect, options.changesTarget else {
      return nil
    }
    guard flushes || options.verify != .none else { return nil }
    return "the server does not promise that a flush on one connection covers the others "
      + "(CAN_MULTI_CONN), so that fsync or verify over \(options.connectionCount) connections "
      + "would mean nothing: use --connections=1"
  }

  /// What the reader of the figures must know; nil for nothing.
  package static func caution(for options: JobOptions, on export: RemoteExport) -> String? {
    guard options.connectionCount > 1, !export.canMultiConnect else { return nil }
    return "the server does not promise CAN_MULTI_CONN: its \(options.connectionCount) connections "
      + "may not see each other's writes"
  }

  @inline(__always)
  private func nextClient() -> NBDClient<TargetMachine> {
    guard clients.count > 1 else { return clients[0] }
    turn = turn + 1 == clients.count ? 0 : turn + 1
    return clients[turn]
  }

  package func read(at offsetBytes: UInt64, into buffer: IOBuffer) async throws(TargetError) {
    let range = ByteRange(from: offsetBytes, to: offsetBytes + UInt64(buffer.byteCount))
    do throws(RequestError) {
      try await nextClient().read(range, into: buffer)
    } catch {
      throw Self.targetError("read", offsetBytes, error)
    }
  }

  package func write(at offsetBytes: UInt64, from buffer: IOBuffer) async throws(TargetError) {
    let range = ByteRange(from: offsetBytes, to: offsetBytes + UInt64(buffer.byteCount))
    do throws(RequestError) {
      try await nextClient().write(range, from: buffer, durably: false)
    } catch {
      throw Self.targetError("write", offsetBytes, error)
    }
  }

  /// NBD knows one flush: fsync and fdatasync are the same here.
  package func flush(isDataOnly: Bool) async throws(TargetError) {
    do throws(RequestError) {
      try await nextClient().flush()
    } catch {
      throw Self.targetError("flush", nil, error)
    }
  }

  package func trim(at offsetBytes: UInt64, byteCount: UInt64) async throws(TargetError) {
    let range = ByteRange(from: offsetBytes, to: offsetBytes + byteCount)
    do throws(RequestError) {
      try await nextClient().trim(range, durably: false)
    } catch {
      throw Self.targetError("trim", offsetBytes, error)
    }
  }

  package func close() async {
    for client in clients { await client.close() }
  }

  private static func targetError(
    _ operation: String, _ offsetBytes: UInt64?, _ error: RequestError
  ) -> TargetError {
    let place = offsetBytes.map { " at offset \($0)" } ?? ""
    switch error {
    case .refused(let code):
      return .refused(reason: "\(operation)\(place): the server answered \(words(code))")
    case .lost(let reason): return .lost(reason: reason)
    }
  }

  private static func words(_ code: NBDErrorCode) -> String {
    switch code {
    case .notPermitted: "EPERM (not permitted)"
    case .inputOutput: "EIO (input/output error)"
    case .noMemory: "ENOMEM (out of memory)"
    case .invalid: "EINVAL (invalid request)"
    case .noSpace: "ENOSPC (no space left)"
    case .overflow: "EOVERFLOW (request too long)"
    case .notSupported: "ENOTSUP (not supported)"
    case .shutdown: "ESHUTDOWN (it is shutting down)"
    }
  }
}
