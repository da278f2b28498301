import Units

/// Lays out a device's status for people: state, cause, action first, as `zpool status` does.
package enum StatusText {
  /// The whole picture of one device, a line each, with a newline behind the last.
  ///
  /// - Parameters:
  ///   - sighting: what was found out.
  ///   - previous: an earlier status of the same server, for rates.
  ///   - elapsedNanoseconds: the time between the two.
  ///   - nowUnixSeconds: for the age of what was long ago.
  /// - Returns: lines of `label: value`, labels in one column.
  package static func describe(
    _ sighting: DeviceSighting, previous: StatusReport? = nil, elapsedNanoseconds: UInt64 = 0,
    nowUnixSeconds: UInt64 = 0
  ) -> String {
    var lines = [row("name", sighting.name)]
    switch sighting.server {
    case .answers(let report, let processID):
      lines += state(of: report)
      if let array = report.array {
        lines += self.array(array, sighting.name, nowUnixSeconds)
        lines += memberTable(array)
      }
      lines.append(
        row(
          "running",
          "\(TimeSpan.formatUptime(nanoseconds: report.upNanoseconds)), process \(processID)"))
      lines.append(row("device", device(report.device)))
      lines += attachment(sighting.attachment)
      lines += list("listening", report.listeners.isEmpty ? ["nothing"] : report.listeners)
      lines += connections(report)
      lines += requests(report, previous, elapsedNanoseconds)
      if let array = report.array { lines += eventLines(array) }
    case .silent(let error):
      lines.append(row("state", isNotRunning(error) ? "not running" : "unknown"))
      lines.append(row("cause", error.explained(sighting.name)))
      lines += attachment(sighting.attachment)
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func isNotRunning(_ error: ControlError) -> Bool {
    if case .notRunning = error { return true }
    return false
  }

  private static func state(of report: StatusReport) -> [String] {
    let stopping = report.isStopping ? ", stopping" : ""
    var lines = [row("state", "\(report.stateWord)\(stopping)")]
    if !report.cause.isEmpty { lines.append(row("cause", report.cause)) }
    if !report.action.isEmpty { lines.append(row("action", report.action)) }
    return lines
  }

  private static func device(_ device: DeviceReport) -> String {
    var words = [ByteSize.format(device.byteCount), device.kind]
    if device.isReadOnly { words.append("read-only") }
    if device.isRotational { words.append("rotational") }
    return words.joined(separator: ", ")
  }

  private static func attachment(_ record: AttachRecord?) -> [String] {
    guard let record else { return [] }
    return [row("attached", record.summary)]
  }

  private static func connections(_ report: StatusReport) -> [String] {
    var head = "\(report.connections.count) of \(report.connectionCountMax) at most"
    head += ", \(report.acceptedCount) since the start"
    if report.violationCount > 0 { head += ", \(report.violationCount) closed for violations" }
    let each = report.connections.map { connection in
      "\(connection.peer): \(connection.requestsInFlight) in flight, "
        + "\(ByteSize.format(connection.bytesInFlight)), "
        + "up \(TimeSpan.formatUptime(nanoseconds: connection.upNanoseconds))"
    }
    return list("clients", [head] + each)
  }

  private static func requests(
    _ report: StatusReport, _ previous: StatusReport?, _ elapsedNanoseconds: UInt64
  ) -> [String] {
    var flight = "\(report.requestsInFlight) in flight, buffers "
    flight += "\(ByteSize.format(report.bufferBytesInUse)) of "
    flight += ByteSize.format(report.bufferBytesMax)
    if report.oldestRequestNanoseconds > 0 {
      flight += ", oldest \(TimeSpan.format(nanoseconds: report.oldestRequestNanoseconds))"
    }
    let rates = previous != nil && elapsedNanoseconds > 0
    var headings = ["", "count", "bytes", "errors"]
    if rates { headings += ["per s", "bytes/s"] }
    headings += ["mean", "p50", "p99", "p99.9", "max"]
    var table = [headings]
    for (label, path) in kinds {
      let now = report[keyPath: path]
      var cells = [label, "\(now.count)", ByteSize.format(now.byteCount), "\(now.errorCount)"]
      if rates, let before = previous?[keyPath: path] {
        let count = perSecond(now.count, before.count, elapsedNanoseconds)
        let bytes = perSecond(now.byteCount, before.byteCount, elapsedNanoseconds)
        cells += ["\(count)", ByteSize.format(bytes)]
      }
      let latency = now.latency
      for time in [latency.mean, latency.p50, latency.p99, latency.p999, latency.maximum] {
        cells.append(now.count == 0 ? "-" : TimeSpan.format(nanoseconds: time))
      }
      table.append(cells)
    }
    return [row("requests", flight), ""] + aligned(table)
  }

  private static var kinds: [(String, KeyPath<StatusReport, RequestReport>)] {
    [("read", \.reads), ("write", \.writes), ("flush", \.flushes), ("other", \.others)]
  }

  /// A server that was restarted counts from zero: its rates start anew.
  static func perSecond(_ now: UInt64, _ before: UInt64, _ elapsedNanoseconds: UInt64) -> UInt64 {
    let difference = now >= before ? now - before : now
    let product = difference.multipliedFullWidth(by: 1_000_000_000)
    guard elapsedNanoseconds > 0, product.high < elapsedNanoseconds else { return 0 }
    return elapsedNanoseconds.dividingFullWidth(product).quotient
  }

  static func aligned(_ table: [[String]]) -> [String] {
    let columns = table.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in
      table.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
    }
    return table.map { cells in
      cells.enumerated().map { index, cell in
        let blanks = String(repeating: " ", count: widths[index] - cell.count)
        return index == 0 ? "  \(cell)\(blanks)" : blanks + cell
      }.joined(separator: "  ")
    }
  }

  /// A row that may go on below; no values make none.
  static func list(_ label: String, _ values: [String]) -> [String] {
    guard let first = values.first else { return [] }
    return [row(label, first)] + values.dropFirst().map { String(repeating: " ", count: 12) + $0 }
  }

  static func row(_ label: String, _ value: String) -> String {
    String(repeating: " ", count: 10 - label.count) + label + ": " + value
  }
}
