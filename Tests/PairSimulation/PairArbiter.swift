import DiskFormat
import IO
package import RAID
import Simulator

/// An arbiter in memory: slow, sometimes out of reach, and late.
// Safe: a simulation runs on one thread.
package final class PairArbiter: @unchecked Sendable {
  package private(set) var record: ArbiterRecord?
  /// Nodes that it does not hear.
  package var unreachable: Set<String> = []
  package var delayNanoseconds: UInt64 = 10_000_000
  /// Each yes, in order.
  package private(set) var grants: [(node: String, question: ArbiterRequest.Question)] = []

  package init() {}

  func ask(
    _ request: ArbiterRequest, of node: String, on machine: SimulatedMachine
  ) async -> Bool {
    guard !unreachable.contains(node) else {
      await machine.sleep(nanoseconds: 60_000_000_000)
      return false
    }
    await machine.sleep(nanoseconds: 1 + machine.randomNumber() % delayNanoseconds)
    guard let next = ArbiterRecord.answer(request, record) else { return false }
    record = next
    grants.append((node, request.question))
    await machine.sleep(nanoseconds: 1 + machine.randomNumber() % delayNanoseconds)
    return true
  }
}
