package import Units

/// Reservations of byte ranges: shared among writers, exclusive for a read-modify-write.
///
/// "No locks" is not "no interleaving". A write that is not aligned reads the blocks around its
/// edges, changes them and writes them back. History without this: A reads block 0 to change byte
/// 1; B writes all of block 0 and is acknowledged; A writes block 0 back: B's bytes are gone. So a
/// read-modify-write waits for every write it overlaps, and they wait for it. Writers that cover
/// whole blocks do not wait for each other: their order is the client's affair. Clearing a range
/// is exclusive, too.
///
/// First come, first served among those that conflict, so nobody starves.
package final class RangeReservations {
  private struct Holder {
    var range: ByteRange
    var isExclusive: Bool
    var isActive: Bool
  }

  @safe
  private struct Waiter {
    let range: ByteRange
    let isExclusive: Bool
    let holderIndex: Int
    // Safe: resumed once, when it is taken out of the list.
    let continuation: UnsafeContinuation<Void, Never>
  }

  private var holders: [Holder] = []
  private var vacantHolders: [Int] = []
  private var waiters: [Waiter] = []
  /// Exclusive reservations, held or waited for; while there are none, shared ones are free.
  private var exclusiveCount = 0

  package init() {}

  /// Waits until the range is free of conflicts.
  ///
  /// - Returns: what to hand to `release`.
  package func reserve(_ range: ByteRange, isExclusive: Bool) async -> Int {
    let mustWait = isExclusive || exclusiveCount > 0 ? conflicts(range, isExclusive) : false
    if isExclusive { exclusiveCount += 1 }
    let index = makeHolder(range, isExclusive: isExclusive, isActive: !mustWait)
    if mustWait {
      // Safe: resumed once, by `admitWaiters`.
      unsafe await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
        let waiter = unsafe Waiter(
          range: range, isExclusive: isExclusive, holderIndex: index, continuation: continuation)
        waiters.append(waiter)
      }
    }
    return index
  }

  /// Ends the reservation that `reserve` returned and lets in whom it kept waiting.
  package func release(_ index: Int) {
    precondition(holders[index].isActive, "released twice")
    let wasExclusive = holders[index].isExclusive
    holders[index].isActive = false
    vacantHolders.append(index)
    if wasExclusive { exclusiveCount -= 1 }
    if !waiters.isEmpty { admitWaiters() }
  }

  private func makeHolder(_ range: ByteRange, isExclusive: Bool, isActive: Bool) -> Int {
    let holder = Holder(range: range, isExclusive: isExclusive, isActive: isActive)
    if let index = vacantHolders.popLast() {
      holders[index] = holder
      return index
    }
    holders.append(holder)
    return holders.count - 1
  }

  private func conflicts(_ range: ByteRange, _ isExclusive: Bool) -> Bool {
    for waiter in waiters
    where (waiter.isExclusive || isExclusive) && waiter.range.overlaps(range) {
      return true
    }
    return conflictsWithHolder(range, isExclusive)
  }

  private func conflictsWithHolder(_ range: ByteRange, _ isExclusive: Bool) -> Bool {
    for holder in holders
    where holder.isActive && (holder.isExclusive || isExclusive) && holder.range.overlaps(range) {
      return true
    }
    return false
  }

  /// Lets in, in their order, those who conflict neither with a holder nor with one before them.
  private func admitWaiters() {
    var stillWaiting: [Waiter] = []
    for waiter in waiters {
      let isBlocked =
        conflictsWithHolder(waiter.range, waiter.isExclusive)
        || stillWaiting.contains {
          ($0.isExclusive || waiter.isExclusive) && $0.range.overlaps(waiter.range)
        }
      if isBlocked {
        stillWaiting.append(waiter)
      } else {
        holders[waiter.holderIndex].isActive = true
        unsafe waiter.continuation.resume()
      }
    }
    waiters = stillWaiting
  }
}
