import Testing
import Units

@Suite("Units: durations")
struct DurationTests {
  @Test(
    "a number with a unit is read exactly",
    arguments: [
      ("10s", 10_000_000_000), ("500ms", 500_000_000), ("2m", 120_000_000_000),
      ("2min", 120_000_000_000), ("1.5s", 1_500_000_000), ("7ns", 7), ("3us", 3000),
      ("1h", 3_600_000_000_000), ("1d", 86_400_000_000_000), ("0", 0), ("0s", 0),
      ("10 s", 10_000_000_000),
    ] as [(String, UInt64)])
  func reads(text: String, nanoseconds: UInt64) throws {
    #expect(try TimeSpan.parse(text) == nanoseconds)
  }

  @Test(
    "what is no duration is refused with its reason",
    arguments: [
      ("", .notANumber), ("s", .notANumber), ("-1s", .notANumber),
      ("30", .missingUnit(suggestion: "30s")), ("0.5ns", .notWhole("nanoseconds")),
      ("1000000d", .tooLarge), ("99999999999999999999s", .tooLarge),
      ("10S", .unknownUnit("S", known: "ns, us, ms, s, m, h or d")),
    ] as [(String, QuantityError)])
  func refuses(text: String, error: QuantityError) {
    #expect(throws: error) { try TimeSpan.parse(text) }
  }

  @Test(
    "a latency is written with three digits",
    arguments: [
      (0, "0 ns"), (999, "999 ns"), (1000, "1 us"), (1050, "1.05 us"), (12_345, "12.3 us"),
      (123_456, "123 us"), (999_499, "999 us"), (999_500, "1 ms"), (1_500_000, "1.5 ms"),
      (999_999_999, "1 s"), (30_000_000_000, "30 s"), (999_000_000_000, "999 s"),
      (1_000_000_000_000, "16 min 40 s"), (.max, "213503 d 23 h"),
    ] as [(UInt64, String)])
  func writesLatencies(nanoseconds: UInt64, text: String) {
    #expect(TimeSpan.format(nanoseconds: nanoseconds) == text)
  }

  @Test(
    "an uptime is written in its two largest units",
    arguments: [
      (999_999_999, "0 s"), (42, "42 s"), (90, "1 min 30 s"), (7500, "2 h 5 min"),
      (273_600, "3 d 4 h"),
    ] as [(UInt64, String)])
  func writesUptimes(seconds: UInt64, text: String) {
    let nanoseconds = seconds < 1_000_000 ? seconds * 1_000_000_000 : seconds
    #expect(TimeSpan.formatUptime(nanoseconds: nanoseconds) == text)
  }
}
