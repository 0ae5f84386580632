import Synchronization

/// Keeps the image of a store up to date and tells of every difference.
package final class MetadataManager: Sendable {
    package typealias Publisher = @Sendable (_ image: MetadataImage, _ delta: MetadataDelta) -> Void

    package let store: any MetadataStore
    private let current = Mutex(MetadataImage.empty)
    private let publishers = Mutex<[Publisher]>([])

    package init(store: any MetadataStore) { self.store = store }

    package var image: MetadataImage { self.current.withLock { $0 } }

    /// Called with every later image on the store's thread, in the order of registration, before `image` is that one.
    /// Must not wait for the store.
    package func addPublisher(_ publisher: @escaping Publisher) {
        self.publishers.withLock { $0.append(publisher) }
    }

    /// Reads everything and begins to watch; waits. For the start of a broker, on no loop.
    @discardableResult
    package func start() throws(MetadataStoreError) -> MetadataImage {
        let read = try self.store.readAndWait(.all)
        let image = MetadataImage(entries: read.entries, revision: read.revision)
        self.current.withLock { $0 = image }
        self.watch(from: read.revision &+ 1)
        return image
    }

    private func watch(from revision: Int64) {
        self.store.watch(.all, from: revision) { [weak self] event in
            guard let self else { return }
            switch event {
            case .changes(let changes):
                let (image, delta) = self.image.applying(changes)
                self.publish(image, delta)
            case .lost: self.reload()
            }
        }
    }

    /// The history that followed our image is gone: the difference is found by comparing.
    private func reload() {
        self.store.read(.all, limit: nil) { [weak self] result in
            guard let self, case .success(let read) = result else { return }
            let image = MetadataImage(entries: read.entries, revision: read.revision)
            self.publish(image, MetadataDelta(from: self.image, to: image))
            self.watch(from: read.revision &+ 1)
        }
    }

    private func publish(_ image: MetadataImage, _ delta: MetadataDelta) {
        // The image last: who sees a topic in it can use the topic.
        for publisher in self.publishers.withLock({ $0 }) { publisher(image, delta) }
        self.current.withLock { $0 = image }
    }
}
