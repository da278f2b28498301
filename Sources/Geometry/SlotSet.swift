/// A set of member slots and of the seats behind them, at most 64.
package struct SlotSet: Equatable, Hashable, Sendable, Sequence {
  package var bits: UInt64

  @inlinable
  package init(bits: UInt64 = 0) {
    self.bits = bits
  }

  @inlinable
  package init(_ slots: some Sequence<Int>) {
    bits = 0
    for slot in slots { insert(slot) }
  }

  /// The slots from 0 up to `count`.
  @inlinable
  package init(firstCount count: Int) {
    precondition(count >= 0 && count <= 64)
    bits = count == 64 ? .max : (1 << UInt64(count)) - 1
  }

  @inlinable
  package var count: Int { bits.nonzeroBitCount }
  @inlinable
  package var isEmpty: Bool { bits == 0 }

  /// Whether a slot, 0 ..< 64, is in the set.
  @inlinable
  package func contains(_ slot: Int) -> Bool {
    precondition(slot >= 0 && slot < 64)
    return bits & (1 << UInt64(slot)) != 0
  }

  /// Adds a slot, 0 ..< 64; one that is there already changes nothing.
  @inlinable
  package mutating func insert(_ slot: Int) {
    precondition(slot >= 0 && slot < 64)
    bits |= 1 << UInt64(slot)
  }

  /// Takes a slot, 0 ..< 64, away; one that is not there changes nothing.
  @inlinable
  package mutating func remove(_ slot: Int) {
    precondition(slot >= 0 && slot < 64)
    bits &= ~(1 << UInt64(slot))
  }

  /// The slots of either set.
  @inlinable
  package func union(_ other: SlotSet) -> SlotSet { SlotSet(bits: bits | other.bits) }
  /// The slots of both sets.
  @inlinable
  package func intersection(_ other: SlotSet) -> SlotSet { SlotSet(bits: bits & other.bits) }
  /// The slots that the other set has not.
  @inlinable
  package func subtracting(_ other: SlotSet) -> SlotSet { SlotSet(bits: bits & ~other.bits) }
  /// Whether the other set has all slots of this one.
  @inlinable
  package func isSubset(of other: SlotSet) -> Bool { bits & ~other.bits == 0 }

  /// Walks the slots in rising order.
  @safe
  package struct Iterator: IteratorProtocol {
    @usableFromInline var bits: UInt64

    @inlinable
    init(bits: UInt64) {
      self.bits = bits
    }

    @inlinable
    package mutating func next() -> Int? {
      guard bits != 0 else { return nil }
      let slot = bits.trailingZeroBitCount
      bits &= bits - 1
      return slot
    }
  }

  @inlinable
  package func makeIterator() -> Iterator { Iterator(bits: bits) }
}
