import Bench
import Testing

@Suite("Bench: options of a job")
struct JobOptionsTests {
  @Test("the workloads have fio's names")
  func workloadNames() {
    #expect(Workload(rawValue: "randrw") == .randrw)
    #expect(Workload.allCases.filter(\.isRandom).count == 4)
  }
}
