import IO
import Parity

/// The parity of blocks in memory, as the rows of an array need it; see `ParityMath`.
enum RowMath {
  /// Adds: `target += source`.
  static func xor(_ source: IOBuffer, into target: IOBuffer) {
    ParityMath.xor(source.parity, into: target.parity)
  }

  /// Adds a scaled block: `target += g^index source`.
  static func addScaled(_ source: IOBuffer, index: Int, into target: IOBuffer) {
    ParityMath.addScaled(source.parity, index: index, into: target.parity)
  }

  /// Solves `buffer = g^index x` for x, in place.
  static func solveOneFromQ(index: Int, _ buffer: IOBuffer) {
    ParityMath.solveOne(index: index, qSyndrome: buffer.parity)
  }

  /// Solves `p = x + y`, `q = g^x x + g^y y`: `p` becomes the block of index x, `q` that of y.
  static func solveTwo(x: Int, y: Int, p: IOBuffer, q: IOBuffer) {
    ParityMath.solveTwo(xIndex: y, yIndex: x, pSyndrome: p.parity, qSyndrome: q.parity)
  }
}
