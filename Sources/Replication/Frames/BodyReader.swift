internal import DiskFormat
internal import IO

/// A frame's body as it is read: the fixed part by its fields, then what its counts promise.
///
/// Every step asks whether the bytes are there.
struct BodyReader<Field: FormatField> {
  private let body: IOBuffer
  private var end: Int

  /// `byteCount`: of the fixed part, where `Field` ends.
  init(_ body: IOBuffer, fixed byteCount: Int) throws(FormatError) {
    guard body.byteCount >= byteCount else {
      throw .field(name: "bodyByteCount", value: UInt64(truncatingIfNeeded: body.byteCount))
    }
    self.body = body
    end = byteCount
  }

  /// The bytes that were not taken yet.
  var remainingByteCount: Int { body.byteCount - end }

  func word(_ field: Field) -> UInt64 { body.load(field) }

  func halfWord(_ field: Field) -> UInt32 { UInt32(truncatingIfNeeded: body.load(field)) }

  /// A count of 32 bits or less.
  func count(_ field: Field) -> Int { Int(halfWord(field)) }

  func identifier(_ field: Field) -> Identifier { body.loadIdentifier(at: field.offset) }

  /// One of the values that are known.
  func choice<Choice: RawRepresentable<UInt8>>(
    _ field: Field, _ type: Choice.Type
  ) throws(FormatError) -> Choice {
    let raw = body.loadUInt8(at: field.offset)
    guard let choice = Choice(rawValue: raw) else { throw .field(field, UInt64(raw)) }
    return choice
  }

  /// A byte that is 0 or 1.
  func isSet(_ field: Field) throws(FormatError) -> Bool {
    let raw = body.loadUInt8(at: field.offset)
    guard raw <= 1 else { throw .field(field, UInt64(raw)) }
    return raw == 1
  }

  func expectZeros(_ field: Field) throws(FormatError) { try body.expectZeros(field) }

  /// The next bytes; `field` is the count that promised them.
  mutating func take(_ byteCount: Int, _ field: Field) throws(FormatError) -> IOBuffer {
    guard byteCount >= 0, byteCount <= remainingByteCount else {
      throw .field(field, body.load(field))
    }
    defer { end += byteCount }
    return body.slice(end, byteCount)
  }

  /// The next bytes, without taking them.
  func peek(_ byteCount: Int, _ field: Field) throws(FormatError) -> IOBuffer {
    guard byteCount <= remainingByteCount else { throw .field(field, body.load(field)) }
    return body.slice(end, byteCount)
  }

  /// Text of so many bytes, with zeros up to a multiple of 8.
  mutating func text(
    _ byteCount: Int, _ field: Field, named name: StaticString
  ) throws(FormatError) -> String {
    let bytes = try take(paddedToWord(byteCount), field)
    let letters = (0..<byteCount).map { bytes.loadUInt8(at: $0) }
    guard let text = String(validating: letters, as: UTF8.self) else {
      throw .field(name: "\(name)", value: UInt64(letters.first { $0 >= 0x80 } ?? 0))
    }
    try text.expectNoControls(named: name)
    try bytes.dropFirst(byteCount).expectZeros()
    return text
  }

  /// Whether all was taken: nothing is left over.
  func expectEnd() throws(FormatError) {
    guard end == body.byteCount else {
      throw .field(name: "bodyByteCount", value: UInt64(truncatingIfNeeded: body.byteCount))
    }
  }
}

extension IOBuffer {
  /// The number of a field of 1, 2, 4 or 8 bytes.
  func load(_ field: some FormatField) -> UInt64 {
    let offset = field.offset
    switch field.byteRange.count {
    case 8: return loadUInt64(at: offset)
    case 4: return UInt64(loadUInt32(at: offset))
    case 2: return UInt64(loadUInt8(at: offset)) | UInt64(loadUInt8(at: offset + 1)) << 8
    default: return UInt64(loadUInt8(at: offset))
    }
  }

  /// Writes a field of 1, 2, 4 or 8 bytes.
  ///
  /// - Precondition: the number fits.
  func store(_ number: UInt64, _ field: some FormatField) {
    let (offset, byteCount) = (field.offset, field.byteRange.count)
    precondition(byteCount == 8 || number >> UInt64(byteCount * 8) == 0)
    switch byteCount {
    case 8: storeUInt64(number, at: offset)
    case 4: storeUInt32(UInt32(truncatingIfNeeded: number), at: offset)
    case 2:
      storeUInt8(UInt8(truncatingIfNeeded: number), at: offset)
      storeUInt8(UInt8(truncatingIfNeeded: number >> 8), at: offset + 1)
    default: storeUInt8(UInt8(truncatingIfNeeded: number), at: offset)
    }
  }

  /// Writes text, and zeros up to the end of the view.
  func store(text: String) {
    fill(with: 0)
    for (index, byte) in text.utf8.enumerated() { storeUInt8(byte, at: index) }
  }

  func expectZeros(_ field: some FormatField) throws(FormatError) {
    try slice(field.byteRange).expectZeros()
  }

  /// What this version leaves unused is zero: another value was written by something unknown.
  func expectZeros() throws(FormatError) {
    guard isZero else { throw .field(name: "reserved", value: UInt64(firstNonZero)) }
  }

  private var firstNonZero: UInt8 {
    for index in 0..<byteCount where self[index] != 0 { return self[index] }
    return 0
  }
}

extension String {
  /// It is shown on terminals and in logs, so nothing in it may be a command to them.
  func expectNoControls(named name: StaticString) throws(FormatError) {
    for scalar in unicodeScalars where scalar.properties.generalCategory == .control {
      throw .field(name: "\(name)", value: UInt64(scalar.value))
    }
  }
}

extension FormatError {
  /// A field of a table that makes no sense.
  static func field(_ field: some FormatField, _ value: UInt64) -> FormatError {
    .field(name: field.rawValue, value: value)
  }
}

/// Holds what is about to be written to the rules of what is read.
func requireValid(_ validate: () throws(FormatError) -> Void) {
  do throws(FormatError) {
    try validate()
  } catch {
    preconditionFailure("a frame that no peer would accept: \(error)")
  }
}
