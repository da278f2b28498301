/// What a client may ask for while options are negotiated.
///
/// Not among them: PEEK_EXPORT (4, withdrawn) and EXTENDED_HEADERS (11, experimental), which are
/// answered as unknown.
package enum NBDOption: UInt32, CaseIterable, Sendable {
  case exportName = 1
  case abort = 2
  case list = 3
  case startTLS = 5
  case info = 6
  case go = 7
  case structuredReply = 8
  case listMetaContext = 9
  case setMetaContext = 10
}

/// How an option is answered; errors have bit 31 set.
package enum OptionReplyType: UInt32, CaseIterable, Sendable {
  case acknowledged = 1
  case server = 2
  case info = 3
  case metaContext = 4
  case unsupported = 0x8000_0001
  case policy = 0x8000_0002
  case invalid = 0x8000_0003
  case platform = 0x8000_0004
  case tlsRequired = 0x8000_0005
  case unknown = 0x8000_0006
  case shutdown = 0x8000_0007
  case blockSizeRequired = 0x8000_0008
  case tooBig = 0x8000_0009
  case extendedHeadersRequired = 0x8000_000A

  package var isError: Bool { rawValue & 0x8000_0000 != 0 }
}

/// The kinds of information about an export that INFO and GO give.
package enum InfoType: UInt16, CaseIterable, Sendable {
  case export = 0
  case name = 1
  case description = 2
  case blockSize = 3
}

/// The numbers and sizes that frame the handshake.
package enum Handshake {
  package static let greetingMagic: UInt64 = 0x4e42_444d_4147_4943
  package static let optionMagic: UInt64 = 0x4948_4156_454f_5054
  /// What an oldstyle server says in the place of `optionMagic`.
  package static let oldstyleMagic: UInt64 = 0x0000_4202_8186_1253
  package static let optionReplyMagic: UInt64 = 0x0003_e889_0455_65a9

  /// The server's bits, and the client's as well: both sides use the same two.
  package static let fixedNewstyle: UInt16 = 1 << 0
  package static let noZeroes: UInt16 = 1 << 1

  package static let greetingByteCount = 18
  package static let clientFlagsByteCount = 4
  /// `[magic 8][option 4][length 4]`.
  package static let optionHeaderByteCount = 16
  /// `[magic 8][option 4][type 4][length 4]`.
  package static let optionReplyHeaderByteCount = 20
  /// The padding behind the answer to EXPORT_NAME, unless both sides agreed on NO_ZEROES.
  package static let exportNamePaddingByteCount = 124

  /// The one metadata context that is served.
  package static let allocationContextName = "base:allocation"
  package static let allocationContextIdentifier: UInt32 = 1
}
