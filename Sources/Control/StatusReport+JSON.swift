import IO

// The one place where the keys of the status stand, once to write and once to read. Readers
// outside Ashlar rely on them: keys are added, never renamed, never given another meaning.

extension StatusReport {
  /// The object under `"status"` in a response.
  package var json: JSONValue {
    let plain: JSONValue = [
      "name": .string(name),
      "state": .string(state.rawValue),
      "cause": .string(cause),
      "action": .string(action),
      "stopping": .bool(isStopping),
      "up_nanoseconds": .count(upNanoseconds),
      "device": [
        "kind": .string(device.kind),
        "byte_count": .count(device.byteCount),
        "read_only": .bool(device.isReadOnly),
        "rotational": .bool(device.isRotational),
        "preferred_block_bytes": .count(device.preferredBlockBytes),
      ],
      "listeners": .array(listeners.map { .string($0) }),
      "connections": .array(connections.map(\.json)),
      "connection_count_max": .count(connectionCountMax),
      "accepted_count": .count(acceptedCount),
      "violation_count": .count(violationCount),
      "requests": [
        "read": reads.json,
        "write": writes.json,
        "flush": flushes.json,
        "other": others.json,
      ],
      "requests_in_flight": .count(requestsInFlight),
      "buffer_bytes_in_use": .count(bufferBytesInUse),
      "buffer_bytes_max": .count(bufferBytesMax),
      "oldest_request_nanoseconds": .count(oldestRequestNanoseconds),
      "loop": [
        "turn_count": .count(loop.turnCount),
        "enter_count": .count(loop.enterCount),
        "job_count": .count(loop.jobCount),
        "completion_count": .count(loop.completionCount),
      ],
    ]
    guard let array, case .object(let members) = plain else { return plain }
    return .object(members + [JSONMember(name: "array", value: array.json)])
  }

  /// Reads what `json` wrote; members that it does not know are passed over.
  package init(_ json: JSONValue) throws(ControlError) {
    let reader = JSONReader(json, path: "status")
    let stateText = try reader.string("state")
    guard let state = State(rawValue: stateText) else {
      throw .unexpectedResponse("status.state is '\(stateText)'")
    }
    self.state = state
    name = try reader.string("name")
    cause = try reader.string("cause")
    action = try reader.string("action")
    isStopping = try reader.bool("stopping")
    upNanoseconds = try reader.count("up_nanoseconds")
    device = try DeviceReport(reader.object("device"))
    listeners = try reader.array("listeners").map { element throws(ControlError) in
      guard let text = element.string else {
        throw .unexpectedResponse("status.listeners holds something else than text")
      }
      return text
    }
    connections = try reader.array("connections").map { element throws(ControlError) in
      try ConnectionReport(JSONReader(element, path: "status.connections"))
    }
    connectionCountMax = try reader.count("connection_count_max")
    acceptedCount = try reader.count("accepted_count")
    violationCount = try reader.count("violation_count")
    let requests = try reader.object("requests")
    reads = try RequestReport(requests.object("read"))
    writes = try RequestReport(requests.object("write"))
    flushes = try RequestReport(requests.object("flush"))
    others = try RequestReport(requests.object("other"))
    requestsInFlight = try reader.count("requests_in_flight")
    bufferBytesInUse = try reader.count("buffer_bytes_in_use")
    bufferBytesMax = try reader.count("buffer_bytes_max")
    oldestRequestNanoseconds = try reader.count("oldest_request_nanoseconds")
    let counters = try reader.object("loop")
    loop = LoopCounters()
    loop.turnCount = try counters.count("turn_count")
    loop.enterCount = try counters.count("enter_count")
    loop.jobCount = try counters.count("job_count")
    loop.completionCount = try counters.count("completion_count")
    // A server from before there were arrays does not say.
    array = try reader.optionalObject("array").map { part throws(ControlError) in
      try ArrayReport(part)
    }
  }
}

extension DeviceReport {
  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    kind = try reader.string("kind")
    byteCount = try reader.count("byte_count")
    isReadOnly = try reader.bool("read_only")
    isRotational = try reader.bool("rotational")
    preferredBlockBytes = try reader.count("preferred_block_bytes")
  }
}

extension ConnectionReport {
  fileprivate var json: JSONValue {
    [
      "peer": .string(peer),
      "requests_in_flight": .count(requestsInFlight),
      "bytes_in_flight": .count(bytesInFlight),
      "up_nanoseconds": .count(upNanoseconds),
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    peer = try reader.string("peer")
    requestsInFlight = try reader.count("requests_in_flight")
    bytesInFlight = try reader.count("bytes_in_flight")
    upNanoseconds = try reader.count("up_nanoseconds")
  }
}

extension RequestReport {
  fileprivate var json: JSONValue {
    [
      "count": .count(count),
      "byte_count": .count(byteCount),
      "error_count": .count(errorCount),
      "latency": [
        "p50_nanoseconds": .count(latency.p50),
        "p99_nanoseconds": .count(latency.p99),
        "p99_9_nanoseconds": .count(latency.p999),
        "max_nanoseconds": .count(latency.maximum),
        "mean_nanoseconds": .count(latency.mean),
      ],
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    count = try reader.count("count")
    byteCount = try reader.count("byte_count")
    errorCount = try reader.count("error_count")
    let times = try reader.object("latency")
    latency = LatencyReport(
      p50: try times.count("p50_nanoseconds"), p99: try times.count("p99_nanoseconds"),
      p999: try times.count("p99_9_nanoseconds"), maximum: try times.count("max_nanoseconds"),
      mean: try times.count("mean_nanoseconds"))
  }
}

/// Takes members of an object by name and type, and names what is missing or of another type.
struct JSONReader {
  private let json: JSONValue
  private let path: String

  init(_ json: JSONValue, path: String) {
    self.json = json
    self.path = path
  }

  func string(_ name: String) throws(ControlError) -> String {
    try member(name, \.string)
  }

  func bool(_ name: String) throws(ControlError) -> Bool {
    try member(name, \.bool)
  }

  func array(_ name: String) throws(ControlError) -> [JSONValue] {
    try member(name, \.array)
  }

  func object(_ name: String) throws(ControlError) -> JSONReader {
    JSONReader(try member(name, { $0 }), path: "\(path).\(name)")
  }

  func count(_ name: String) throws(ControlError) -> UInt64 {
    let number = try member(name, \.integer)
    guard number >= 0 else { throw .unexpectedResponse("\(path).\(name) is negative") }
    return UInt64(number)
  }

  /// A count, or nil where there is none.
  func optionalCount(_ name: String) throws(ControlError) -> UInt64? {
    try isAbsent(name) ? nil : count(name)
  }

  /// Text, or nil where there is none.
  func optionalString(_ name: String) throws(ControlError) -> String? {
    try isAbsent(name) ? nil : string(name)
  }

  /// A list of texts.
  func strings(_ name: String) throws(ControlError) -> [String] {
    var texts: [String] = []
    for element in try array(name) {
      guard let text = element.string else {
        throw .unexpectedResponse("\(path).\(name) holds something else than text")
      }
      texts.append(text)
    }
    return texts
  }

  /// A list of counts.
  func counts(_ name: String) throws(ControlError) -> [UInt64] {
    var counts: [UInt64] = []
    for element in try array(name) {
      guard let number = element.integer, let count = UInt64(exactly: number) else {
        throw .unexpectedResponse("\(path).\(name) holds something else than counts")
      }
      counts.append(count)
    }
    return counts
  }

  /// False where there is none, as from a server that does not know of it yet.
  func laterBool(_ name: String) throws(ControlError) -> Bool {
    try isAbsent(name) ? false : bool(name)
  }

  /// A list of objects; empty where there is none, as from a server that does not know of it yet.
  func laterObjects<Element>(
    _ name: String, _ read: (JSONReader) throws(ControlError) -> Element
  ) throws(ControlError) -> [Element] {
    try isAbsent(name) ? [] : objects(name, read)
  }

  /// An object, or nil where there is none.
  func optionalObject(_ name: String) throws(ControlError) -> JSONReader? {
    try isAbsent(name) ? nil : object(name)
  }

  /// A list of objects, each read by `read`.
  func objects<Element>(
    _ name: String, _ read: (JSONReader) throws(ControlError) -> Element
  ) throws(ControlError) -> [Element] {
    let path = "\(path).\(name)"
    return try array(name).map { element throws(ControlError) in
      try read(JSONReader(element, path: path))
    }
  }

  /// One of the words that a type knows.
  func word<Word: RawRepresentable<String>>(_ name: String) throws(ControlError) -> Word {
    let text = try string(name)
    guard let word = Word(rawValue: text) else {
      throw .unexpectedResponse("\(path).\(name) is '\(text)'")
    }
    return word
  }

  private func isAbsent(_ name: String) -> Bool {
    json[name] == nil || json[name] == .some(.null)
  }

  private func member<Value>(
    _ name: String, _ convert: (JSONValue) -> Value?
  ) throws(ControlError) -> Value {
    guard let value = json[name].flatMap(convert) else {
      throw .unexpectedResponse("\(path).\(name) is missing or of another type")
    }
    return value
  }
}
