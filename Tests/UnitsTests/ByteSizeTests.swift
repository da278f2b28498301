import Testing
import Units

@Suite("Units: sizes in bytes")
struct ByteSizeTests {
  @Test(
    "a number with a binary unit is read exactly",
    arguments: [
      ("0", 0), ("512", 512), ("512B", 512), ("4k", 4096), ("4K", 4096), ("64KiB", 65536),
      ("64kib", 65536), ("10G", 10 << 30), ("1.5g", 3 << 29), ("1.5 MiB", 3 << 19),
      ("0.5k", 512), ("15E", 15 << 60), ("18446744073709551615", UInt64.max),
      ("1.000k", 1024), ("2T", 2 << 40), ("3P", 3 << 50),
    ] as [(String, UInt64)])
  func reads(text: String, byteCount: UInt64) throws {
    #expect(try ByteSize.parse(text) == byteCount)
  }

  @Test(
    "what is no size is refused with its reason",
    arguments: [
      ("", .notANumber), ("k", .notANumber), ("-1", .notANumber), (".5k", .notANumber),
      ("1.", .notANumber), ("+4k", .notANumber), (" 4k", .notANumber),
      ("0.3k", .notWhole("bytes")), ("1.5", .notWhole("bytes")),
      ("0.0000000000000000000000001E", .notWhole("bytes")),
      ("16E", .tooLarge), ("18446744073709551616", .tooLarge), ("99999999999999999999", .tooLarge),
      ("4GB", .ambiguousUnit("GB", suggestion: "4GiB")),
    ] as [(String, QuantityError)])
  func refuses(text: String, error: QuantityError) {
    #expect(throws: error) { try ByteSize.parse(text) }
  }

  @Test("an unknown unit is named", arguments: ["4x", "4kk", "4ki", "4 k b", "1.2.3", "4k "])
  func namesTheUnknownUnit(text: String) {
    #expect {
      try ByteSize.parse(text)
    } throws: { error in
      if case .unknownUnit = error as? QuantityError { return true }
      return false
    }
  }

  @Test("the exact form reads back as the same number")
  func exactFormReadsBack() throws {
    var values: [UInt64] = [0, 1, 511, 1000, 1023, 1025, .max, .max - 1, 3 << 61]
    for shift in UInt64(0)..<64 { values += [1 << shift, (1 << shift) &+ 1, (1 << shift) &- 1] }
    for value in values { #expect(try ByteSize.parse(ByteSize.formatExactly(value)) == value) }
    #expect(ByteSize.formatExactly(64 << 20) == "64M")
    #expect(ByteSize.formatExactly(65536) == "64k")
  }

  @Test(
    "people get three digits and the fitting unit",
    arguments: [
      (0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (64 << 20, "64 MiB"),
      (1_048_575, "1 MiB"), (1023 << 10, "1023 KiB"), ((1024 << 10) - 513, "1023 KiB"),
      (.max, "16 EiB"), (150 << 29, "75 GiB"), (101 << 19, "50.5 MiB"), (1100 << 30, "1.1 TiB"),
    ] as [(UInt64, String)])
  func writes(byteCount: UInt64, text: String) {
    #expect(ByteSize.format(byteCount) == text)
  }
}
