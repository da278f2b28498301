package import DiskFormat
package import IO

/// Why a node does not go on with its peer.
///
/// The connection ends behind it.
package struct Refusal: Equatable, Sendable {
  /// What the refusal is about, and what the two numbers mean then; 0 where nothing is said.
  package enum Code: UInt16, CaseIterable, Sendable {
    /// No timeline in common.
    case unrelated = 1
    /// Both have records behind the first number, the last that they agree on; the second is the
    /// sender's last.
    case diverged = 2
    /// The sender knows a newer timeline, which began behind the first number.
    case superseded = 3
    /// The sender's device has the first number of blocks, the peer's the second.
    case wrongSize = 4
    /// The sender has another peer, or is amid something; it may be tried again.
    case busy = 5
    /// The sender speaks the first version, the peer the second.
    case version = 6
    /// The sender does not take records: it is no replica, or not of this array.
    case notReplica = 7
    /// The sender's data is amid a copy, so it cannot be what was asked of it.
    case inconsistent = 8
    /// The words say it.
    case other = 9
  }

  package static let wordsBytesMax = 512

  package var code: Code
  package var firstNumber: UInt64
  package var secondNumber: UInt64
  /// For the operator: at most 512 bytes, without control characters.
  package let words: String

  /// Of words that are longer the end is left out, and control characters become question marks: a
  /// refusal is said in any case.
  package init(code: Code, firstNumber: UInt64 = 0, secondNumber: UInt64 = 0, words: String = "") {
    self.code = code
    self.firstNumber = firstNumber
    self.secondNumber = secondNumber
    var fitting = ""
    var byteCount = 0
    for scalar in words.unicodeScalars {
      let shown = scalar.properties.generalCategory == .control ? "?" : scalar
      byteCount += UTF8.width(shown)
      guard byteCount <= Self.wordsBytesMax else { break }
      fitting.unicodeScalars.append(shown)
    }
    self.words = fitting
  }

  /// The parts that have a fixed place; the words follow.
  package enum Field: String, FormatField {
    case firstNumber, secondNumber, code, wordsByteCount, reserved

    package var byteRange: Range<Int> {
      switch self {
      case .firstNumber: 0..<8
      case .secondNumber: 8..<16
      case .code: 16..<18
      case .wordsByteCount: 18..<20
      case .reserved: 20..<24
      }
    }
  }

  package static let fixedByteCount = 24

  /// Writes the body.
  ///
  /// - Precondition: there is room.
  /// - Returns: its bytes.
  package func encode(into body: IOBuffer) -> Int {
    let wordsByteCount = words.utf8.count
    let fixed = body.prefix(Self.fixedByteCount)
    fixed.fill(with: 0)
    fixed.store(firstNumber, Field.firstNumber)
    fixed.store(secondNumber, Field.secondNumber)
    fixed.store(UInt64(code.rawValue), Field.code)
    fixed.store(UInt64(wordsByteCount), Field.wordsByteCount)
    let text = body.slice(Self.fixedByteCount, paddedToWord(wordsByteCount))
    text.store(text: words)
    return Self.fixedByteCount + text.byteCount
  }

  /// Reads the body.
  package static func decode(_ body: IOBuffer) throws(FormatError) -> Refusal {
    var reader = try BodyReader<Field>(body, fixed: fixedByteCount)
    try reader.expectZeros(.reserved)
    let rawCode = reader.word(.code)
    guard let code = Code(rawValue: UInt16(truncatingIfNeeded: rawCode)) else {
      throw .field(Field.code, rawCode)
    }
    let wordsByteCount = reader.count(.wordsByteCount)
    guard wordsByteCount <= wordsBytesMax else {
      throw .field(Field.wordsByteCount, UInt64(wordsByteCount))
    }
    let words = try reader.text(wordsByteCount, .wordsByteCount, named: "words")
    try reader.expectEnd()
    return Refusal(
      code: code, firstNumber: reader.word(.firstNumber), secondNumber: reader.word(.secondNumber),
      words: words)
  }
}
