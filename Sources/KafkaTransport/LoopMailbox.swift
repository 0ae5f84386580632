internal import NIOCore
import Synchronization

/// What a `TransportLoop` empties after a burst.
protocol LoopDrainable: AnyObject, Sendable {
    func drain()
}

/// A box of small items for one loop, which any thread fills: one wake-up for a batch, and none when it is filled by
/// the loop itself while it works on requests.
package final class LoopMailbox<Item: Sendable>: LoopDrainable {
    private struct State {
        var items: [Item] = []
        var isScheduled = false
    }

    private let loop: TransportLoop
    private let deliver: @Sendable ([Item]) -> Void
    private let state = Mutex(State())

    /// `deliver` runs on `loop`, with the items in the order in which they came in, and before `loopDrained`.
    package init(loop: TransportLoop, deliver: @escaping @Sendable ([Item]) -> Void) {
        self.loop = loop
        self.deliver = deliver
    }

    package func post(_ item: Item) {
        let mustWake = state.withLock { state in
            state.items.append(item)
            defer { state.isScheduled = true }
            return !state.isScheduled
        }
        if mustWake { wake() }
    }

    package func post(contentsOf items: [Item]) {
        guard !items.isEmpty else { return }
        let mustWake = state.withLock { state in
            state.items += items
            defer { state.isScheduled = true }
            return !state.isScheduled
        }
        if mustWake { wake() }
    }

    private func wake() {
        if loop.eventLoop.inEventLoop, loop.isBusy {
            loop.drainLater(self)
        } else {
            loop.eventLoop.execute { self.loop.run { self.drain() } }
        }
    }

    func drain() {
        let items = state.withLock { state in
            state.isScheduled = false
            var items: [Item] = []
            swap(&items, &state.items)
            return items
        }
        if !items.isEmpty { deliver(items) }
    }
}
