internal import Glibc

/// Draws ranks 0 ..< count so that rank k comes with a probability near `(k + 1)^-theta / zeta`.
///
/// The method of Gray and others, which fio uses as well, so that both heat the same share of a
/// device: exact for the first two ranks; from the third on the discrete weights are replaced by
/// the continuous `x^-theta`, scaled to the mass that is left. For theta up to 1.2 the third rank
/// comes out a fifth too often, and from the tenth on each is right within 4 %; for theta 2 the
/// tail is a fifth too rare.
///
/// - Source: J. Gray, P. Sundaresan, S. Englert, K. Baclawski, P. Weinberger, "Quickly generating
///   billion-record synthetic databases" (SIGMOD 1994), section 3.2.
struct ZipfRanks: Sendable {
  let count: UInt64
  private let theta: Double
  /// The sum of `k^-theta` for k from 1 to `count`.
  let zeta: Double
  private let alpha: Double
  private let eta: Double
  private let halfPower: Double

  /// - Precondition: `count > 0`, and `theta` is greater than 0 and not 1.
  init(count: UInt64, theta: Double) {
    precondition(count > 0)
    precondition(theta > 0 && theta != 1)
    self.count = count
    self.theta = theta
    zeta = Self.zeta(count, theta)
    halfPower = pow(0.5, theta)
    alpha = 1 / (1 - theta)
    // Not needed, and without a value, for one or two ranks.
    eta =
      count < 3
      ? 0 : (1 - pow(2 / Double(count), 1 - theta)) / (1 - (1 + halfPower) / zeta)
  }

  /// The next rank; 0 is the most frequent.
  func next(_ random: inout RandomSequence) -> UInt64 {
    let fraction = random.nextFraction()
    let place = fraction * zeta
    if place < 1 || count == 1 { return 0 }
    if place < 1 + halfPower || count == 2 { return 1 }
    let rank = Double(count) * pow(eta * fraction - eta + 1, alpha)
    // A fraction next to 1 may round up to `count`, one near the second rank down to 1.
    return min(UInt64(max(rank, 2)), count - 1)
  }

  /// The sum of `k^-theta` for k from 1 to `count`, in bounded time.
  ///
  /// The first thousand terms one by one, the others by Euler and Maclaurin's formula to the
  /// first derivative. What is left out is below `theta (theta + 1) (theta + 2) / 720 *
  /// 1024^(-theta - 3)`: less than 10^-9 of the sum for every theta.
  static func zeta(_ count: UInt64, _ theta: Double) -> Double {
    let exactCount = min(count, 1024)
    var sum = 0.0
    // From the small terms up, so that none is lost.
    for term in (1...exactCount).reversed() { sum += pow(Double(term), -theta) }
    guard count > exactCount else { return sum }
    let (first, last) = (Double(exactCount), Double(count))
    let integral = (pow(last, 1 - theta) - pow(first, 1 - theta)) / (1 - theta)
    let ends = (pow(last, -theta) - pow(first, -theta)) / 2
    let slopes = theta / 12 * (pow(first, -theta - 1) - pow(last, -theta - 1))
    return sum + integral + ends + slopes
  }
}
