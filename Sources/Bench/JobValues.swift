import Control
import Units

// How the values of fio's options are written.

/// A size in bytes, or a share of something not yet known.
enum Extent: Equatable, Sendable {
  case bytes(UInt64)
  case percent(UInt64)
}

extension Conversion {
  /// A conversion that first refuses a list: fio's way to give reads, writes and trims their own.
  fileprivate func single() -> Conversion<Value> {
    Conversion { text in
      if text.contains(",") {
        return .failure(
          UsageError("gives reads, writes and trims values of their own: give one for all"))
      }
      // The message of the inner conversion, without the subject and the text that it begins with.
      do throws(UsageError) {
        return .success(try self.convert(text, for: ""))
      } catch {
        return .failure(UsageError(String(error.message.dropFirst(": '\(text)' ".count))))
      }
    }
  }
}

extension Conversion where Value == UInt64 {
  /// A whole number; fio's 0 for "none" included.
  static func count(in range: ClosedRange<UInt64>) -> Conversion {
    Conversion { text in
      guard let number = UInt64(text) else {
        return .failure(UsageError("is not a whole number"))
      }
      guard range.contains(number) else {
        let message =
          range.upperBound == .max
          ? "is too small: at least \(range.lowerBound)"
          : "is outside \(range.lowerBound) to \(range.upperBound)"
        return .failure(UsageError(message))
      }
      return .success(number)
    }.single()
  }

  /// A block size, up to 1 GiB.
  static var blockSize: Conversion { Conversion.size(in: 1...(1 << 30)).single() }

  /// A duration in fio's units: seconds where none is given.
  static var fioTime: Conversion {
    Conversion { text in
      var lowered = text.lowercased()
      if lowered.last?.isNumber == true { lowered += "s" }
      for (long, short) in [("usec", "us"), ("msec", "ms"), ("sec", "s")]
      where lowered.hasSuffix(long) {
        lowered = lowered.dropLast(long.count) + short
        break
      }
      do throws(QuantityError) {
        return .success(try TimeSpan.parse(lowered))
      } catch {
        return .failure(UsageError("\(error); a time looks like 30 (seconds), 500ms or 2m"))
      }
    }
  }

  /// A seed: decimal, or hexadecimal behind 0x.
  static var seed: Conversion {
    Conversion { text in
      let number =
        text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
      guard let number else {
        return .failure(UsageError("is not a seed: a whole number, also hexadecimal: 0x89"))
      }
      return .success(number)
    }
  }
}

extension Conversion where Value == Extent {
  /// `10G` or `20%`; a percentage from `percentMin` to 100.
  static func extent(percentMin: UInt64) -> Conversion {
    Conversion { text in
      guard text.hasSuffix("%") else {
        do throws(QuantityError) {
          return .success(.bytes(try ByteSize.parse(text)))
        } catch {
          return .failure(UsageError("\(error); a size looks like 512, 64k, 10G or 20%"))
        }
      }
      guard let percent = UInt64(text.dropLast()), (percentMin...100).contains(percent) else {
        return .failure(UsageError("is not a whole percentage from \(percentMin)% to 100%"))
      }
      return .success(.percent(percent))
    }
  }
}

extension Conversion where Value == ClosedRange<UInt64> {
  /// `4k-64k` or `4k:64k`; the larger may come first, as in fio.
  static var blockSizes: Conversion {
    Conversion { text in
      let parts = text.split(omittingEmptySubsequences: false) { $0 == "-" || $0 == ":" }
      guard parts.count == 2 else {
        return .failure(UsageError("is not a range of sizes such as 4k-64k"))
      }
      do throws(UsageError) {
        let first = try Conversion<UInt64>.blockSize.convert(String(parts[0]), for: "")
        let second = try Conversion<UInt64>.blockSize.convert(String(parts[1]), for: "")
        let (low, high) = (min(first, second), max(first, second))
        guard high % low == 0 else {
          return .failure(
            UsageError(
              "does not end at a multiple of its beginning: sizes are multiples of the smallest"))
        }
        return .success(low...high)
      } catch {
        return .failure(UsageError("is not a range of sizes such as 4k-64k\(error.message)"))
      }
    }.single()
  }
}

extension Conversion where Value == Workload {
  static var workload: Conversion {
    Conversion { text in
      if text == "readwrite" { return .success(.rw) }
      if let workload = Workload(rawValue: text) { return .success(workload) }
      if let colon = text.firstIndex(of: ":"), Workload(rawValue: String(text[..<colon])) != nil {
        return .failure(
          UsageError("has an offset modifier, which is not supported: say '\(text[..<colon])'"))
      }
      let known = Workload.allCases.map(\.rawValue).joined(separator: ", ")
      return .failure(UsageError("is not one of \(known)"))
    }
  }
}

extension Conversion where Value == VerifyMode {
  static var verifyMode: Conversion {
    Conversion { text in
      if text == "0" { return .success(.none) }
      if let mode = VerifyMode(rawValue: text) { return .success(mode) }
      return .failure(UsageError("is not supported: say crc32c or none"))
    }
  }
}

extension Conversion where Value == RandomDistribution {
  static var distribution: Conversion {
    Conversion { text in
      if text == "random" { return .success(.random) }
      // fio's exponent where none is given.
      if text == "zipf" { return .success(.zipf(theta: 1.1)) }
      guard text.hasPrefix("zipf:") else {
        return .failure(UsageError("is not supported: say random or zipf:THETA"))
      }
      let number = text.dropFirst(5)
      guard number.utf8.allSatisfy({ (48...57).contains($0) || $0 == 46 }),
        let theta = Double(number), theta > 0, theta <= 100
      else {
        return .failure(UsageError("needs a number above 0 behind 'zipf:', such as zipf:1.2"))
      }
      guard abs(theta - 1) >= 1e-6 else {
        return .failure(UsageError("has no formula at 1: say zipf:0.99 or zipf:1.01"))
      }
      return .success(.zipf(theta: theta))
    }
  }
}

extension Conversion where Value == Bool {
  static var toggle: Conversion {
    Conversion { text in
      switch text {
      case "1": .success(true)
      case "0": .success(false)
      default: .failure(UsageError("is neither 0 nor 1"))
      }
    }
  }
}
