import Synchronization

/// A closure that is set, by who knows what is to be done, and called, by who knows when; from any thread.
///
/// The closure is kept in a struct on purpose. A closure that is itself the value of a `Mutex` is turned into its general
/// form and back with each look at it, and stored again inside of one more layer of conversions: the millionth call goes
/// through a million of them.
package final class CallbackSlot<Argument>: Sendable {
    private struct Callback: Sendable {
        var body: (@Sendable (Argument) -> Void)?
    }

    private let callback = Mutex(Callback())

    package init() {}

    package func set(_ body: (@Sendable (Argument) -> Void)?) {
        self.callback.withLock { $0.body = body }
    }

    /// Without effect where nothing is set.
    package func callAsFunction(_ argument: Argument) {
        self.callback.withLock { $0 }.body?(argument)
    }
}

extension CallbackSlot where Argument == Void {
    package func callAsFunction() { self.callAsFunction(()) }
}
