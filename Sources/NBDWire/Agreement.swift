import Units

/// What negotiation ended with: the rules of one connection's transmission.
package struct Agreement: Equatable, Sendable {
  /// Which of the exports that `Negotiation` was given.
  package let exportIndex: Int
  /// READ is answered in chunks, and errors carry text.
  package let usesStructuredReplies: Bool
  /// Not nil: the client selected `base:allocation` for this export under this number.
  package let allocationContextIdentifier: UInt32?

  package init(
    exportIndex: Int, usesStructuredReplies: Bool, allocationContextIdentifier: UInt32?
  ) {
    precondition(allocationContextIdentifier == nil || usesStructuredReplies)
    self.exportIndex = exportIndex
    self.usesStructuredReplies = usesStructuredReplies
    self.allocationContextIdentifier = allocationContextIdentifier
  }
}

/// What to do with a request, decided by its header alone.
package enum Verdict: Equatable, Sendable {
  /// Its range lies inside the export. A length of zero (allowed for all but BLOCK_STATUS) has no
  /// effect and succeeds.
  case serve(NBDCommand)
  /// Answer with the error. The payload of a WRITE, at most `tolerableWriteByteCount` or the
  /// export's payload limit, whichever is larger, still has to be received and dropped.
  case refuse(NBDErrorCode)
  /// DISC: answer what is outstanding, then close. It has no reply of its own.
  case disconnect
  /// The client broke the protocol beyond repair: close at once, receive and allocate nothing.
  case violation(String)
}

extension Agreement {
  /// A WRITE of up to this length is answered, never taken for an attack (item 53).
  @inlinable
  package static var tolerableWriteByteCount: UInt32 { 32 << 20 }

  /// A fragmented answer may be refused with EOVERFLOW only above this length (item 50).
  private static let unfragmentedByteCountMin: UInt32 = 65536

  /// Decides what to do with a request.
  ///
  /// Checks, in this order: a WRITE too long to be received, the command, its flags, the right to
  /// write, the range, the length. Allocates nothing unless the verdict is `violation`.
  package func judge(_ request: Request, export: ExportDescription) -> Verdict {
    guard let command = NBDCommand(rawValue: request.commandNumber) else {
      return .refuse(.invalid)
    }
    switch command {
    case .disconnect: return .disconnect
    case .write:
      guard request.byteCount <= max(export.maximumPayloadBytes, Self.tolerableWriteByteCount)
      else {
        return .violation("a WRITE of \(request.byteCount) bytes, beyond every limit")
      }
    case .read, .flush, .trim, .cache, .writeZeroes, .blockStatus: break
    }
    if let error = flagError(request.flags, of: command, export: export) { return .refuse(error) }
    if let error = offerError(command, export: export) { return .refuse(error) }
    if command == .flush {
      let namesRange = request.offsetBytes != 0 || request.byteCount != 0
      return namesRange ? .refuse(.invalid) : .serve(.flush)
    }
    if let error = rangeError(request, of: command, export: export) { return .refuse(error) }
    return .serve(command)
  }

  /// Unknown flags, and flags that do not apply to the command or were not offered (item 60).
  private func flagError(
    _ flags: CommandFlags, of command: NBDCommand, export: ExportDescription
  ) -> NBDErrorCode? {
    // Existing clients set FUA on READ and FLUSH too: item 55.
    var allowed: CommandFlags = export.flags.contains(.sendForceUnitAccess) ? .forceUnitAccess : []
    switch command {
    case .read:
      if usesStructuredReplies { allowed.formUnion(.dontFragment) }
    case .writeZeroes:
      allowed.formUnion(.noHole)
      if export.flags.contains(.sendFastZero) { allowed.formUnion(.fastZero) }
    case .blockStatus:
      allowed.formUnion(.requestOne)
    case .write, .disconnect, .flush, .trim, .cache: break
    }
    return allowed.isSuperset(of: flags) ? nil : .invalid
  }

  /// Commands that change a read-only export, and commands that were never offered.
  private func offerError(_ command: NBDCommand, export: ExportDescription) -> NBDErrorCode? {
    let isReadOnly = export.flags.contains(.readOnly)
    switch command {
    case .read, .disconnect: return nil
    case .write: return isReadOnly ? .notPermitted : nil
    case .trim:
      if isReadOnly { return .notPermitted }
      return export.flags.contains(.sendTrim) ? nil : .invalid
    case .writeZeroes:
      if isReadOnly { return .notPermitted }
      return export.flags.contains(.sendWriteZeroes) ? nil : .invalid
    case .flush: return export.flags.contains(.sendFlush) ? nil : .invalid
    case .cache: return export.flags.contains(.sendCache) ? nil : .invalid
    case .blockStatus: return allocationContextIdentifier == nil ? .invalid : nil
    }
  }

  /// Past the end, misaligned or too long (items 52, 53, 58, 59, 62).
  private func rangeError(
    _ request: Request, of command: NBDCommand, export: ExportDescription
  ) -> NBDErrorCode? {
    guard
      let range = ByteRange(
        offsetBytes: request.offsetBytes, byteCount: UInt64(request.byteCount)),
      range.endBytes <= export.byteCount
    else {
      return command == .write || command == .writeZeroes ? .noSpace : .invalid
    }
    guard range.isAligned(to: UInt64(export.minimumBlockBytes)) else { return .invalid }
    switch command {
    case .read where request.byteCount > export.maximumPayloadBytes:
      return request.byteCount > Self.unfragmentedByteCountMin ? .overflow : .invalid
    case .write where request.byteCount > export.maximumPayloadBytes: return .invalid
    case .blockStatus where request.byteCount == 0: return .invalid
    case .read, .write, .disconnect, .flush, .trim, .cache, .writeZeroes, .blockStatus:
      return nil
    }
  }
}
