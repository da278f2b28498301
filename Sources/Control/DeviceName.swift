/// What `isValidDeviceName` asks for; completes "'TEXT' ...".
package let deviceNameRule =
  "is not a valid name: up to 64 letters, digits, '.', '_' and '-', the first a letter or digit"

/// Whether a device may be called so: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
///
/// The name becomes a file name in the runtime directory and an NBD export name, so it can
/// neither leave the directory nor be mistaken for an option.
package func isValidDeviceName(_ name: String) -> Bool {
  let bytes = Array(name.utf8)
  guard let first = bytes.first, isLetterOrDigit(first), bytes.count <= 64 else { return false }
  return bytes.allSatisfy { byte in
    isLetterOrDigit(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_")
      || byte == UInt8(ascii: "-")
  }
}

private func isLetterOrDigit(_ byte: UInt8) -> Bool {
  switch byte {
  case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
    UInt8(ascii: "a")...UInt8(ascii: "z"):
    true
  default: false
  }
}
