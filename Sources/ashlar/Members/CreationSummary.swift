import Control
import DiskFormat
import Geometry
import RAID
import Units

/// What `ashlar create` has made, for people and as JSON.
struct CreationSummary {
  private let creation: ArrayCreation
  private let superblock: Superblock
  private let members: [OpenMember]

  init(_ creation: ArrayCreation, _ superblock: Superblock, _ members: OpenMembers) {
    self.creation = creation
    self.superblock = superblock
    self.members = members.members
  }

  private var geometry: StripeGeometry { creation.geometry }

  var text: String {
    var lines = [
      "\(superblock.name): \(geometry.level.name) of \(geometry.memberCount) members, "
        + "\(ByteSize.format(geometry.byteCount)) usable, chunk "
        + ByteSize.format(superblock.chunkBytes),
      "  " + Self.survivalWords(geometry),
      "  log: \(ByteSize.format(creation.layout.logByteCount)) on each member, policy "
        + superblock.logPolicy.name,
    ]
    for (place, member) in members.enumerated() {
      let created = member.wasCreated ? ", created" : ""
      let isSpare = place >= geometry.memberCount
      lines.append(
        "  \(isSpare ? "spare, in seat" : "slot") \(place): \(member.place.text), \(ByteSize.format(member.handle.byteCount))"
          + created)
    }
    lines += creation.notes.map { "  note: \($0)" }
    lines.append("serve it with 'ashlar serve \(superblock.name)'")
    return lines.joined(separator: "\n") + "\n"
  }

  var json: JSONValue {
    [
      "version": .integer(1),
      "name": .string(superblock.name),
      "array_id": .string(superblock.arrayID.description),
      "level": .string(geometry.level.name),
      "byte_count": .count(geometry.byteCount),
      "chunk_bytes": .count(superblock.chunkBytes),
      "log_bytes_per_member": .count(creation.layout.logByteCount),
      "log_policy": .string(superblock.logPolicy.name),
      "redundancy": .count(geometry.redundancy),
      "members": .array((0..<geometry.memberCount).map { json("slot", $0) }),
      "spares": .array((geometry.memberCount..<members.count).map { json("seat", $0) }),
      "destroyed": .array(creation.destroyed.map { .string($0) }),
      "notes": .array(creation.notes.map { .string($0) }),
    ]
  }

  private func json(_ kind: String, _ place: Int) -> JSONValue {
    let member = members[place]
    return [
      kind: .count(place),
      "id": .string(creation.drafts[place].memberID.description),
      "place": .string(member.place.text),
      "byte_count": .count(member.handle.byteCount),
      "created": .bool(member.wasCreated),
    ]
  }

  /// What it survives, in a sentence.
  static func survivalWords(_ geometry: StripeGeometry) -> String {
    let lost: String
    switch geometry.level {
    case .raid0: return "survives crashes and power loss, and the loss of no member"
    case .raid1 where geometry.redundancy > 1: lost = "any \(geometry.redundancy) members"
    case .raid1, .raid5: lost = "any one member"
    case .raid6: lost = "any two members"
    case .raid10:
      lost = "any one member, and of more as long as no two are mirrors of each other"
    }
    return "survives power loss together with the loss of \(lost)"
  }
}
