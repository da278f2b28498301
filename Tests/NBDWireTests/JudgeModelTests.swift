import NBDWire
import Testing

/// What `judge` should say, as a list of rules in wide arithmetic.
private func expectedVerdict(
  _ request: Request, _ export: ExportDescription, _ agreement: Agreement
) -> Verdict {
  let offset = UInt128(request.offsetBytes)
  let count = UInt128(request.byteCount)
  let flags = export.flags
  let end = offset + count
  let isChange = [1, 4, 6].contains(request.commandNumber)
  let isKnown = request.commandNumber <= 7
  let allowedFlags: [(bit: UInt16, isAllowed: Bool)] = [
    (0, flags.contains(.sendForceUnitAccess)),
    (1, request.commandNumber == 6),
    (2, request.commandNumber == 0 && agreement.usesStructuredReplies),
    (3, request.commandNumber == 7),
    (4, request.commandNumber == 6 && flags.contains(.sendFastZero)),
  ]
  let hasBadFlag =
    request.flags.rawValue >> 5 != 0
    || allowedFlags.contains { request.flags.rawValue >> $0.bit & 1 == 1 && !$0.isAllowed }
  let isOffered: [UInt16: Bool] = [
    0: true, 1: true, 3: flags.contains(.sendFlush), 4: flags.contains(.sendTrim),
    5: flags.contains(.sendCache), 6: flags.contains(.sendWriteZeroes),
    7: agreement.allocationContextIdentifier != nil,
  ]
  let block = UInt128(export.minimumBlockBytes)
  let limit = UInt128(export.maximumPayloadBytes)
  let rules: [(Bool, Verdict)] = [
    (!isKnown, .refuse(.invalid)),
    (request.commandNumber == 2, .disconnect),
    (request.commandNumber == 1 && count > max(limit, 33_554_432), .violation("")),
    (hasBadFlag, .refuse(.invalid)),
    (isChange && flags.contains(.readOnly), .refuse(.notPermitted)),
    (isOffered[request.commandNumber] != true, .refuse(.invalid)),
    (request.commandNumber == 3 && end == 0, .serve(.flush)),
    (request.commandNumber == 3, .refuse(.invalid)),
    (end > UInt128(export.byteCount) && [1, 6].contains(request.commandNumber), .refuse(.noSpace)),
    (end > UInt128(export.byteCount), .refuse(.invalid)),
    (offset % block != 0 || count % block != 0, .refuse(.invalid)),
    (request.commandNumber == 0 && count > limit && count > 65536, .refuse(.overflow)),
    (request.commandNumber <= 1 && count > limit, .refuse(.invalid)),
    (request.commandNumber == 7 && count == 0, .refuse(.invalid)),
  ]
  if let rule = rules.first(where: { $0.0 }) { return rule.1 }
  return NBDCommand(rawValue: request.commandNumber).map { .serve($0) } ?? .refuse(.invalid)
}

private func isSame(_ verdict: Verdict, _ expected: Verdict) -> Bool {
  if case .violation = verdict, case .violation = expected { return true }
  return verdict == expected
}

private let agreements = [
  Agreement(exportIndex: 0, usesStructuredReplies: false, allocationContextIdentifier: nil),
  Agreement(exportIndex: 0, usesStructuredReplies: true, allocationContextIdentifier: nil),
  Agreement(exportIndex: 0, usesStructuredReplies: true, allocationContextIdentifier: 1),
]

private let everything: TransmissionFlags = [
  .sendFlush, .sendForceUnitAccess, .sendTrim, .sendWriteZeroes, .sendFastZero, .sendCache,
]

@Suite("NBDWire: judge against a naive model")
struct JudgeModelTests {
  private func check(
    _ request: Request, _ export: ExportDescription, _ agreement: Agreement
  ) -> Bool {
    let verdict = agreement.judge(request, export: export)
    let expected = expectedVerdict(request, export, agreement)
    guard !isSame(verdict, expected) else { return true }
    Issue.record("\(request) on \(export) with \(agreement): \(verdict), expected \(expected)")
    return false
  }

  @Test(
    "offsets and lengths near 0, the size, 2^32, 2^63 and 2^64, for each command",
    arguments: [0, 1, 511, 512, 4096, 65536, 1 << 25, 1 << 32, 1 << 32 + 4096, 1 << 63 - 65536])
  func ranges(size: UInt64) {
    let exports: [ExportDescription] = [1, 512, 65536].filter { size % UInt64($0) == 0 }.map {
      ExportDescription(
        name: "x", description: "", byteCount: size, flags: everything, minimumBlockBytes: $0,
        preferredBlockBytes: 65536, maximumPayloadBytes: 1 << 20)
    }
    let deltas: [UInt64] = [0, 1, 511, 512, 513, 4096, 65536]
    let anchors: [UInt64] = [0, size, 1 << 32, 1 << 63]
    let offsets = Set(anchors.flatMap { at in deltas.flatMap { [at &+ $0, at &- $0] } })
    let counts: Set<UInt32> = [
      0, 1, 511, 512, 513, 4096, 65535, 65536, 65537, 1 << 20, 1 << 20 + 1, 1 << 25, 1 << 25 + 1,
      1 << 31, .max - 511, .max, UInt32(truncatingIfNeeded: size),
    ]
    var checkedCount = 0
    for export in exports {
      for offset in offsets {
        for count in counts {
          for command in 0..<UInt16(9) {
            let request = Request(
              commandNumber: command, cookie: 0, offsetBytes: offset, byteCount: count)
            guard check(request, export, agreements[2]) else { return }
            checkedCount += 1
          }
        }
      }
    }
    #expect(checkedCount > 4000)
  }

  @Test("every command with every mix of its flags, of what is offered and of what was agreed")
  func flags() {
    let optional: [TransmissionFlags] = [
      .readOnly, .sendFlush, .sendForceUnitAccess, .sendTrim, .sendCache, .sendWriteZeroes,
      .sendFastZero,
    ]
    let commandFlags = (0..<32).map(UInt16.init) + (5..<16).map { 1 << $0 } + [0xFFFF]
    for mask in 0..<1 << optional.count {
      let offered = optional.indices.reduce(into: TransmissionFlags()) { flags, index in
        if mask >> index & 1 == 1 { flags.insert(optional[index]) }
      }
      if offered.contains(.sendFastZero), !offered.contains(.sendWriteZeroes) { continue }
      let export = ExportDescription(
        name: "x", description: "", byteCount: 1 << 20, flags: offered)
      for agreement in agreements {
        for flags in commandFlags {
          for command in 0..<UInt16(9) {
            let request = Request(
              flags: CommandFlags(rawValue: flags), commandNumber: command, cookie: 0,
              offsetBytes: 0, byteCount: command == 3 ? 0 : 512)
            guard check(request, export, agreement) else { return }
          }
        }
      }
    }
  }

  @Test("random exports and requests", arguments: 1...8)
  func random(seed: Int) {
    var random = SplitMix(state: UInt64(seed))
    for _ in 0..<5000 {
      var offered = TransmissionFlags(rawValue: UInt16.random(in: 0...0xFFF, using: &random))
      offered.subtract([.sendDontFragment, .sendResize])
      if offered.contains(.sendFastZero) { offered.insert(.sendWriteZeroes) }
      let minimum = UInt32(1) << UInt32.random(in: 0...16, using: &random)
      let preferred = max(512, minimum) << UInt32.random(in: 0...3, using: &random)
      let size =
        UInt64.random(in: 0..<1 << 63, using: &random) >> UInt64.random(in: 0..<63, using: &random)
      let export = ExportDescription(
        name: "x", description: "", byteCount: size & ~UInt64(minimum - 1), flags: offered,
        minimumBlockBytes: minimum, preferredBlockBytes: preferred,
        maximumPayloadBytes: preferred << UInt32.random(in: 0...12, using: &random))
      let granule = Bool.random(using: &random) ? UInt64(minimum) : 1
      let request = Request(
        flags: CommandFlags(
          rawValue: Bool.random(using: &random) ? 0 : 1 << UInt16.random(in: 0..<6, using: &random)),
        commandNumber: UInt16.random(in: 0..<9, using: &random), cookie: 0,
        offsetBytes: (random.next() >> UInt64.random(in: 0..<64, using: &random)) & ~(granule - 1),
        byteCount: UInt32(
          truncatingIfNeeded: random.next() >> UInt64.random(in: 32..<64, using: &random))
          & ~UInt32(granule - 1))
      guard check(request, export, agreements[Int.random(in: 0..<3, using: &random)]) else {
        return
      }
    }
  }
}
