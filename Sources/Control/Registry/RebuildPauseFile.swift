package import IO

/// Whether rebuilds of an array are paused, beside the registry's record: `NAME.rebuild.json`.
///
/// Nothing depends on it: where it is missing, or cannot be understood, rebuilds go on.
package struct RebuildPauseFile: Equatable, Sendable {
  package let path: String
  private let arrayID: String

  private static let byteCountMax = 1 << 16
  private static var version: Int64 { 1 }

  /// - Parameters:
  ///   - registry: the folder.
  ///   - name: the array's.
  ///   - arrayID: whose rebuilds they are: another array of the same name is not paused.
  package init(in registry: Registry, name: String, arrayID: String) {
    path = "\(registry.folder)/\(name).rebuild.json"
    self.arrayID = arrayID
  }

  /// Reads whether they were paused.
  ///
  /// - Parameter complain: told why, where there is something that is of no use.
  /// - Returns: whether they were, as far as can be read.
  package func load(complain: (String) -> Void) -> Bool {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try SmallFile.read(path, byteCountMax: Self.byteCountMax)
    } catch {
      if SmallFile.exists(path) {
        complain("\(path) cannot be read (\(error)): rebuilds are not paused")
      }
      return false
    }
    guard let json = try? JSONValue.decode(bytes), json["version"]?.integer == Self.version,
      let arrayID = json["array_id"]?.string, let isPaused = json["paused"]?.bool
    else {
      complain("\(path) cannot be understood: rebuilds are not paused")
      return false
    }
    return isPaused && arrayID == self.arrayID
  }

  /// Replaces what was kept, as a whole: a reader sees the one or the other.
  package func save(isPaused: Bool) throws(SystemError) {
    let json: JSONValue = [
      "version": .integer(Self.version), "array_id": .string(arrayID), "paused": .bool(isPaused),
    ]
    try SmallFile.replace(path, with: json.encode() + [UInt8(ascii: "\n")])
  }
}
