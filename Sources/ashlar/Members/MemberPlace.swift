import Control
import Glibc
import IO

/// Where a member is: what stands for MEMBER on a command line, and in the registry.
enum MemberPlace: Equatable, Sendable {
  /// Absolute, since the registry is read in other folders; links stay.
  case path(String)
  case export(NBDAddress)

  init(_ text: String) throws(UsageError) {
    guard NBDAddress.isURI(text) else {
      let path = try Conversion<String>.path.convert(text, for: "MEMBER")
      self = .path(SmallFile.absolute(path))
      return
    }
    guard let address = NBDAddress(uri: text) else {
      throw UsageError(
        "MEMBER: '\(text)' is no NBD URI: it looks like nbd://HOST[:PORT]/EXPORT or "
          + "nbd+unix:///EXPORT?socket=PATH")
    }
    guard address.transport != .other else {
      throw UsageError("MEMBER: '\(text)': only nbd:// and nbd+unix:// can be members")
    }
    self = .export(address)
  }

  /// The path or the URI.
  var text: String {
    switch self {
    case .path(let path): path
    case .export(let address): address.uri
    }
  }

  /// Whether another host may reach it, too, so that no lock of this one tells who uses it.
  var isShared: Bool {
    if case .export = self { return true }
    return false
  }

  /// What it is, whatever it is called; nil while nothing is there.
  var identity: MemberIdentityOnHost? {
    switch self {
    case .path(let path):
      var status = stat()
      // Safe: the path and `status` live until the call returns.
      guard unsafe stat(path, &status) == 0 else { return nil }
      return status.st_mode & S_IFMT == S_IFBLK
        ? .device(number: UInt64(status.st_rdev))
        : .file(device: UInt64(status.st_dev), number: UInt64(status.st_ino))
    case .export(let address):
      return .export(transport: "\(address.transport)", name: address.export)
    }
  }
}

/// Equal for the same file, device or export by two names.
enum MemberIdentityOnHost: Equatable {
  case file(device: UInt64, number: UInt64)
  case device(number: UInt64)
  case export(transport: String, name: String)
}
