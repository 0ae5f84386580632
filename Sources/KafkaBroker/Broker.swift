import Glibc
import KafkaCoordination
import KafkaLog
import KafkaMetadata
import KafkaPrimitives
import KafkaTransport
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// One broker: what its parts share. Made by `start`, which returns when clients can be served; ended by `stop`.
package final class Broker: Sendable {
    /// Static and dynamic settings, as of now.
    package var config: KafkaConfig { self.currentConfig.withLock { $0 } }
    private let currentConfig: Mutex<KafkaConfig>
    package let logger: Logger
    package let clusterID: String
    package let nodeID: Int32
    package let metadata: MetadataManager
    package let producerIDs: ProducerIDManager
    package let replicaManager: ReplicaManager
    package let fetchSessions: FetchSessionCache
    package let groupCoordinator: GroupCoordinatorService
    package let transactionCoordinator: TransactionCoordinatorService
    /// For what must not happen on an event loop.
    package let background: BackgroundThreads
    /// Syncs that somebody waits for.
    package let syncs: BackgroundThreads
    package let eventLoops: MultiThreadedEventLoopGroup
    /// What is served.
    let apiHandlers: [ApiHandler]

    private let mailboxes = Mutex<[LoopMailbox<LoopMessage>]>([])
    private let server = Mutex<KafkaServer?>(nil)
    private let addresses = Mutex<[SocketAddress]>([])
    private let failure = CallbackSlot<String>()
    /// When the last one was logged, and how many were not since.
    private let storageFailures = Mutex<(reportedMs: Int64, silent: Int)>((0, 0))

    init(
        config: KafkaConfig, logger: Logger, clusterID: String, metadata: MetadataManager,
        replicaManager: ReplicaManager, background: BackgroundThreads, syncs: BackgroundThreads,
        eventLoops: MultiThreadedEventLoopGroup
    ) {
        self.currentConfig = Mutex(config)
        self.logger = logger
        self.clusterID = clusterID
        self.nodeID = config.nodeID
        self.metadata = metadata
        self.producerIDs = ProducerIDManager(metadata: metadata)
        self.replicaManager = replicaManager
        self.fetchSessions = FetchSessionCache(capacity: config.maxIncrementalFetchSessionCacheSlots)
        self.background = background
        self.syncs = syncs
        self.eventLoops = eventLoops
        self.fetchMaxBytes = Int32(clamping: config.fetchMaxBytes)
        self.apiHandlers = ApiHandler.served(unstableVersions: config.isOn("unstable.api.versions.enable"))
        let wake = CallbackSlot<Partition>()
        self.groupCoordinator = GroupCoordinatorService(
            config: GroupCoordinatorConfig(config), replicaManager: replicaManager, background: background,
            eventLoop: eventLoops.next(), logger: logger, wake: { wake($0) })
        self.transactionCoordinator = TransactionCoordinatorService(
            config: TransactionCoordinatorConfig(config), replicaManager: replicaManager,
            producerIDs: self.producerIDs,
            markers: TransactionMarkerWriter(
                replicaManager: replicaManager, groupCoordinator: self.groupCoordinator, background: background,
                wake: { wake($0) }),
            background: background, eventLoop: eventLoops.next(), logger: logger, wake: { wake($0) })
        self.verifiesTransactions = Atomic(config.verifiesTransactions)
        wake.set { [weak self] in self?.wake($0) }
        // A fetch may wait for the disk as it does for records.
        replicaManager.logManager.reads.onDone { [weak self] read in
            guard let self, let topic = self.replicaManager.table.topic(named: read.topic),
                let partition = topic.partition(read.partition)
            else { return }
            self.wake(partition)
        }
        self.follow(replicaManager.logManager.events)
    }

    // MARK: Serving

    /// Opens the listeners. Everything that a request may need is there by now.
    func listen() throws(BrokerError) {
        let config = self.config
        let listeners = config.listeners.map { listener in
            let advertised = config.advertisedListeners[listener.name]
            return Listener(
                name: listener.name, host: listener.host, port: Int(listener.port),
                advertisedHost: advertised?.host, advertisedPort: advertised.map { Int($0.port) })
        }
        do {
            let server = try KafkaServer(
                group: self.eventLoops, listeners: listeners, limits: TransportLimits(config), logger: self.logger
            ) { loop in
                let handler = LoopRequestHandler(broker: self, loop: loop)
                let box = UncheckedSendableBox(handler)
                let mailbox = LoopMailbox<LoopMessage>(loop: loop) { box.value.received($0) }
                // Loops are made one after another, in the order of their indexes.
                self.mailboxes.withLock { $0.append(mailbox) }
                return handler
            }
            let addresses = try server.start()
            self.server.withLock { $0 = server }
            self.addresses.withLock { $0 = addresses }
        } catch {
            let names = config.listeners.map(\.description).joined(separator: ",")
            throw BrokerError("cannot listen on \(names): \(error)")
        }
        if let warning = Self.advertisedWarning(listeners: listeners) { self.logger.warning("\(warning)") }
    }

    /// The listeners' addresses, as text: `127.0.0.1:9092`.
    package var addressText: String {
        self.addresses.withLock { $0 }.map { address in
            let endpoint = Endpoint(address)
            return endpoint.host.contains(":")
                ? "[\(endpoint.host)]:\(endpoint.port)" : "\(endpoint.host):\(endpoint.port)"
        }.joined(separator: ", ")
    }

    /// The port of the first listener.
    package var port: Int { self.addresses.withLock { $0.first?.port } ?? 0 }

    /// The data folders, as absolute paths.
    package var dataFolderText: String {
        self.config.logDirs.map { path in
            guard let resolved = realpath(path, nil) else { return path }
            defer { free(resolved) }
            return String(cString: resolved)
        }.joined(separator: ", ")
    }

    /// Ends the broker cleanly: no new connections, running requests finished, everything on disk. Not to be called on an
    /// event loop.
    /// - Returns: false where not everything could be written; the next start looks at the logs' ends then.
    @discardableResult
    package func stop() -> Bool {
        // Members held in JoinGroup would hold up the shutdown.
        self.groupCoordinator.stop()
        self.transactionCoordinator.stop()
        // So would long polls.
        for mailbox in self.mailboxes.withLock({ $0 }) { mailbox.post(.endWaits) }
        self.server.withLock { $0 }?.shutdown(grace: .seconds(5))
        self.background.stop()
        self.syncs.stop()
        let isClean = self.replicaManager.logManager.shutdown()
        self.metadata.store.close()
        try? self.eventLoops.syncShutdownGracefully()
        return isClean
    }

    // MARK: Between loops

    var loopMailboxes: [LoopMailbox<LoopMessage>] { self.mailboxes.withLock { $0 } }

    /// Wakes those who wait for this partition, on whichever loop they are. Any thread.
    func wake(_ partition: Partition) {
        let waiters = partition.takeWaiters()
        if waiters.isEmpty { return }
        let mailboxes = self.mailboxes.withLock { $0 }
        for waiter in waiters where waiter.loop < mailboxes.count {
            mailboxes[waiter.loop].post(
                .wakeUp(fetch: waiter.fetch, target: waiter.target, partition: partition))
        }
    }

    // MARK: What goes wrong

    /// Called once, with why the broker cannot go on.
    package func onFailure(_ body: @escaping @Sendable (String) -> Void) {
        self.failure.set(body)
    }

    /// A write to a log failed. One line a second: on a full disk every request's does.
    func storageFailed(_ partition: Partition, errno number: CInt) {
        let now = wallClockMs()
        let silent = self.storageFailures.withLock { failures -> Int? in
            guard now &- failures.reportedMs >= 1000 else {
                failures.silent += 1
                return nil
            }
            defer { failures = (now, 0) }
            return failures.silent
        }
        guard let silent else { return }
        let others = silent > 0 ? " (and \(silent) more before it)" : ""
        self.logger.error(
            "\(partition.topic)-\(partition.index): a write failed: \(String(cString: strerror(number)))\(others)")
    }

    func fail(_ reason: String) {
        self.failure(reason)
    }

    /// fetch.max.bytes
    let fetchMaxBytes: Int32
    /// transaction.partition.verification.enable
    let verifiesTransactions: Atomic<Bool>

    func update(config: KafkaConfig) {
        self.currentConfig.withLock { $0 = config }
        self.verifiesTransactions.store(config.verifiesTransactions, ordering: .relaxed)
        self.server.withLock { $0 }?.updateConnectionLimits(TransportLimits(config))
        self.replicaManager.logManager.update(cleaner: config.logCleaner)
        self.replicaManager.logManager.cordon(config.cordonedLogDirs)
    }

}

/// Why a broker does not start; the text is for its operator.
package struct BrokerError: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

extension TransportLimits {
    init(_ config: KafkaConfig) {
        self.init()
        self.socketRequestMaxBytes = config.socketRequestMaxBytes
        self.maxConnections = config.maxConnections
        self.maxConnectionsPerIP = config.maxConnectionsPerIP
        self.maxConnectionsPerIPOverrides = config.maxConnectionsPerIPOverrides
        self.maxConnectionCreationRate = config.maxConnectionCreationRate
        self.connectionsMaxIdleMs = config.connectionsMaxIdleMs
        self.socketSendBufferBytes = config.socketSendBufferBytes
        self.socketReceiveBufferBytes = config.socketReceiveBufferBytes
        self.socketListenBacklogSize = config.socketListenBacklogSize
        if config.queuedMaxRequestBytes > 0 { self.requestMemoryBytes = Int(config.queuedMaxRequestBytes) }
    }
}
