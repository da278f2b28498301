import IO
import Ring
import Units

extension FileOpeningError {
  /// What happened, to what, and what to do next.
  func explanation(path: String, options: FileOptions) -> String {
    switch self {
    case .missing:
      "\(path) does not exist: create it, or give --size to have it created"
    case .sizeDiffers(let actual):
      "\(path) exists with \(ByteSize.formatExactly(actual)), not with the --size asked for: "
        + "if it was cut short, restore it from a copy; if the size is right, leave --size out"
    case .notFileOrDevice:
      "\(path) is neither a regular file nor a block device"
    case .empty:
      "\(path) is empty: nothing to serve. Remove it and give --size, or run 'truncate -s SIZE'"
    case .inUse:
      "\(path) is in use: served by another process (see 'ashlar status'), mounted or part of "
        + "another device (see 'lsblk'), or the writes of a process that was killed are still "
        + "under way (try again)"
    case .directNotPossible:
      "\(path) cannot be opened for direct I/O with its file system and size: leave --direct out"
    case .earlierWritesLost(let error):
      "earlier writes to \(path) failed to reach the disk (\(error)): its contents cannot be "
        + "trusted. Check the disk and restore the file, then start again"
    case .refused(let operation, let error):
      "cannot \(operation) \(path): \(error)"
    }
  }
}

extension ListenError {
  var explanation: String {
    switch self {
    case .pathTooLong(let byteCount):
      "the path has \(byteCount) bytes, and the kernel takes 107: choose a shorter one"
    case .inUse: "the address is in use: stop the other server, or choose another address"
    case .notSocket: "something that is not a socket is there: remove it, or choose another path"
    case .beyondLoopback(let address):
      "\(address) can be reached from other machines, and there is no encryption yet: anyone "
        + "there could read and write the device. Listen at tcp:127.0.0.1:PORT or unix:PATH, or "
        + "add --insecure-plain if you accept that"
    case .unresolved(let words): "the address cannot be resolved: \(words)"
    case .refused(let operation, let error): "cannot \(operation): \(error)"
    }
  }
}
