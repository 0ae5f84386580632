import KafkaPrimitives
import Synchronization
import Testing

@Suite struct CallbackSlotTests {
    @Test func callsWhatWasSetLast() {
        let slot = CallbackSlot<Int>()
        let seen = Mutex<[Int]>([])
        slot(1)
        slot.set { argument in seen.withLock { $0.append(argument) } }
        slot(2)
        slot.set { argument in seen.withLock { $0.append(-argument) } }
        slot(3)
        slot.set(nil)
        slot(4)
        #expect(seen.withLock { $0 } == [2, -3])
    }

    /// Each look at a closure that a `Mutex` holds by itself adds a layer to it, through which all later calls go.
    @Test func theHundredThousandthCallIsAsDeepAsTheFirst() {
        let slot = CallbackSlot<Int>()
        let depths = Mutex<[Int]>([])
        slot.set { call in
            var here = call
            let depth = withUnsafeMutablePointer(to: &here) { Int(bitPattern: $0) }
            if call == 0 || call == 99_999 { depths.withLock { $0.append(depth) } }
        }
        for call in 0..<100_000 { slot(call) }
        let found = depths.withLock { $0 }
        #expect(found.count == 2 && abs(found[0] - found[1]) < 1024)
    }
}
