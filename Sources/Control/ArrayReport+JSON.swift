import RAID

extension ArrayReport {
  /// The object under `"array"` in a status.
  var json: JSONValue {
    guard case .object(let members) = plain else { return plain }
    let more = [JSONMember(name: "replication", value: replication?.json ?? .null)]
    return .object(members + upkeep.members + more)
  }

  private var plain: JSONValue {
    [
      "id": .string(arrayID),
      "level": .string(level),
      "chunk_bytes": .count(chunkBytes),
      "state": .string(state.rawValue),
      "redundancy_left": redundancyLeft.map { .count($0) } ?? .null,
      "configuration": ["id": .string(configurationID), "event_count": .count(eventCount)],
      "members": .array(members.map(\.json)),
      "log": [
        "policy": .string(logPolicy),
        "fill_bytes": .count(logFillBytes),
        "byte_count": .count(logBytes),
        "dirty_bytes": .count(dirtyBytes),
        "dirty_bytes_max": .count(dirtyBytesMax),
        "checkpoint": .count(checkpointSequence),
        "last": .count(lastSequence),
        "durable": .count(horizon),
      ],
      "recovery": recovery.json,
      "healed_blocks": .count(healedBlockCount),
      "lost_blocks": .count(lostBlockCount),
      "lost_has_more": .bool(hasMoreLost),
      "lost_ranges": .array(lostRanges.map(\.json)),
      "events": .array(events.map(\.json)),
    ]
  }

  /// Reads what `json` wrote.
  init(_ reader: JSONReader) throws(ControlError) {
    arrayID = try reader.string("id")
    level = try reader.string("level")
    chunkBytes = try reader.count("chunk_bytes")
    state = try reader.word("state")
    redundancyLeft = try reader.optionalCount("redundancy_left")
    let configuration = try reader.object("configuration")
    configurationID = try configuration.string("id")
    eventCount = try configuration.count("event_count")
    members = try reader.objects("members") { element throws(ControlError) in
      try ArrayMemberReport(element)
    }
    let log = try reader.object("log")
    logPolicy = try log.string("policy")
    logFillBytes = try log.count("fill_bytes")
    logBytes = try log.count("byte_count")
    dirtyBytes = try log.count("dirty_bytes")
    dirtyBytesMax = try log.count("dirty_bytes_max")
    checkpointSequence = try log.count("checkpoint")
    lastSequence = try log.count("last")
    horizon = try log.count("durable")
    recovery = try ArrayRecoveryReport(try reader.object("recovery"))
    healedBlockCount = try reader.count("healed_blocks")
    lostBlockCount = try reader.count("lost_blocks")
    hasMoreLost = try reader.bool("lost_has_more")
    lostRanges = try reader.objects("lost_ranges") { element throws(ControlError) in
      try ArrayRangeReport(element)
    }
    events = try reader.objects("events") { element throws(ControlError) in
      try ArrayEventReport(element)
    }
    upkeep = try UpkeepReport(reader)
    replication = try reader.optionalObject("replication").map { (object) throws(ControlError) in
      try ReplicationReport(object)
    }
  }
}

extension ArrayRecoveryReport {
  fileprivate var json: JSONValue {
    [
      "was_clean": .bool(wasClean),
      "batches": .count(batchCount),
      "records": .count(recordCount),
      "settled_rows": .count(settledRowCount),
      "log_bytes": .count(logBytes),
      "nanoseconds": .count(nanoseconds),
      "read_nanoseconds": .count(readNanoseconds),
      "rewrite_nanoseconds": .count(rewriteNanoseconds),
      "settle_nanoseconds": .count(settleNanoseconds),
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    wasClean = try reader.bool("was_clean")
    batchCount = try reader.count("batches")
    recordCount = try reader.count("records")
    settledRowCount = try reader.count("settled_rows")
    logBytes = try reader.count("log_bytes")
    nanoseconds = try reader.count("nanoseconds")
    readNanoseconds = try reader.count("read_nanoseconds")
    rewriteNanoseconds = try reader.count("rewrite_nanoseconds")
    settleNanoseconds = try reader.count("settle_nanoseconds")
  }
}

extension ArrayMemberReport {
  fileprivate var json: JSONValue {
    [
      "slot": .count(slot),
      "id": .string(memberID),
      "place": .string(place),
      "state": .string(state.rawValue),
      "failed_by_operator": .bool(isFailed),
      "cause": .string(cause),
      "read": ["count": .count(readCount), "byte_count": .count(readBytes)],
      "write": ["count": .count(writeCount), "byte_count": .count(writeBytes)],
      "flush": ["count": .count(flushCount)],
      "error_count": .count(errorCount),
      "checksum_error_count": .count(checksumErrorCount),
      "healed_blocks": .count(healedCount),
      "resync": ["pages_left": .count(resyncPagesLeft), "pages": .count(resyncPages)],
      "oldest_operation_nanoseconds": .count(oldestOperationNanoseconds),
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    slot = try reader.count("slot")
    memberID = try reader.string("id")
    place = try reader.string("place")
    state = try reader.word("state")
    isFailed = try reader.laterBool("failed_by_operator")
    cause = try reader.string("cause")
    let reads = try reader.object("read")
    readCount = try reads.count("count")
    readBytes = try reads.count("byte_count")
    let writes = try reader.object("write")
    writeCount = try writes.count("count")
    writeBytes = try writes.count("byte_count")
    flushCount = try reader.object("flush").count("count")
    errorCount = try reader.count("error_count")
    checksumErrorCount = try reader.count("checksum_error_count")
    healedCount = try reader.count("healed_blocks")
    let resync = try reader.object("resync")
    resyncPagesLeft = try resync.count("pages_left")
    resyncPages = try resync.count("pages")
    oldestOperationNanoseconds = try reader.count("oldest_operation_nanoseconds")
  }
}

extension ArrayEventReport {
  fileprivate var json: JSONValue {
    [
      "age_nanoseconds": .count(ageNanoseconds),
      "unix_seconds": .count(unixSeconds),
      "text": .string(text),
      "offset_bytes": offsetBytes.map { .count($0) } ?? .null,
      "byte_count": byteCount.map { .count($0) } ?? .null,
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    ageNanoseconds = try reader.count("age_nanoseconds")
    unixSeconds = try reader.count("unix_seconds")
    text = try reader.string("text")
    offsetBytes = try reader.optionalCount("offset_bytes")
    byteCount = try reader.optionalCount("byte_count")
  }
}
