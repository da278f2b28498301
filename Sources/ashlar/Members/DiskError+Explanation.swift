import IO

extension DiskError {
  /// For an operator.
  var explanation: String {
    switch self {
    case .refused(let error): error.description
    case .endedEarly(let atBytes): "it ends at byte \(atBytes)"
    case .noProgress: "the kernel keeps asking to try again"
    }
  }
}
