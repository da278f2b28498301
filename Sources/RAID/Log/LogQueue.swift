/// A list that grows at its end and is used up from its front.
struct LogQueue<Element> {
  private var elements: [Element] = []
  private var head = 0

  var count: Int { elements.count - head }
  var isEmpty: Bool { head == elements.count }
  var first: Element? { isEmpty ? nil : elements[head] }
  var last: Element? { isEmpty ? nil : elements[elements.count - 1] }

  subscript(index: Int) -> Element {
    get { elements[head + index] }
    set { elements[head + index] = newValue }
  }

  mutating func append(_ element: Element) { elements.append(element) }

  mutating func removeFirst(_ count: Int = 1) {
    precondition(count >= 0 && count <= self.count)
    head += count
    // What is used up goes when it is the larger part: each element is moved once at most.
    guard head == elements.count || (head >= 64 && head * 2 > elements.count) else { return }
    elements.removeFirst(head)
    head = 0
  }

  mutating func removeAll() {
    elements.removeAll(keepingCapacity: true)
    head = 0
  }

  /// The first index whose element is behind a border, in a queue that is sorted by it.
  func firstIndex(behind isBefore: (Element) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if isBefore(self[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
