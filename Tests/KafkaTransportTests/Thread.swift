import Glibc

/// A thread that runs a closure once.
final class Thread: @unchecked Sendable {
    private var handle = pthread_t()

    init(_ body: @escaping () -> Void) {
        let boxed = Unmanaged.passRetained(Box(body))
        pthread_create(
            &handle, nil,
            { argument in
                let box = Unmanaged<Box>.fromOpaque(argument!).takeRetainedValue()
                box.body()
                return nil
            }, boxed.toOpaque())
    }

    func join() { pthread_join(handle, nil) }

    private final class Box {
        let body: () -> Void
        init(_ body: @escaping () -> Void) { self.body = body }
    }
}
