import NBDWire
import Testing

/// Offers every command and flag.
private let generous: TransmissionFlags = [
  .sendFlush, .sendForceUnitAccess, .sendTrim, .sendWriteZeroes, .sendFastZero, .sendCache,
]

private let size: UInt64 = 1 << 30

private func export(
  _ flags: TransmissionFlags = generous, byteCount: UInt64 = size, minimum: UInt32 = 1,
  payload: UInt32 = 32 << 20
) -> ExportDescription {
  ExportDescription(
    name: "x", description: "", byteCount: byteCount, flags: flags, minimumBlockBytes: minimum,
    preferredBlockBytes: max(512, minimum), maximumPayloadBytes: payload)
}

/// Structured replies and `base:allocation`.
private let full = Agreement(
  exportIndex: 0, usesStructuredReplies: true, allocationContextIdentifier: 1)
private let structured = Agreement(
  exportIndex: 0, usesStructuredReplies: true, allocationContextIdentifier: nil)
private let simple = Agreement(
  exportIndex: 0, usesStructuredReplies: false, allocationContextIdentifier: nil)

private func judge(
  _ command: NBDCommand, _ flags: CommandFlags = [], at offset: UInt64 = 0, _ count: UInt32 = 0,
  of export: ExportDescription = export(), _ agreement: Agreement = full
) -> Verdict {
  agreement.judge(
    Request(
      flags: flags, commandNumber: command.rawValue, cookie: 7, offsetBytes: offset,
      byteCount: count),
    export: export)
}

/// All but DISC and FLUSH, which have no range.
private let ranged: [NBDCommand] = [.read, .write, .trim, .cache, .writeZeroes, .blockStatus]

@Suite("NBDWire: judging requests")
struct JudgeTests {
  @Test("everything that is offered and inside the export is served", arguments: ranged)
  func served(command: NBDCommand) {
    #expect(judge(command, at: 0, 1) == .serve(command))
    #expect(judge(command, at: 4096, 4096) == .serve(command))
    #expect(judge(command, at: size - 1, 1) == .serve(command))
    #expect(judge(command, at: 0, 32 << 20) == .serve(command))
  }

  @Test("NBD 38: READ_ONLY: WRITE, TRIM and WRITE_ZEROES: EPERM, offered or not")
  func readOnly() {
    for flags in [generous.union(.readOnly), .readOnly] {
      for command in [NBDCommand.write, .trim, .writeZeroes] {
        for count: UInt32 in [0, 1, 32 << 20] {
          #expect(judge(command, at: 0, count, of: export(flags)) == .refuse(.notPermitted))
        }
        #expect(judge(command, at: size, 1, of: export(flags)) == .refuse(.notPermitted))
      }
      #expect(judge(.read, at: 0, 1, of: export(flags)) == .serve(.read))
    }
    #expect(judge(.flush, of: export(generous.union(.readOnly))) == .serve(.flush))
  }

  @Test("NBD 39: DF: accepted on READ with structured replies, else EINVAL")
  func dontFragment() {
    #expect(judge(.read, .dontFragment, at: 0, 512, of: export(), full) == .serve(.read))
    #expect(judge(.read, .dontFragment, at: 0, 512, of: export(), structured) == .serve(.read))
    #expect(judge(.read, .dontFragment, at: 0, 512, of: export(), simple) == .refuse(.invalid))
    for command in ranged.dropFirst() {
      #expect(judge(command, .dontFragment, at: 0, 512) == .refuse(.invalid))
    }
  }

  @Test("NBD 40: NO_HOLE works wherever WRITE_ZEROES does, FAST_ZERO only where it was offered")
  func zeroFlags() {
    let slow = export(.sendWriteZeroes)
    #expect(judge(.writeZeroes, .noHole, at: 0, 512, of: slow) == .serve(.writeZeroes))
    #expect(judge(.writeZeroes, .fastZero, at: 0, 512, of: slow) == .refuse(.invalid))
    #expect(judge(.writeZeroes, [.fastZero, .noHole], at: 0, 512) == .serve(.writeZeroes))
  }

  @Test("commands that were not offered: EINVAL")
  func notOffered() {
    let plain = export([])
    for command in [NBDCommand.flush, .trim, .cache, .writeZeroes] {
      #expect(judge(command, at: 0, 0, of: plain) == .refuse(.invalid))
    }
    #expect(judge(.read, at: 0, 1, of: plain) == .serve(.read))
    #expect(judge(.write, at: 0, 1, of: plain) == .serve(.write))
    #expect(judge(.blockStatus, at: 0, 1, of: plain) == .serve(.blockStatus))
  }

  @Test("NBD 50: a DF READ of up to 65536 bytes is never refused with EOVERFLOW")
  func unfragmentedReads() {
    #expect(judge(.read, .dontFragment, at: 0, 65536) == .serve(.read))
    let small = export(payload: 4096)
    #expect(judge(.read, .dontFragment, at: 0, 65536, of: small) == .refuse(.invalid))
    #expect(judge(.read, .dontFragment, at: 0, 65537, of: small) == .refuse(.overflow))
  }

  @Test("NBD 52: READ beyond the payload limit: EOVERFLOW, beyond the end too: EINVAL")
  func longReads() {
    #expect(judge(.read, at: 0, 32 << 20) == .serve(.read))
    #expect(judge(.read, at: 0, 32 << 20 + 1) == .refuse(.overflow))
    #expect(judge(.read, at: 0, 1 << 30, of: export(), simple) == .refuse(.overflow))
    #expect(judge(.read, at: 0, 1 << 31) == .refuse(.invalid))
    #expect(judge(.read, at: 0, .max) == .refuse(.invalid))
  }

  @Test("NBD 53: WRITE of 32 MiB is answered, of more is a violation, whatever else is wrong")
  func longWrites() {
    #expect(judge(.write, at: 0, 32 << 20) == .serve(.write))
    for count: UInt32 in [32 << 20 + 1, 1 << 31, .max] {
      for (flags, offset): (UInt16, UInt64) in [(0, 0), (0xFFFF, 0), (0, .max)] {
        for target in [export(), export([.readOnly])] {
          guard
            case .violation(let reason) = judge(
              .write, CommandFlags(rawValue: flags), at: offset, count, of: target)
          else {
            Issue.record("a WRITE of \(count) bytes is not a violation")
            continue
          }
          #expect(reason.contains("\(count)"))
        }
      }
    }
  }

  @Test("NBD 53: WRITE beyond a smaller payload limit: EINVAL up to 32 MiB, its payload consumed")
  func longWritesBelowTolerance() {
    let small = export(payload: 1 << 20)
    #expect(judge(.write, at: 0, 1 << 20, of: small) == .serve(.write))
    #expect(judge(.write, at: 0, 1 << 20 + 1, of: small) == .refuse(.invalid))
    #expect(judge(.write, at: 0, 32 << 20, of: small) == .refuse(.invalid))
    let large = export(payload: 64 << 20)
    #expect(judge(.write, at: 0, 64 << 20, of: large) == .serve(.write))
    guard case .violation = judge(.write, at: 0, 64 << 20 + 1, of: large) else {
      Issue.record("not a violation")
      return
    }
  }

  @Test("NBD 55: FUA is accepted on every command where offered, else EINVAL on each")
  func forceUnitAccess() {
    let plain = export(generous.subtracting(.sendForceUnitAccess))
    for command in ranged {
      #expect(judge(command, .forceUnitAccess, at: 0, 512) == .serve(command))
      #expect(judge(command, .forceUnitAccess, at: 0, 512, of: plain) == .refuse(.invalid))
    }
    #expect(judge(.flush, .forceUnitAccess) == .serve(.flush))
    #expect(judge(.flush, .forceUnitAccess, of: plain) == .refuse(.invalid))
  }

  @Test("NBD 56: FLUSH with an offset or a length: EINVAL")
  func flush() {
    #expect(judge(.flush) == .serve(.flush))
    #expect(judge(.flush, at: 1) == .refuse(.invalid))
    #expect(judge(.flush, at: 0, 1) == .refuse(.invalid))
    #expect(judge(.flush, at: .max, .max) == .refuse(.invalid))
    #expect(judge(.flush, of: export(byteCount: 0)) == .serve(.flush))
  }

  @Test("NBD 57: DISC disconnects, whatever else its header says")
  func disconnect() {
    #expect(judge(.disconnect) == .disconnect)
    #expect(
      judge(.disconnect, CommandFlags(rawValue: 0xFFFF), at: .max, .max, of: export([.readOnly]))
        == .disconnect)
  }

  @Test("NBD 58: past the end: ENOSPC for WRITE and WRITE_ZEROES, else EINVAL", arguments: ranged)
  func pastTheEnd(command: NBDCommand) {
    let isWrite = command == .write || command == .writeZeroes
    let expected = Verdict.refuse(isWrite ? .noSpace : .invalid)
    let ranges: [(UInt64, UInt32)] = [
      (size, 1), (size - 1, 2), (size - 512, 1024), (size + 1, 0), (size + 1, 1), (1 << 32, 512),
      (1 << 63, 512), (1 << 63 - 1, 1), (UInt64.max, 1), (UInt64.max, 0), (UInt64.max - 511, 1024),
      (UInt64.max - 511, 512),
    ]
    for (offset, count) in ranges {
      #expect(judge(command, at: offset, count) == expected)
    }
    #expect(judge(command, at: 0, 1, of: export(byteCount: 0)) == expected)
  }

  @Test("NBD 59: not aligned to the minimum: EINVAL, and served where it is", arguments: ranged)
  func misaligned(command: NBDCommand) {
    let coarse = export(minimum: 4096)
    for (offset, count): (UInt64, UInt32) in [(1, 4096), (0, 4095), (512, 512), (4095, 1)] {
      #expect(judge(command, at: offset, count, of: coarse) == .refuse(.invalid))
    }
    #expect(judge(command, at: 4096, 8192, of: coarse) == .serve(command))
  }

  @Test("NBD 59: length zero is served, for BLOCK_STATUS it is EINVAL", arguments: ranged)
  func zeroLength(command: NBDCommand) {
    let expected: Verdict = command == .blockStatus ? .refuse(.invalid) : .serve(command)
    for offset: UInt64 in [0, 512, size] {
      #expect(judge(command, at: offset, 0) == expected)
    }
    #expect(judge(command, at: 0, 0, of: export(byteCount: 0)) == expected)
  }

  @Test("NBD 60: unknown commands: EINVAL", arguments: [8, 9, 255, 256, 0x7FFF, 0xFFFF])
  func unknownCommands(number: Int) {
    for count: UInt32 in [0, 512, .max] {
      let request = Request(
        commandNumber: UInt16(number), cookie: 0, offsetBytes: 0, byteCount: count)
      #expect(full.judge(request, export: export()) == .refuse(.invalid))
    }
  }

  @Test("NBD 60, 65, 69: each flag on each command: served where it applies, else EINVAL")
  func flagsAndCommands() {
    let applicable: [NBDCommand: Set<Int>] = [
      .read: [0, 2], .write: [0], .flush: [0], .trim: [0], .cache: [0], .writeZeroes: [0, 1, 4],
      .blockStatus: [0, 3],
    ]
    for (command, bits) in applicable {
      for bit in 0..<16 {
        let count: UInt32 = command == .flush ? 0 : 512
        let expected: Verdict = bits.contains(bit) ? .serve(command) : .refuse(.invalid)
        #expect(judge(command, CommandFlags(rawValue: 1 << bit), at: 0, count) == expected)
      }
    }
  }

  @Test("NBD 61, 62: what judge refuses with is never EIO, ENOMEM, ENOTSUP or ESHUTDOWN")
  func errorsInUse() {
    var random = SplitMix(state: 61)
    var seen: Set<NBDErrorCode> = []
    for _ in 0..<20_000 {
      let request = Request(
        flags: CommandFlags(rawValue: 1 << UInt16.random(in: 0..<16, using: &random)),
        commandNumber: UInt16.random(in: 0..<10, using: &random), cookie: 0,
        offsetBytes: UInt64.random(in: 0...size, using: &random),
        byteCount: UInt32.random(in: 0...64 << 20, using: &random))
      let target = export(Bool.random(using: &random) ? generous : .readOnly)
      if case .refuse(let error) = full.judge(request, export: target) { seen.insert(error) }
    }
    #expect(seen == [.notPermitted, .invalid, .noSpace, .overflow])
  }

  @Test("NBD 63: commands without payload may be longer than the payload limit")
  func longCommandsWithoutPayload() {
    let huge = export(byteCount: 1 << 40)
    for command in [NBDCommand.trim, .cache, .writeZeroes, .blockStatus] {
      #expect(judge(command, at: 0, .max, of: huge) == .serve(command))
      #expect(judge(command, at: 1 << 40 - UInt64(UInt32.max), .max, of: huge) == .serve(command))
    }
  }

  @Test("NBD 66: BLOCK_STATUS without a selected context: EINVAL")
  func blockStatusWithoutContext() {
    #expect(judge(.blockStatus, at: 0, 512, of: export(), full) == .serve(.blockStatus))
    #expect(judge(.blockStatus, at: 0, 512, of: export(), structured) == .refuse(.invalid))
    #expect(judge(.blockStatus, at: 0, 512, of: export(), simple) == .refuse(.invalid))
  }

  @Test("NBD 67: BLOCK_STATUS of 2^32 - 1 bytes at many offsets is served")
  func longBlockStatus() {
    let huge = export(byteCount: 1 << 62)
    for shift in 0..<62 {
      for delta: UInt64 in [0, 1, 511] {
        #expect(
          judge(.blockStatus, .requestOne, at: 1 << UInt64(shift) &- delta, .max, of: huge)
            == (1 << UInt64(shift) < delta ? .refuse(.invalid) : .serve(.blockStatus)))
      }
    }
  }
}
