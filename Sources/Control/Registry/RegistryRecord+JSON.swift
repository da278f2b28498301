/// Why bytes are no record.
struct RegistryRecordError: Error, Equatable {
  let reason: String

  init(_ reason: String) {
    self.reason = reason
  }
}

extension RegistryRecord {
  private static var version: Int64 { 1 }

  /// The file's bytes: a JSON object on a line.
  package var encoded: [UInt8] {
    let json: JSONValue = [
      "version": .integer(Self.version),
      "name": .string(name),
      "array_id": .string(arrayID),
      "configuration_id": .string(configurationID),
      "event_count": .count(eventCount),
      "members": .array(
        members.map { member in
          [
            "slot": .count(member.slot), "member_id": .string(member.memberID),
            "place": .string(member.place),
          ]
        }),
    ]
    return json.encode() + [UInt8(ascii: "\n")]
  }

  /// Reads what `encoded` wrote.
  ///
  /// A file that was cut short, or of a later version, is refused; nothing is guessed.
  init(decoding bytes: [UInt8]) throws(RegistryRecordError) {
    let json: JSONValue
    do throws(JSONError) {
      json = try JSONValue.decode(bytes)
    } catch {
      throw RegistryRecordError("\(error)")
    }
    guard let version = json["version"]?.integer else {
      throw RegistryRecordError("it has no version")
    }
    guard version == Self.version else {
      throw RegistryRecordError("its version is \(version), this program knows \(Self.version)")
    }
    name = try Self.text("name", of: json)
    arrayID = try Self.text("array_id", of: json)
    configurationID = try Self.text("configuration_id", of: json)
    guard let count = json["event_count"]?.integer, let events = UInt64(exactly: count) else {
      throw RegistryRecordError("event_count is missing or no count")
    }
    eventCount = events
    guard let elements = json["members"]?.array else {
      throw RegistryRecordError("members is missing or no list")
    }
    var members: [Member] = []
    for element in elements {
      guard let slot = element["slot"]?.integer, let index = Int(exactly: slot), index >= 0 else {
        throw RegistryRecordError("a member has no slot")
      }
      members.append(
        Member(
          slot: index, memberID: try Self.text("member_id", of: element),
          place: try Self.text("place", of: element)))
    }
    self.members = members
  }

  private static func text(
    _ name: String, of json: JSONValue
  ) throws(RegistryRecordError) -> String {
    guard let text = json[name]?.string, !text.isEmpty else {
      throw RegistryRecordError("\(name) is missing or no text")
    }
    return text
  }
}
