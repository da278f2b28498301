import RAID
import Testing

@Suite("RAID: errors")
struct ArrayErrorTests {
  @Test("errors are told apart")
  func equality() {
    #expect(ArrayError.unreadable(block: 1) != ArrayError.unreadable(block: 2))
  }
}
