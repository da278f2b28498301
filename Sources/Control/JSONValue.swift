/// A JSON document in memory; objects keep the order of their members.
package enum JSONValue: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int64)
  case real(Double)
  case string(String)
  case array([JSONValue])
  case object([JSONMember])

  /// A counter; what does not fit into JSON's signed 64 bits is told as their maximum.
  package static func count(_ value: UInt64) -> JSONValue { .integer(Int64(clamping: value)) }

  /// A number of things in memory, which always fits.
  package static func count(_ value: Int) -> JSONValue { .integer(Int64(value)) }

  /// The member of that name; nil when there is none, or when this is no object.
  package subscript(_ name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }

  package var string: String? {
    guard case .string(let text) = self else { return nil }
    return text
  }

  package var integer: Int64? {
    guard case .integer(let number) = self else { return nil }
    return number
  }

  package var bool: Bool? {
    guard case .bool(let flag) = self else { return nil }
    return flag
  }

  package var array: [JSONValue]? {
    guard case .array(let elements) = self else { return nil }
    return elements
  }
}

extension JSONValue: ExpressibleByDictionaryLiteral {
  package init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(elements.map { JSONMember(name: $0.0, value: $0.1) })
  }
}

extension JSONValue: ExpressibleByStringLiteral {
  package init(stringLiteral value: String) { self = .string(value) }
}

extension JSONValue: ExpressibleByBooleanLiteral {
  package init(booleanLiteral value: Bool) { self = .bool(value) }
}

/// One member of a JSON object.
package struct JSONMember: Equatable, Sendable {
  package var name: String
  package var value: JSONValue

  package init(name: String, value: JSONValue) {
    self.name = name
    self.value = value
  }
}

/// Why bytes are not JSON that Ashlar takes.
package enum JSONError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Not JSON, or not UTF-8; the parser's words, and where.
  case malformed(reason: String, atByte: Int)
  /// Nested deeper than anything Ashlar speaks.
  case tooDeep

  package var description: String {
    switch self {
    case .malformed(let reason, let position): "\(reason) at byte \(position)"
    case .tooDeep: "nested deeper than \(JSONValue.depthMax) levels"
    }
  }
}
