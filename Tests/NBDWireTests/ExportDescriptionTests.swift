import NBDWire
import Testing

/// Describes an export with one thing changed.
@discardableResult
private func export(
  name: String = "x", description: String = "", byteCount: UInt64 = 1 << 20,
  flags: TransmissionFlags = [], minimum: UInt32 = 1, preferred: UInt32 = 4096,
  payload: UInt32 = 1 << 20
) -> ExportDescription {
  ExportDescription(
    name: name, description: description, byteCount: byteCount, flags: flags,
    minimumBlockBytes: minimum, preferredBlockBytes: preferred, maximumPayloadBytes: payload)
}

@Suite("NBDWire: export descriptions")
struct ExportDescriptionTests {
  @Test("NBD 37: HAS_FLAGS is always among the flags")
  func hasFlags() {
    #expect(export().flags == .hasFlags)
    #expect(export(flags: .sendTrim).flags == [.hasFlags, .sendTrim])
  }

  @Test("NBD 39: DF is offered exactly with structured replies")
  func dontFragment() {
    let flags: TransmissionFlags = [.hasFlags, .sendFlush]
    #expect(export(flags: flags).offeredFlags(usesStructuredReplies: false) == flags)
    #expect(
      export(flags: flags).offeredFlags(usesStructuredReplies: true)
        == flags.union(.sendDontFragment))
  }

  @Test("the flags have the bits of the protocol")
  func flagBits() {
    let flags: [TransmissionFlags] = [
      .hasFlags, .readOnly, .sendFlush, .sendForceUnitAccess, .rotational, .sendTrim,
      .sendWriteZeroes, .sendDontFragment, .canMultiConnect, .sendResize, .sendCache,
      .sendFastZero, .blockStatusPayload,
    ]
    #expect(flags.map(\.rawValue) == (0..<13).map { 1 << $0 })
    let commandFlags: [CommandFlags] = [
      .forceUnitAccess, .noHole, .dontFragment, .requestOne, .fastZero,
    ]
    #expect(commandFlags.map(\.rawValue) == (0..<5).map { 1 << $0 })
  }

  @Test("NBD 9: texts of 4096 bytes are fine, of 4097 bytes or with NUL they are not")
  func texts() {
    let longest = String(repeating: "\u{e9}", count: 2048)
    #expect(ExportDescription.isValidText(longest))
    #expect(!ExportDescription.isValidText(longest + "x"))
    #expect(!ExportDescription.isValidText("a\0b"))
    #expect(export(name: longest, description: longest).name == longest)
  }

  @Test("NBD 27: the block sizes at the edge of what the protocol allows")
  func blockSizesAtTheEdge() {
    export(byteCount: 0, minimum: 65536, preferred: 65536, payload: 65536)
    export(minimum: 1, preferred: 512, payload: 512)
    export(byteCount: 1 << 63 - 512, minimum: 512, preferred: 1 << 31, payload: 1 << 31)
    export(byteCount: 1 << 63 - 1, minimum: 1, payload: .max)
  }

  @Test("NBD 27, 40, 42: what the protocol forbids a server to offer traps")
  func forbidden() async {
    await #expect(processExitsWith: .failure) { export(name: "a\0") }
    await #expect(processExitsWith: .failure) { export(byteCount: 1 << 63) }
    await #expect(processExitsWith: .failure) { export(byteCount: 513, minimum: 512) }
    await #expect(processExitsWith: .failure) { export(minimum: 0) }
    await #expect(processExitsWith: .failure) { export(minimum: 768) }
    await #expect(processExitsWith: .failure) { export(minimum: 1 << 17, preferred: 1 << 17) }
    await #expect(processExitsWith: .failure) { export(preferred: 256) }
    await #expect(processExitsWith: .failure) { export(preferred: 5000) }
    await #expect(processExitsWith: .failure) { export(payload: 2048) }
    await #expect(processExitsWith: .failure) { export(flags: .sendFastZero) }
    await #expect(processExitsWith: .failure) { export(flags: .sendDontFragment) }
    await #expect(processExitsWith: .failure) { export(flags: .blockStatusPayload) }
  }

  @Test("two exports of one name trap")
  func duplicateNames() async {
    await #expect(processExitsWith: .failure) {
      _ = Negotiation(exports: [export(), export(byteCount: 1)])
    }
  }
}
