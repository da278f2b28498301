import CJansson

// Jansson counts references. Each tree is made and released within one function here: `decode`
// owns the parsed root and releases it once, everything it looks at is borrowed from that root;
// `encode` builds bottom up, and each `..._new` call hands a child over to its parent even when
// it fails.

extension JSONValue {
  /// How deep arrays and objects may nest.
  package static var depthMax: Int { 32 }

  /// Reads one JSON document and nothing behind it; duplicate members are refused.
  package static func decode(_ bytes: [UInt8]) throws(JSONError) -> JSONValue {
    var error = json_error_t()
    // Safe: the pointer covers `bytes` and is not kept; jansson checks UTF-8 and the length.
    let root = unsafe bytes.withUnsafeBytes { buffer in
      unsafe json_loadb(
        buffer.baseAddress, buffer.count, Int(JSON_REJECT_DUPLICATES | JSON_DECODE_ANY), &error)
    }
    guard let root = unsafe root else {
      throw .malformed(reason: reason(of: error), atByte: max(0, Int(error.position)))
    }
    defer { unsafe json_decref(root) }
    return try unsafe value(of: root, depth: 0)
  }

  /// The document on one line, in UTF-8, without a newline behind it.
  package func encode() -> [UInt8] {
    guard let root = unsafe makeTree() else { preconditionFailure("no memory for a JSON document") }
    defer { unsafe json_decref(root) }
    let flags = Int(JSON_COMPACT | JSON_ENCODE_ANY)
    let byteCount = unsafe json_dumpb(root, nil, 0, flags)
    precondition(byteCount > 0, "jansson refused a document of our own")
    // Safe: the buffer has the size that jansson has just asked for.
    return unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
      unsafe buffer.withMemoryRebound(to: CChar.self) { text in
        count = unsafe json_dumpb(root, text.baseAddress, byteCount, flags)
      }
      precondition(count == byteCount)
    }
  }

  /// The document as text.
  package var text: String { String(decoding: encode(), as: UTF8.self) }

  private static func reason(of error: json_error_t) -> String {
    unsafe withUnsafeBytes(of: error.text) { bytes in
      // Safe: a fixed array inside the struct; read up to its zero byte or its end.
      unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  /// Copies a borrowed tree.
  private static func value(
    of json: UnsafeMutablePointer<json_t>, depth: Int
  ) throws(JSONError) -> JSONValue {
    // Safe: each accessor is called on the type it is for; children live as long as the root.
    switch unsafe json.pointee.type {
    case JSON_TRUE: return .bool(true)
    case JSON_FALSE: return .bool(false)
    case JSON_INTEGER: return .integer(Int64(unsafe json_integer_value(json)))
    case JSON_REAL: return .real(unsafe json_real_value(json))
    case JSON_STRING: return .string(unsafe text(of: json))
    case JSON_ARRAY:
      guard depth < depthMax else { throw .tooDeep }
      var elements: [JSONValue] = []
      for index in 0..<(unsafe json_array_size(json)) {
        guard let element = unsafe json_array_get(json, index) else { continue }
        elements.append(try unsafe value(of: element, depth: depth + 1))
      }
      return .array(elements)
    case JSON_OBJECT:
      guard depth < depthMax else { throw .tooDeep }
      var members: [JSONMember] = []
      var iterator = unsafe json_object_iter(json)
      while let position = unsafe iterator {
        if let key = unsafe json_object_iter_key(position),
          let member = unsafe json_object_iter_value(position)
        {
          let name = unsafe String(cString: key)
          members.append(
            JSONMember(name: name, value: try unsafe value(of: member, depth: depth + 1)))
        }
        unsafe iterator = unsafe json_object_iter_next(json, position)
      }
      return .object(members)
    default: return .null
    }
  }

  private static func text(of json: UnsafeMutablePointer<json_t>) -> String {
    guard let start = unsafe json_string_value(json) else { return "" }
    // Safe: jansson says how long its string is.
    let bytes = unsafe UnsafeRawBufferPointer(start: start, count: json_string_length(json))
    return unsafe String(decoding: bytes, as: UTF8.self)
  }

  /// - Returns: a tree with one reference, the caller's; nil when memory is exhausted.
  private func makeTree() -> UnsafeMutablePointer<json_t>? {
    switch self {
    case .null: return unsafe json_null()
    case .bool(let flag): return unsafe flag ? json_true() : json_false()
    case .integer(let number): return unsafe json_integer(json_int_t(number))
    case .real(let number):
      // JSON has no infinities.
      return unsafe number.isFinite ? json_real(number) : json_null()
    case .string(let text):
      var text = text
      // Safe: the pointer covers the string and is copied from.
      return text.withUTF8 { utf8 in
        unsafe utf8.withMemoryRebound(to: CChar.self) { bytes in
          // An empty buffer may have no address, which jansson would refuse.
          unsafe bytes.isEmpty ? json_string("") : json_stringn(bytes.baseAddress, bytes.count)
        }
      }
    case .array(let elements):
      let array = unsafe json_array()
      for element in elements {
        guard unsafe json_array_append_new(array, element.makeTree()) == 0 else {
          unsafe json_decref(array)
          return nil
        }
      }
      return unsafe array
    case .object(let members):
      let object = unsafe json_object()
      for member in members {
        guard unsafe json_object_set_new(object, member.name, member.value.makeTree()) == 0 else {
          unsafe json_decref(object)
          return nil
        }
      }
      return unsafe object
    }
  }
}
