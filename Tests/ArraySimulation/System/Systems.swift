/// What can be put to the test, by name.
package enum Systems {
  /// The array itself.
  package static let array = WholeArray()
  /// The plain file, held to what it can keep.
  package static let plain = PlainFile(isHeldToAtomicity: false)
  /// The plain file, held to the array's promise that it cannot keep: has to be convicted.
  package static let control = PlainFile(isHeldToAtomicity: true)

  /// The names that `named` knows.
  package static let names = ["array", "plain", "control"]

  /// The one of that name.
  package static func named(_ name: String) -> (any SystemUnderTest)? {
    switch name {
    case "array": array
    case "plain": plain
    case "control": control
    default: nil
    }
  }
}
