package import IO

extension DiskError {
  /// For an operator.
  package var words: String {
    switch self {
    case .refused(let error): error.description
    case .endedEarly(let atBytes): "the file ends at byte \(atBytes)"
    case .noProgress: "the kernel keeps asking to try again"
    }
  }

  var isNoSpace: Bool {
    if case .refused(let error) = self { return error.isNoSpace }
    return false
  }

  var isUnsupported: Bool {
    if case .refused(let error) = self { return error.isUnsupported }
    return false
  }
}
