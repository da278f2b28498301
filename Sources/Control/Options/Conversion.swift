import Units

/// How the text of an option becomes a value.
///
/// The error names the option, the bad text and what would be right.
package struct Conversion<Value>: Sendable {
  /// Completes "--NAME: 'TEXT' ..." when the text is wrong.
  private let body: @Sendable (String) -> Result<Value, UsageError>

  /// A conversion of one's own; the failure's message completes "--NAME: 'TEXT' ...".
  package init(_ body: @escaping @Sendable (String) -> Result<Value, UsageError>) {
    self.body = body
  }

  /// Converts what was given for `subject`: `--size`, or an operand's name.
  package func convert(_ text: String, for subject: String) throws(UsageError) -> Value {
    switch body(text) {
    case .success(let value): return value
    case .failure(let error): throw UsageError("\(subject): '\(text)' \(error.message)")
    }
  }
}

extension Conversion where Value == String {
  /// Any text that is not empty.
  package static var text: Conversion {
    Conversion { $0.isEmpty ? .failure(UsageError("is empty")) : .success($0) }
  }

  /// One of a few words.
  package static func choice(_ words: [String]) -> Conversion {
    Conversion { text in
      if words.contains(text) { return .success(text) }
      return .failure(UsageError("is not one of \(words.joined(separator: ", "))"))
    }
  }

  /// A path as it was given: not empty and without a zero byte.
  package static var path: Conversion {
    Conversion { text in
      if text.isEmpty { return .failure(UsageError("is empty: give a path")) }
      if text.utf8.contains(0) { return .failure(UsageError("holds a zero byte")) }
      return .success(text)
    }
  }

  /// The name of a served device.
  package static var deviceName: Conversion {
    Conversion { text in
      isValidDeviceName(text) ? .success(text) : .failure(UsageError(deviceNameRule))
    }
  }
}

extension Conversion where Value == UInt64 {
  /// A size in bytes: `64KiB`, `10G`; see `ByteSize`.
  package static var size: Conversion { .size(in: 0...UInt64.max) }

  /// A size between two bounds.
  package static func size(in range: ClosedRange<UInt64>) -> Conversion {
    Conversion { text in
      let byteCount: UInt64
      do throws(QuantityError) {
        byteCount = try ByteSize.parse(text)
      } catch {
        return .failure(UsageError("\(error); a size looks like 512, 64k or 10G"))
      }
      guard range.contains(byteCount) else {
        return .failure(UsageError(outside(range) { ByteSize.formatExactly($0) }))
      }
      return .success(byteCount)
    }
  }

  /// A duration in nanoseconds: `10s`, `500ms`; see `TimeSpan`.
  package static var duration: Conversion { .duration(in: 0...UInt64.max) }

  /// A duration between two bounds, in nanoseconds.
  package static func duration(in range: ClosedRange<UInt64>) -> Conversion {
    Conversion { text in
      let nanoseconds: UInt64
      do throws(QuantityError) {
        nanoseconds = try TimeSpan.parse(text)
      } catch {
        return .failure(UsageError("\(error); a duration looks like 500ms, 10s or 2m"))
      }
      guard range.contains(nanoseconds) else {
        return .failure(UsageError(outside(range) { TimeSpan.format(nanoseconds: $0) }))
      }
      return .success(nanoseconds)
    }
  }
}

extension Conversion where Value == Int {
  /// A whole number between two bounds.
  package static func integer(in range: ClosedRange<Int>) -> Conversion {
    Conversion { text in
      guard let number = Int(text) else {
        return .failure(UsageError("is not a whole number"))
      }
      guard range.contains(number) else {
        return .failure(UsageError(outside(range) { "\($0)" }))
      }
      return .success(number)
    }
  }
}

extension Conversion where Value == ListenAddress {
  /// `unix:PATH` or `tcp:HOST:PORT`.
  package static var listenAddress: Conversion {
    Conversion { text in
      do throws(ListenAddressError) {
        return .success(try ListenAddress(text))
      } catch {
        return .failure(UsageError(error.description))
      }
    }
  }
}

private func outside<Bound: FixedWidthInteger>(
  _ range: ClosedRange<Bound>, _ format: (Bound) -> String
) -> String {
  if range.upperBound == .max { return "is too small: at least \(format(range.lowerBound))" }
  return "is outside \(format(range.lowerBound)) to \(format(range.upperBound))"
}
