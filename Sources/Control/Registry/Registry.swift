import Glibc
package import IO

/// What is remembered of an array, so that `ashlar serve NAME` finds its members.
///
/// The superblocks are the truth. This is where they were, and which configuration was seen last:
/// enough to find them again, and to know that missing members have not gone on alone.
package struct RegistryRecord: Equatable, Sendable {
  /// A slot, and where its member was.
  package struct Member: Equatable, Sendable {
    package var slot: Int
    package var memberID: String
    /// An absolute path, or an NBD URI.
    package var place: String

    package init(slot: Int, memberID: String, place: String) {
      self.slot = slot
      self.memberID = memberID
      self.place = place
    }
  }

  package var name: String
  package var arrayID: String
  package var configurationID: String
  package var eventCount: UInt64
  package var members: [Member]

  package init(
    name: String, arrayID: String, configurationID: String, eventCount: UInt64, members: [Member]
  ) {
    self.name = name
    self.arrayID = arrayID
    self.configurationID = configurationID
    self.eventCount = eventCount
    self.members = members
  }
}

/// The folder with a record of each array of this host.
///
/// `$ASHLAR_STATE_DIR`; else `/var/lib/ashlar` for root, `$XDG_STATE_HOME/ashlar` or
/// `$HOME/.local/state/ashlar` for a user. A record is replaced as a whole and durably, so that a
/// reader finds the old or the new one, whatever happens.
package struct Registry: Equatable, Sendable {
  package let folder: String

  package init(folder: String) {
    self.folder = folder
  }

  /// Where the folder is, by environment and user; nil for a user without a home.
  package static func location(environment: (String) -> String?, userID: UInt32) -> String? {
    func folder(_ name: String) -> String? {
      guard var path = environment(name), path.hasPrefix("/") else { return nil }
      while path.count > 1, path.hasSuffix("/") { path.removeLast() }
      return path
    }
    if let path = folder("ASHLAR_STATE_DIR") { return path }
    if userID == 0 { return "/var/lib/ashlar" }
    if let path = folder("XDG_STATE_HOME") { return "\(path)/ashlar" }
    return folder("HOME").map { "\($0)/.local/state/ashlar" }
  }

  /// The registry of this process's user; nil without a place for one.
  package static var ofUser: Registry? {
    location(environment: environmentVariable, userID: geteuid()).map { Registry(folder: $0) }
  }

  /// The file of an array.
  ///
  /// - Precondition: the name is a valid device name, which no path can be made of.
  package func path(of name: String) -> String {
    precondition(isValidDeviceName(name))
    return "\(folder)/\(name).json"
  }

  /// Looks an array up.
  ///
  /// - Returns: nil when nothing is known of it.
  package func load(_ name: String) throws(RegistryError) -> RegistryRecord? {
    guard isValidDeviceName(name) else { return nil }
    let path = path(of: name)
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try SmallFile.read(path, byteCountMax: Self.byteCountMax)
    } catch {
      if error.number == ENOENT || error.number == ENOTDIR { return nil }
      throw .cannotRead(path: path, error)
    }
    let record: RegistryRecord
    do throws(RegistryRecordError) {
      record = try RegistryRecord(decoding: bytes)
    } catch {
      throw .damaged(path: path, reason: error.reason)
    }
    guard record.name == name else {
      throw .damaged(path: path, reason: "it is about the array '\(record.name)'")
    }
    return record
  }

  /// Remembers an array, in place of what was known of it; returns when it is durable.
  package func save(_ record: RegistryRecord) throws(RegistryError) {
    let path = path(of: record.name)
    do throws(SystemError) {
      try Self.makeFolders(folder)
      try SmallFile.replaceDurably(path, with: record.encoded)
    } catch {
      throw .cannotWrite(path: path, error)
    }
  }

  /// Forgets an array; what cannot be removed stays.
  package func remove(_ name: String) { SmallFile.remove(path(of: name)) }

  private static let byteCountMax = 1 << 20

  /// Makes the folder, and those above it that are missing.
  private static func makeFolders(_ path: String) throws(SystemError) {
    // Safe: the path lives until the call returns.
    if unsafe mkdir(path, 0o700) == 0 || errno == EEXIST { return }
    guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash > path.startIndex else {
      throw .last
    }
    try makeFolders(String(path[..<slash]))
    // Safe: as above.
    guard unsafe mkdir(path, 0o700) == 0 || errno == EEXIST else { throw .last }
  }
}

/// Why a record cannot be used; none of them harms the array.
package enum RegistryError: Error, Equatable, Sendable {
  case cannotRead(path: String, SystemError)
  case cannotWrite(path: String, SystemError)
  case damaged(path: String, reason: String)

  /// What happened and what to do.
  package var explanation: String {
    switch self {
    case .cannotRead(let path, let error):
      "the registry's \(path) cannot be read (\(error)): give the array's members instead of its "
        + "name, or set ASHLAR_STATE_DIR to the folder that has it"
    case .cannotWrite(let path, let error):
      "the registry's \(path) cannot be written (\(error)): 'ashlar serve NAME' will not find the "
        + "array; it can be served by naming its members. Make the folder writable, or set "
        + "ASHLAR_STATE_DIR"
    case .damaged(let path, let reason):
      "the registry's \(path) cannot be understood (\(reason)): remove it and give the array's "
        + "members instead of its name once, which writes it anew"
    }
  }
}
