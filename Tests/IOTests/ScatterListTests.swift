import Glibc
import IO
import Testing

@Suite("IO: scatter lists")
struct ScatterListTests {
  /// A list of pieces of these lengths, cut from one memory in order.
  private func makeList(_ lengths: [Int], _ memory: AlignedMemory) -> ScatterList {
    let list = ScatterList(capacity: 8)
    var offset = 0
    for length in lengths {
      list.append(memory.buffer.slice(offset, length))
      offset += length
    }
    return list
  }

  private func contents(_ list: ScatterList) -> [UInt8] {
    (0..<list.pieceCount).flatMap { index in
      let piece = list.piece(index)
      return (0..<piece.byteCount).map { piece.bytes.unsafeByte($0) }
    }
  }

  @Test(
    "advancing by every count leaves the rest in order",
    arguments: [[1], [3, 1, 2], [1, 1, 1, 1], [5, 0, 4], [2, 7, 1, 3, 2]])
  func advance(lengths: [Int]) throws {
    let memory = try #require(AlignedMemory(byteCount: 4096))
    let total = lengths.reduce(0, +)
    for index in 0..<total { memory.buffer.slice(index, 1).fill(with: UInt8(index)) }
    for first in 0...total {
      for second in 0...(total - first) {
        let list = makeList(lengths, memory)
        #expect(list.byteCount == total)
        list.advance(by: first)
        list.advance(by: second)
        #expect(list.byteCount == total - first - second)
        #expect(list.isEmpty == (first + second == total))
        #expect(contents(list) == (first + second..<total).map { UInt8($0) })
      }
    }
  }

  @Test("empty pieces are left out, and room is counted")
  func roomIsCounted() throws {
    let memory = try #require(AlignedMemory(byteCount: 4096))
    let list = makeList([1, 0, 2], memory)
    #expect(list.pieceCount == 2)
    #expect(list.vacantPieceCount == 6)
    list.removeAll()
    #expect(list.pieceCount == 0)
    #expect(list.vacantPieceCount == 8)
    #expect(list.isEmpty)
  }

  @Test("the header points at what is left")
  func headerShowsTheRest() throws {
    let memory = try #require(AlignedMemory(byteCount: 4096))
    let list = makeList([4, 6], memory)
    list.advance(by: 5)
    // Safe: the header lives as long as the list, and has one entry, as is checked first.
    let header = unsafe list.preparedHeader().pointee
    #expect(unsafe header.msg_iovlen == 1)
    #expect(unsafe header.msg_iov.pointee.iov_len == 5)
    #expect(unsafe header.msg_iov.pointee.iov_base == memory.buffer.baseAddress + 5)
    withExtendedLifetime(list) {}
  }

  @Test("one piece too many traps")
  func overfillingTraps() async {
    await #expect(processExitsWith: .failure) {
      guard let memory = AlignedMemory(byteCount: 4096) else { return }
      let list = ScatterList(capacity: 2)
      for _ in 0..<3 { list.append(memory.buffer.prefix(1)) }
    }
  }

  @Test("advancing past the end or backwards traps")
  func advancingOutsideTraps() async {
    await #expect(processExitsWith: .failure) {
      guard let memory = AlignedMemory(byteCount: 4096) else { return }
      let list = ScatterList(capacity: 2)
      list.append(memory.buffer.prefix(3))
      list.advance(by: 4)
    }
    await #expect(processExitsWith: .failure) {
      ScatterList(capacity: 2).advance(by: -1)
    }
  }

  @Test("a piece that is not there traps")
  func missingPieceTraps() async {
    await #expect(processExitsWith: .failure) {
      guard let memory = AlignedMemory(byteCount: 4096) else { return }
      let list = ScatterList(capacity: 2)
      list.append(memory.buffer.prefix(3))
      _ = list.piece(1)
    }
  }
}
