import Control
import DiskFormat
import Glibc
import IO
import RAID
import Testing

@Suite("Control: the arbiter's file")
struct ArbiterFileTests {
  private func file() -> ArbiterFile {
    ArbiterFile("/tmp/ashlar-arbiter-\(UInt64.random(in: 0 ... .max))")
  }

  private func remove(_ file: ArbiterFile) {
    SmallFile.remove(file.path)
    SmallFile.remove(file.path + ".lock")
  }

  private func request(
    _ question: ArbiterRequest.Question, _ node: UInt64, number: UInt64 = 1,
    inSync: [UInt64] = []
  ) -> ArbiterRequest {
    ArbiterRequest(
      question: question, nodeID: Identifier(high: 1, low: node),
      runID: Identifier(high: node, low: 5), number: number,
      timelineIDs: [Identifier(high: 3, low: 3)],
      inSync: inSync.map { Identifier(high: 1, low: $0) })
  }

  @Test("what is answered with yes is in the file, and only that")
  func answers() throws {
    let file = file()
    defer { remove(file) }
    #expect(try file.load() == nil)
    #expect(try file.answer(request(.bePromoted, 2), isLate: { false }) == false)
    #expect(try file.load() == nil)
    #expect(try file.answer(request(.inSync, 1, inSync: [2]), isLate: { false }))
    let record = try #require(try file.load())
    #expect(record.holder == Identifier(high: 1, low: 1))
    #expect(record.inSync == [Identifier(high: 1, low: 1), Identifier(high: 1, low: 2)])
    #expect(record == ArbiterRecord.answer(request(.inSync, 1, inSync: [2]), nil))
    #expect(try file.answer(request(.goOnAlone, 2), isLate: { false }) == false)
    #expect(try file.load() == record)
  }

  @Test("who is late changes nothing, and a file that is not understood is a no that stays")
  func refuses() throws {
    let file = file()
    defer { remove(file) }
    #expect(throws: SystemError(ETIMEDOUT)) {
      try file.answer(request(.goOnAlone, 1), isLate: { true })
    }
    #expect(try file.load() == nil)
    for text in ["", "{}", "no", #"{"version":2}"#] {
      try SmallFile.replace(file.path, with: Array(text.utf8))
      #expect(throws: SystemError(EBADMSG)) {
        try file.answer(request(.force, 1), isLate: { false })
      }
      #expect(try SmallFile.read(file.path) == Array(text.utf8))
    }
  }

  @Test("of two that ask at once, only one may go on", .timeLimit(.minutes(2)))
  func race() async throws {
    for _ in 0..<50 {
      let file = file()
      defer { remove(file) }
      #expect(try file.answer(request(.inSync, 1, inSync: [2]), isLate: { false }))
      let yes = await withTaskGroup(of: Int.self) { group in
        for index in 0..<8 {
          let node = UInt64(1 + index % 2)
          let asked = request(
            node == 1 ? .goOnAlone : .bePromoted, node, number: UInt64(2 + index))
          group.addTask {
            (try? file.answer(asked, isLate: { false })) == true ? Int(node) : 0
          }
        }
        return await group.reduce(0) { $0 | $1 }
      }
      #expect(yes == 1 || yes == 2)
    }
  }
}
