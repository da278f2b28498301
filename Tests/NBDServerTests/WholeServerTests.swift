import Simulator
import TestSupport
import Testing

@Suite("Server: random histories")
struct WholeServerTests {
  @Test("clients, faults and pipelining at random: legal contents, every answer, a quiet end")
  func randomHistories() {
    var total = (requests: 0, errors: 0, broken: 0, failed: 0)
    let seeds = Seeds.of(100)
    for seed in seeds {
      do {
        let result = try WholeServer.run(seed: seed)
        total.requests += result.requestCount
        total.errors += result.errorCount
        total.broken += result.brokenCount
        total.failed += result.deviceHasFailed ? 1 : 0
      } catch {
        Issue.record("\(error); \(Seeds.replay(seed, "WholeServerTests"))")
      }
    }
    // The histories are worth something: faults were met, and most requests succeeded.
    guard seeds.count >= 100 else { return }
    #expect(total.errors > 20 && total.broken > 10 && total.failed > 0)
    #expect(total.requests > total.errors * 5)
  }

  @Test("the same seed gives the same run of the whole server, byte for byte")
  func sameSeedSameRun() throws {
    var digests: Set<UInt64> = []
    for seed in 0..<8 as Range<UInt64> {
      let first = try WholeServer.run(seed: seed)
      #expect(try WholeServer.run(seed: seed) == first)
      digests.insert(first.digest)
    }
    #expect(digests.count == 8)
  }

  @Test("another process gives the same run of the whole server")
  func sameRunInAnotherProcess() async throws {
    let result = await #expect(
      processExitsWith: .success, observing: [\.standardOutputContent]
    ) {
      for seed in 0..<4 as Range<UInt64> {
        print("digest", seed, try WholeServer.run(seed: seed).digest)
      }
    }
    let text = String(decoding: try #require(result).standardOutputContent, as: UTF8.self)
    for seed in 0..<4 as Range<UInt64> {
      #expect(text.contains("digest \(seed) \(try WholeServer.run(seed: seed).digest)\n"))
    }
  }
}
