/// One client's handshake, from the greeting to the first request.
///
/// Pure and pulled: the caller sends `greeting()`, then hands over what it has received and does
/// what `advance` says. Fixed newstyle only; no TLS yet.
package struct Negotiation: Sendable {
  /// What the caller has to do after a step.
  package enum Outcome: Equatable, Sendable {
    /// Nothing more can be done with the bytes that are left: receive some.
    case needsMoreBytes
    /// Send this, then call again with the bytes that are left, before receiving.
    case reply([UInt8])
    /// Send this; behind the consumed bytes the first request begins.
    case transmission(Agreement, reply: [UInt8])
    /// Send this, which may be empty, then close. The reason is for the log: one line, bounded,
    /// what the client sent is escaped.
    case close(reason: String, reply: [UInt8])
  }

  private enum Phase { case clientFlags, options, over }

  /// From now on every option but ABORT is answered with ERR_SHUTDOWN.
  package var isShuttingDown = false
  /// Whether `close` came from a client that broke the protocol or a limit, and not from ABORT,
  /// an unknown export or a shutdown.
  package private(set) var hasViolation = false

  let exports: [ExportDescription]
  let limits: NegotiationLimits
  var usesStructuredReplies = false
  /// The export name for which SET_META_CONTEXT selected `base:allocation`, as the client gave it.
  var allocationContextName: [UInt8]?
  private let exportNames: [[UInt8]]
  private var phase = Phase.clientFlags
  private var isFixedNewstyle = false
  private var omitsZeroes = false
  private var optionCount = 0

  /// Begins a handshake.
  ///
  /// - Parameters:
  ///   - exports: what is served, names all different; the first is also the default export,
  ///     which has the empty name.
  ///   - limits: what the client may cost.
  package init(exports: [ExportDescription], limits: NegotiationLimits = NegotiationLimits()) {
    self.exports = exports
    self.limits = limits
    self.exportNames = exports.map { Array($0.name.utf8) }
    precondition(Set(exportNames).count == exports.count, "two exports have the same name")
  }

  /// What the server says first: `[NBDMAGIC][IHAVEOPT][flags 2]`.
  package func greeting() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(Handshake.greetingMagic)
    bytes.appendBigEndian(Handshake.optionMagic)
    bytes.appendBigEndian(Handshake.fixedNewstyle | Handshake.noZeroes)
    return bytes
  }

  /// Takes one step.
  ///
  /// - Parameter input: what was received and not yet consumed.
  /// - Returns: how many bytes of `input` are done with, and what to do. After `needsMoreBytes`,
  ///   at most `limits.bufferedByteCountMax` bytes are left. After `transmission` and `close`
  ///   there is no further step.
  package mutating func advance(
    _ input: RawSpan
  ) -> (consumedByteCount: Int, outcome: Outcome) {
    var consumed = 0
    if phase == .clientFlags {
      guard input.byteCount >= Handshake.clientFlagsByteCount else { return (0, .needsMoreBytes) }
      consumed = Handshake.clientFlagsByteCount
      if let refusal = accept(clientFlags: input.bigEndian(at: 0)) { return (consumed, refusal) }
    }
    guard phase == .options else {
      return (consumed, .close(reason: "negotiation is already over", reply: []))
    }
    let rest = input.extracting(droppingFirst: consumed)
    guard rest.byteCount >= Handshake.optionHeaderByteCount else {
      return (consumed, .needsMoreBytes)
    }
    if let refusal = checkHeader(of: rest) { return (consumed, refusal) }
    let dataByteCount: UInt32 = rest.bigEndian(at: 12)
    // Below the cap, so it fits.
    let wholeByteCount = Handshake.optionHeaderByteCount + Int(dataByteCount)
    guard rest.byteCount >= wholeByteCount else { return (consumed, .needsMoreBytes) }
    optionCount += 1
    let data = rest.extracting(Handshake.optionHeaderByteCount..<wholeByteCount)
    let outcome = answer(rest.bigEndian(at: 8), data: data)
    return (consumed + wholeByteCount, outcome)
  }

  /// - Returns: not nil when the connection has to be closed.
  private mutating func accept(clientFlags: UInt32) -> Outcome? {
    let offered = UInt32(Handshake.fixedNewstyle | Handshake.noZeroes)
    guard clientFlags & ~offered == 0 else {
      return violation("unknown client flags 0x\(String(clientFlags, radix: 16))")
    }
    isFixedNewstyle = clientFlags & UInt32(Handshake.fixedNewstyle) != 0
    omitsZeroes = clientFlags & UInt32(Handshake.noZeroes) != 0
    phase = .options
    return nil
  }

  /// Looks at an option's header before its data has arrived.
  ///
  /// - Returns: not nil when the connection has to be closed.
  private mutating func checkHeader(of option: RawSpan) -> Outcome? {
    let number: UInt32 = option.bigEndian(at: 8)
    let dataByteCount: UInt32 = option.bigEndian(at: 12)
    guard option.bigEndian(at: 0) == Handshake.optionMagic else {
      return violation("an option without its magic number")
    }
    guard dataByteCount <= limits.optionByteCountMax else {
      return violation(
        "option \(number) has \(dataByteCount) bytes, more than \(limits.optionByteCountMax)")
    }
    guard optionCount < limits.optionCountMax else {
      return violation("more than \(limits.optionCountMax) options")
    }
    guard isFixedNewstyle || number == NBDOption.exportName.rawValue else {
      return violation("option \(number) from a client without fixed newstyle")
    }
    return nil
  }

  /// Answers one option whose data is there.
  private mutating func answer(_ number: UInt32, data: RawSpan) -> Outcome {
    let option = NBDOption(rawValue: number)
    switch option {
    case .abort:
      var replies = OptionReplies()
      replies.append(.acknowledged, to: number)
      return close("the client ended negotiation with ABORT", reply: replies.bytes)
    case .exportName:
      return isShuttingDown ? close("shutting down") : chooseByName(data.copied())
    case _ where isShuttingDown:
      // SET_META_CONTEXT drops the former selection also when it fails.
      if option == .setMetaContext { allocationContextName = nil }
      return .reply(
        OptionRefusal(type: .shutdown, text: "the server is shutting down").reply(to: number))
    case .go:
      return choose(number, data: data)
    case .list, .startTLS, .info, .structuredReply, .listMetaContext, .setMetaContext, nil:
      do throws(OptionRefusal) {
        return .reply(try reply(to: option, number: number, data: data))
      } catch {
        return .reply(error.reply(to: number))
      }
    }
  }

  /// EXPORT_NAME: begins transmission or closes; there is no way to say what was wrong.
  private mutating func chooseByName(_ name: [UInt8]) -> Outcome {
    guard let index = exportIndex(of: name) else {
      return close("EXPORT_NAME for the unknown export \(WireText.quoted(name))")
    }
    let export = exports[index]
    var bytes: [UInt8] = []
    bytes.appendBigEndian(export.byteCount)
    bytes.appendBigEndian(
      export.offeredFlags(usesStructuredReplies: usesStructuredReplies).rawValue)
    if !omitsZeroes {
      bytes += [UInt8](repeating: 0, count: Handshake.exportNamePaddingByteCount)
    }
    phase = .over
    return .transmission(agreement(on: index, name: name), reply: bytes)
  }

  /// GO: the answer of INFO, then transmission; after an error negotiation goes on.
  private mutating func choose(_ number: UInt32, data: RawSpan) -> Outcome {
    do throws(OptionRefusal) {
      let query = try ExportQuery(data)
      let index = try knownExportIndex(of: query.name)
      phase = .over
      return .transmission(
        agreement(on: index, name: query.name),
        reply: information(about: exports[index], query, number: number))
    } catch {
      return .reply(error.reply(to: number))
    }
  }

  /// A metadata context holds only for the very name for which it was selected (item 34).
  private func agreement(on index: Int, name: [UInt8]) -> Agreement {
    Agreement(
      exportIndex: index, usesStructuredReplies: usesStructuredReplies,
      allocationContextIdentifier: allocationContextName == name
        ? Handshake.allocationContextIdentifier : nil)
  }

  /// Names are matched byte by byte; the empty one stands for the first export.
  func exportIndex(of name: [UInt8]) -> Int? {
    name.isEmpty ? exports.indices.first : exportNames.firstIndex(of: name)
  }

  private mutating func close(_ reason: String, reply: [UInt8] = []) -> Outcome {
    phase = .over
    return .close(reason: reason, reply: reply)
  }

  private mutating func violation(_ reason: String) -> Outcome {
    hasViolation = true
    return close(reason)
  }
}
