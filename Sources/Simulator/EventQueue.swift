/// What will happen in virtual time, soonest first; of one instant, first scheduled first.
struct EventQueue {
  struct Event {
    let atNanoseconds: UInt64
    let sequence: UInt64
    /// Its crash cancels the event; nil belongs to the world.
    let machine: SimulatedMachine?
    let action: () -> Void

    /// The same, later.
    func delayed(to nanoseconds: UInt64) -> Event {
      Event(atNanoseconds: nanoseconds, sequence: sequence, machine: machine, action: action)
    }

    func comes(before other: Event) -> Bool {
      (atNanoseconds, sequence) < (other.atNanoseconds, other.sequence)
    }
  }

  /// A binary heap: no event comes before its parent at (index - 1) / 2.
  private var heap: [Event] = []

  var isEmpty: Bool { heap.isEmpty }
  var firstNanoseconds: UInt64? { heap.first?.atNanoseconds }

  mutating func insert(_ event: Event) {
    heap.append(event)
    var index = heap.count - 1
    while index > 0 {
      let parent = (index - 1) / 2
      guard heap[index].comes(before: heap[parent]) else { return }
      heap.swapAt(index, parent)
      index = parent
    }
  }

  mutating func popFirst() -> Event? {
    guard let last = heap.popLast() else { return nil }
    guard let first = heap.first else { return last }
    heap[0] = last
    var index = 0
    while true {
      var smallest = index
      for child in [2 * index + 1, 2 * index + 2] where child < heap.count {
        if heap[child].comes(before: heap[smallest]) { smallest = child }
      }
      guard smallest != index else { return first }
      heap.swapAt(index, smallest)
      index = smallest
    }
  }

  /// Forgets what a crashed machine was waiting for.
  mutating func removeAll(of machine: SimulatedMachine) {
    let kept = heap.filter { $0.machine !== machine }
    heap.removeAll(keepingCapacity: true)
    for event in kept { insert(event) }
  }
}
