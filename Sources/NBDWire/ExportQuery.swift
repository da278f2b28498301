/// The data of INFO and GO: `[name length 4][name][n 2]`, then `n` information types of 2 bytes.
struct ExportQuery {
  let name: [UInt8]
  /// Those that are known; the others are ignored.
  let infoTypes: Set<InfoType>

  init(_ data: RawSpan) throws(OptionRefusal) {
    var reader = OptionReader(data)
    guard let name = reader.string() else {
      throw OptionRefusal(
        type: .invalid, text: "the export name does not fit the option, or is no valid name")
    }
    guard let count = reader.integer(UInt16.self) else {
      throw OptionRefusal(type: .invalid, text: "the number of information requests is missing")
    }
    guard reader.remainingByteCount == Int(count) * MemoryLayout<UInt16>.size else {
      throw OptionRefusal(
        type: .invalid, text: "\(count) information requests do not fill the option exactly")
    }
    var infoTypes: Set<InfoType> = []
    while let number = reader.integer(UInt16.self) {
      if let type = InfoType(rawValue: number) { infoTypes.insert(type) }
    }
    self.name = name
    self.infoTypes = infoTypes
  }
}

/// The data of LIST_META_CONTEXT and SET_META_CONTEXT: `[name length 4][name][n 4]`, then `n`
/// queries of `[length 4][query]`.
struct MetadataQuery {
  let name: [UInt8]
  let queryCount: Int
  /// `base:allocation` was asked for by its name.
  private(set) var namesAllocation = false
  /// `base:` was asked for, which stands for all contexts of that namespace in a list.
  private(set) var namesBaseNamespace = false

  init(_ data: RawSpan, queryCountMax: Int) throws(OptionRefusal) {
    var reader = OptionReader(data)
    guard let name = reader.string() else {
      throw OptionRefusal(
        type: .invalid, text: "the export name does not fit the option, or is no valid name")
    }
    guard let count = reader.integer(UInt32.self) else {
      throw OptionRefusal(type: .invalid, text: "the number of queries is missing")
    }
    // Each takes at least the 4 bytes of its length: more cannot be there.
    guard count <= reader.remainingByteCount / 4 else {
      throw OptionRefusal(type: .invalid, text: "\(count) queries do not fit the option")
    }
    guard count <= queryCountMax else {
      throw OptionRefusal(
        type: .tooBig, text: "\(count) queries are more than the \(queryCountMax) allowed")
    }
    self.name = name
    self.queryCount = Int(count)
    for _ in 0..<queryCount {
      guard let query = reader.string() else {
        throw OptionRefusal(
          type: .invalid, text: "a query does not fit the option, or is no valid string")
      }
      namesAllocation = namesAllocation || query.elementsEqual(Self.allocation)
      namesBaseNamespace = namesBaseNamespace || query.elementsEqual(Self.baseNamespace)
    }
    guard reader.remainingByteCount == 0 else {
      throw OptionRefusal(type: .invalid, text: "there are bytes behind the last query")
    }
  }

  private static let allocation = Handshake.allocationContextName.utf8
  private static let baseNamespace = "base:".utf8
}
