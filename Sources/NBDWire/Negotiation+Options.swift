extension Negotiation {
  /// The replies to an option that leaves negotiation going on.
  mutating func reply(
    to option: NBDOption?, number: UInt32, data: RawSpan
  ) throws(OptionRefusal) -> [UInt8] {
    switch option {
    case .list:
      try refuseData(data, of: "LIST")
      return list(number: number)
    case .startTLS:
      try refuseData(data, of: "STARTTLS")
      throw OptionRefusal(type: .policy, text: "TLS is not configured on this server")
    case .info:
      let query = try ExportQuery(data)
      return information(
        about: exports[try knownExportIndex(of: query.name)], query, number: number)
    case .structuredReply:
      try refuseData(data, of: "STRUCTURED_REPLY")
      usesStructuredReplies = true
      return acknowledgement(of: number)
    case .listMetaContext:
      return try listContexts(number: number, data: data)
    case .setMetaContext:
      return try setContexts(number: number, data: data)
    case .exportName, .abort, .go, nil:
      throw OptionRefusal(type: .unsupported, text: "option \(number) is not known here")
    }
  }

  /// The answers to INFO, and the same to GO: what the export is, what was asked, ACK.
  func information(
    about export: ExportDescription, _ query: ExportQuery, number: UInt32
  ) -> [UInt8] {
    var replies = OptionReplies()
    func add(_ type: InfoType, _ fill: (inout [UInt8]) -> Void) {
      var data: [UInt8] = []
      data.appendBigEndian(type.rawValue)
      fill(&data)
      replies.append(.info, to: number, data: data)
    }
    let flags = export.offeredFlags(usesStructuredReplies: usesStructuredReplies)
    add(.export) {
      $0.appendBigEndian(export.byteCount)
      $0.appendBigEndian(flags.rawValue)
    }
    if query.infoTypes.contains(.name) { add(.name) { $0 += export.name.utf8 } }
    // An export without a description has nothing to say.
    if query.infoTypes.contains(.description), !export.description.isEmpty {
      add(.description) { $0 += export.description.utf8 }
    }
    if query.infoTypes.contains(.blockSize) {
      add(.blockSize) {
        $0.appendBigEndian(export.minimumBlockBytes)
        $0.appendBigEndian(export.preferredBlockBytes)
        $0.appendBigEndian(export.maximumPayloadBytes)
      }
    }
    replies.append(.acknowledged, to: number)
    return replies.bytes
  }

  func knownExportIndex(of name: [UInt8]) throws(OptionRefusal) -> Int {
    guard let index = exportIndex(of: name) else {
      throw OptionRefusal(
        type: .unknown,
        text: name.isEmpty
          ? "there is no default export"
          : "there is no export \(WireText.quoted(name)); LIST tells the names")
    }
    return index
  }

  private func list(number: UInt32) -> [UInt8] {
    var replies = OptionReplies()
    for export in exports {
      var data: [UInt8] = []
      data.appendBigEndian(UInt32(export.name.utf8.count))
      data += export.name.utf8
      data += export.description.utf8
      replies.append(.server, to: number, data: data)
    }
    replies.append(.acknowledged, to: number)
    return replies.bytes
  }

  /// Without queries all contexts; unknown queries find nothing, which is no error.
  private func listContexts(number: UInt32, data: RawSpan) throws(OptionRefusal) -> [UInt8] {
    let query = try metadataQuery(data)
    let isListed = query.queryCount == 0 || query.namesAllocation || query.namesBaseNamespace
    // In a list the identifier means nothing.
    return contexts(isListed ? 0 : nil, number: number)
  }

  /// Replaces the selection, also when it fails.
  ///
  /// A bare `base:` selects nothing.
  private mutating func setContexts(
    number: UInt32, data: RawSpan
  ) throws(OptionRefusal) -> [UInt8] {
    allocationContextName = nil
    let query = try metadataQuery(data)
    guard query.namesAllocation else { return acknowledgement(of: number) }
    allocationContextName = query.name
    return contexts(Handshake.allocationContextIdentifier, number: number)
  }

  private func metadataQuery(_ data: RawSpan) throws(OptionRefusal) -> MetadataQuery {
    guard usesStructuredReplies else {
      throw OptionRefusal(
        type: .invalid, text: "metadata contexts need STRUCTURED_REPLY to be negotiated first")
    }
    let query = try MetadataQuery(data, queryCountMax: limits.metadataQueryCountMax)
    _ = try knownExportIndex(of: query.name)
    return query
  }

  private func contexts(_ identifier: UInt32?, number: UInt32) -> [UInt8] {
    var replies = OptionReplies()
    if let identifier {
      var data: [UInt8] = []
      data.appendBigEndian(identifier)
      data += Handshake.allocationContextName.utf8
      replies.append(.metaContext, to: number, data: data)
    }
    replies.append(.acknowledged, to: number)
    return replies.bytes
  }

  private func acknowledgement(of number: UInt32) -> [UInt8] {
    var replies = OptionReplies()
    replies.append(.acknowledged, to: number)
    return replies.bytes
  }

  private func refuseData(_ data: RawSpan, of option: String) throws(OptionRefusal) {
    guard data.byteCount == 0 else {
      throw OptionRefusal(type: .invalid, text: "\(option) takes no data")
    }
  }
}
